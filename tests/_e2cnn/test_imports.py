"""What is loaded with lensequiv, and what only when it is used."""

import subprocess
import sys

import pytest


def run(code):
    """Run code in a fresh interpreter; what it prints, as words."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


LOADED = """
import sys
print(*{name.split(".")[0] for name, m in sys.modules.items() if m is not None})
"""


@pytest.mark.slow
def test_importing_lensequiv_loads_nothing_slow():
    code = "import lensequiv; lensequiv.predict; lensequiv.from_pretrained"
    loaded = set(run(code + LOADED))
    by_torch = set(run("import torch.utils.checkpoint" + LOADED))  # 2.4: sympy
    assert {"lensequiv", "torch", "numpy"} <= loaded
    slow = {"e2cnn", "torchvision", "scipy", "matplotlib", "astropy"}
    slow |= {"sympy", "sklearn", "PIL", "huggingface_hub"}
    assert not (loaded - by_torch) & slow


AFTER_E2CNN = """
import sys
import lensequiv._e2cnn
import astropy.io.fits  # which looks at all modules
print("sympy" in sys.modules, "scipy.stats" in sys.modules)

import e2cnn.diffops.utils
weights = e2cnn.diffops.utils.finite_diff_weights(1, [-1, 0, 1], 0)[1][2]
print(*(float(w) for w in weights))
assert "sympy" in sys.modules

import scipy.stats
from scipy import stats
from scipy.stats import norm
assert stats is scipy.stats and norm is scipy.stats.norm
print(float(scipy.stats.norm.cdf(0)))
print(e2cnn.nn.init.stats.norm is norm)
"""


@pytest.fixture(scope="module")
def after_e2cnn():
    return run(AFTER_E2CNN)


@pytest.mark.slow
def test_sympy_is_deferred(after_e2cnn):
    assert after_e2cnn[0] == "False"


@pytest.mark.slow
def test_scipy_stats_is_deferred(after_e2cnn):
    assert after_e2cnn[1] == "False"


@pytest.mark.slow
def test_sympy_and_scipy_stats_work_when_asked_for(after_e2cnn):
    assert [float(word) for word in after_e2cnn[2:6]] == [-0.5, 0.0, 0.5, 0.5]
    assert after_e2cnn[6] == "True"


@pytest.mark.slow
def test_sympy_imported_before_is_kept():
    code = "import sympy; import lensequiv._e2cnn, sys; print(sympy is sys.modules[{}])"
    assert run(code.format("'sympy'")) == ["True"]
