"""Fixtures of all tests, and the device that the tests of devices run on.

`pytest tests/devices --device cuda` compares a GPU with the processor. The fixture
`device` is that device. A test marked `accelerator("what it checks")` means nothing on
a processor and is skipped there.
"""

from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser):
    parser.addoption(
        "--device",
        default="cpu",
        metavar="cpu|cuda|cuda:N|mps|auto",
        help="device of the tests that ask for one; auto: the best that is there",
    )


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "accelerator(what): means nothing on a processor; says what it checks",
    )
    # Not asked of torch where it is clear: xdist's first process needs no torch at all.
    named = config.getoption("--device", "cpu") != "cpu"
    config.accelerated = named and _tested_device(config).type != "cpu"


def _tested_device(config):
    from lensequiv._devices import resolve_device

    try:
        return resolve_device(config.getoption("--device", "cpu"))
    except ValueError as error:
        raise pytest.UsageError(f"--{error}") from None


def pytest_report_header(config):
    import torch

    device = _tested_device(config)
    card = "the processor; what only an accelerator can show is skipped"
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        card = f"{found.name}, {found.total_memory / 2**30:.0f} GiB, "
        card += f"CUDA {torch.version.cuda}, {torch.cuda.device_count()} visible"
    elif device.type == "mps":
        card = "Metal"
    return f"device: {device} ({card}), torch {torch.__version__}"


def pytest_runtest_setup(item):
    marker = item.get_closest_marker("accelerator")
    if marker is not None and not item.config.accelerated:
        (what,) = marker.args
        pytest.skip(f"needs --device cuda or mps; not checked here: {what}")


@pytest.fixture(scope="session")
def device(request):
    """The device under test; the processor unless `--device` names another."""
    return _tested_device(request.config)


@pytest.fixture(autouse=True)
def _seed():
    import torch

    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  # for libraries that still use it


@pytest.fixture(scope="session")
def telescope_images():
    """Real Hubble and Webb images, which stand beside the project, not in it."""
    data = ROOT.parent / "shared" / "data"
    names = ("slacs_J0946+1006", "cosmos_web_ring_F444W")
    paths = [data / name / "data.fits" for name in names]
    if not all(path.is_file() for path in paths):
        pytest.skip(f"{data} lacks the real images, which are not distributed")
    return paths


@pytest.fixture
def shaken():
    """Makes every tensor of a model distinct from its initial value."""

    import torch

    def shake(model):
        with torch.no_grad():
            for tensor in model.state_dict().values():
                if tensor.is_floating_point():
                    tensor.add_(0.1 * torch.rand_like(tensor))
        return model

    return shake
