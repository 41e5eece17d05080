"""Coverage-guided fuzzing of the restricted unpickler; see README.md beside it."""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=[
        "pickletools",
        "lensequiv.data.unpickling",
        "lensequiv.data.pickle_records",
    ]
):
    from lensequiv.data import unpickling

import numpy as np
from seeds import pickles

from lensequiv.data.errors import ImageError

SHAPES = [(2,), (), (1,), (3, 2)]
FORBIDDEN = ("exec", "compile", "import", "open", "os.", "subprocess.", "socket.")
watching = False


def audit(event, _):
    if watching and (event.startswith(FORBIDDEN) or event == "pickle.find_class"):
        raise AssertionError(f"the pickle caused {event}")


def one(data):
    """Either the documented error, or an image and a mass as documented."""
    global watching
    if not data:
        return
    shape, content = SHAPES[data[0] % len(SHAPES)], data[1:]
    watching = True
    try:
        image, mass = unpickling.load_pair(content, shape, "the/file.npy")
    except ImageError as error:
        message = str(error)
        assert message.startswith("the/file.npy ") and len(message) < 900, message
        assert message.isprintable(), message
        return
    finally:
        watching = False
    assert type(image) is np.ndarray and image.dtype.kind in "iuf"
    assert image.ndim in (2, 3) and image.nbytes <= 2 * len(content)
    assert type(mass) is float and np.isfinite(mass)


if __name__ == "__main__":
    sys.addaudithook(audit)
    corpus = Path(tempfile.mkdtemp(prefix="unpickler-"))
    for i, content in enumerate(pickles()):
        for shape in (0, 1):  # as the first byte
            (corpus / f"{i}-{shape}").write_bytes(bytes([shape]) + content)
    limits = ["-max_len=4096", "-timeout=10", "-rss_limit_mb=1500", "-len_control=0"]
    atheris.Setup([sys.argv[0], str(corpus), *limits, *sys.argv[1:]], one)
    atheris.Fuzz()
