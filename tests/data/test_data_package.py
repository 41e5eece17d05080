import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import lensequiv.data
from lensequiv.data import ImageError


def test_error_survives_pickling():
    error = ImageError.because("a.npy", "holds nothing", "something")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is ImageError
    assert str(copy) == "a.npy holds nothing; expected something"


@pytest.mark.slow
def test_import_is_light():
    package = Path(lensequiv.data.__file__).parents[1]
    code = f"""
import sys, types, numpy, torch, torch.utils.data
before = set(sys.modules)
parent = types.ModuleType("lensequiv")  # without what the whole package imports
parent.__path__ = [{str(package)!r}]
sys.modules["lensequiv"] = parent
import lensequiv.data
new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(sorted(new - sys.stdlib_module_names))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['lensequiv']"
