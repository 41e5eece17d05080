from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _seed():
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

    def shake(model):
        with torch.no_grad():
            for tensor in model.state_dict().values():
                if tensor.is_floating_point():
                    tensor.add_(0.1 * torch.rand_like(tensor))
        return model

    return shake
