"""What stands in `lensequiv.plain` for others to use, and for files to name."""

import pickle
import re

import numpy as np
import pytest
import torch

import lensequiv
from lensequiv import plain


@pytest.mark.parametrize(("sigma", "radius"), [(1.72, 5), (0.4, 2), (3.0, 10)])
def test_gaussian_kernel_is_scipys(sigma, radius):
    from scipy.signal.windows import gaussian

    kernel = plain.gaussian_kernel(sigma, radius).numpy()
    expected = gaussian(2 * radius + 1, sigma)
    np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=1e-13)


@pytest.mark.parametrize("name", ["o2", "resnet18"])
def test_models_that_were_pickled_whole_are_read(name):
    """As `torch.save(plain, file)` of an earlier version wrote them."""
    slim = {"stem_fields": 2, "stages": ((2,), (2,))} if name == "o2" else {}
    model = lensequiv.create_model(name, **slim).eval().to_torch()
    # Protocol 2 writes module and name of a class as lines of text.
    names = rb"clensequiv\.plain\._\w+\n"
    before = re.sub(names, b"clensequiv.plain\n", pickle.dumps(model, protocol=2))
    assert b"plain._" not in before and b"lensequiv.plain\nPlainModel" in before
    x = torch.rand(1, 1, 97, 97)
    assert torch.equal(pickle.loads(before)(x), model(x))
