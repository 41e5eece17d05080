"""Point-spread functions from pictures; formulas are compared in test_scene."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lensequiv.data import ImageError
from lensequiv.simulation import Blur, PSFImages, get_recipe, model_f
from lensequiv.simulation._library import psf_library


def star(side=11, sigma=1.5, row=None):
    at = np.arange(side) - side // 2
    row = 0 if row is None else row - side // 2
    return np.exp(-0.5 * (at**2 + (at[:, None] - row) ** 2) / sigma**2).astype("f4")


def lens(n, **numbers):
    given = {"psf_image": 0.0, "psf_width": 1.0, "psf_direction": 0.0} | numbers
    return {k: torch.full((n,), v, dtype=torch.float64) for k, v in given.items()}


def width(kernel):
    at = torch.arange(len(kernel), dtype=kernel.dtype) - len(kernel) // 2
    return float((kernel * (at**2 + at[:, None] ** 2)).sum().div(2).sqrt())


def test_a_given_picture_is_the_kernel(tmp_path):
    np.save(tmp_path / "psf.npy", 7 * star())
    blur = PSFImages(path=str(tmp_path / "psf.npy"), oversampling=1.0, turned=False)
    drawn = blur.draw(np.random.default_rng(0), 3)
    kernels = blur.kernels({k: torch.from_numpy(v) for k, v in drawn.items()}, 11)
    expected = torch.from_numpy(star() / star().sum()).double()
    for kernel in kernels:
        torch.testing.assert_close(kernel, expected, rtol=1e-5, atol=1e-8)


def test_width_and_turn(tmp_path):
    long = star(31, 3.0) * (np.abs(np.arange(31) - 15)[:, None] < 3)  # along x
    np.save(tmp_path / "psf.npy", long)
    blur = PSFImages(path=str(tmp_path / "psf.npy"), oversampling=1.0)
    (plain,) = blur.kernels(lens(1), 31)
    (turned,) = blur.kernels(lens(1, psf_direction=np.pi / 2), 31)
    torch.testing.assert_close(turned, torch.rot90(plain), atol=1e-6, rtol=1e-4)
    (wider,) = blur.kernels(lens(1, psf_width=1.2), 31)
    assert width(wider) == pytest.approx(1.2 * width(plain), rel=0.03)


def test_bundled_ones_are_hubbles():
    """FWHM 0.09 to 0.1 arcsec in pixels of 0.05, and different ones."""
    assert psf_library(None).shape == (8, 81, 81)
    blur = PSFImages()
    p = blur.draw(np.random.default_rng(0), 200)
    assert set(p["psf_image"]) == set(range(8))
    kernels = blur.kernels({k: torch.from_numpy(v) for k, v in p.items()}, 21)
    torch.testing.assert_close(kernels.sum((1, 2)), torch.ones(200).double())
    peak = kernels.amax((1, 2))
    # A Gaussian of FWHM w has the peak 4 ln 2 / (pi w^2); wings lower it.
    assert (peak > 0.14).all() and (peak < 0.2).all()
    assert peak.std() > 0.001


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ({"even": star(10)}, r"even\.npy: 10 x 10 pixels; expected a square"),
        ({"dark": -star()}, r"dark\.npy: no pixel is above 0"),
        ({"off": star(row=1)}, r"off\.npy: brightest at row 1"),
        ({"nan": star() * np.nan}, r"nan\.npy holds 121 NaN"),
        ({"a": star(), "b": star(13)}, r"b\.npy has 13 x 13 pixels, .*a\.npy 11 x 11"),
    ],
)
def test_bad_pictures_are_refused_by_name(tmp_path, images, message):
    for name, image in images.items():
        np.save(tmp_path / f"{name}.npy", image)
    with pytest.raises(ImageError, match=message):
        PSFImages(path=str(tmp_path))


def test_larger_than_the_frame():
    with pytest.raises(ValueError, match="larger than the frame of 40 pixels"):
        replace(model_f, pixels=40, psf_size=41)
    with pytest.raises(ValueError, match="width="):
        PSFImages(width=(0.0, 1.0))


def test_recipes_name_their_blur():
    assert get_recipe("hst").describe()["blur"]["type"] == "PSFImages"
    assert get_recipe("euclid").describe()["blur"]["type"] == Blur.__name__
