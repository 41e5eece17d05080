"""Resampling conserves surface brightness, position and what a telescope would see."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lensequiv.simulation import model_j, simulate
from lensequiv.transforms import resample
from lensequiv.transforms._resample import resampled_side

SCALES = [(0.05, 0.06), (0.06, 0.05), (0.03, 0.05), (0.05, 0.03), (0.1, 0.031)]


def gaussian(side, sigma, centre=(0.0, 0.0)):
    """A Gaussian about the image's centre, all in pixels, (1, side, side) double."""
    steps = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    y, x = steps[:, None] - centre[0], steps[None, :] - centre[1]
    return torch.exp(-(x**2 + y**2) / (2 * sigma**2))[None]


@pytest.mark.parametrize(("old", "new"), SCALES)
@pytest.mark.parametrize("side", [60, 61])
def test_constants_stay(old, new, side):
    found = resample(torch.full((2, 1, side, side + 1), 3.25), old, new)
    torch.testing.assert_close(found, torch.full_like(found, 3.25))


@pytest.mark.parametrize(("old", "new"), SCALES)
@pytest.mark.parametrize("side", [80, 81])
def test_flux_and_centre(old, new, side):
    image = gaussian(side, 4 * max(1, new / old))
    found = resample(image, old, new).double()[0]
    assert float(found.sum() / image.sum()) == pytest.approx((old / new) ** 2, rel=2e-3)
    size = found.shape[-1]
    assert size % 2 == side % 2
    steps = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    for axis in (0, 1):
        middle = (found.sum(axis) * steps).sum() / found.sum()
        assert abs(float(middle)) < 1e-6
    assert found.argmax() == found.flip(0, 1).argmax() or size % 2 == 0
    # And it is the same Gaussian.
    expected = gaussian(size, 4 * max(1, new / old) * old / new)[0]
    assert float((found - expected).abs().max()) < 0.01


def test_what_is_off_the_centre_moves_in_proportion():
    image = gaussian(100, 4, centre=(12.0, -8.0))
    found = resample(image, 0.05, 0.04).double()[0]
    steps = torch.arange(found.shape[-1], dtype=torch.float64)
    steps -= (found.shape[-1] - 1) / 2
    rows = float((found.sum(1) * steps).sum() / found.sum())
    columns = float((found.sum(0) * steps).sum() / found.sum())
    assert rows == pytest.approx(15.0, abs=1e-3)
    assert columns == pytest.approx(-10.0, abs=1e-3)


def test_a_single_central_pixel_stays_central():
    image = torch.zeros(1, 51, 51)
    image[0, 25, 25] = 1
    for old, new in SCALES:
        found = resample(image, old, new)[0]
        row, column = divmod(int(found.argmax()), found.shape[1])
        assert (row, column) == ((found.shape[0] - 1) // 2, (found.shape[1] - 1) // 2)


@pytest.mark.parametrize("axis", [0, 1])
def test_what_larger_pixels_cannot_show_is_averaged_not_aliased(axis):
    stripes = torch.arange(120).remainder(2).float().expand(120, 120)
    stripes = stripes.T if axis else stripes
    found = resample(stripes[None], 0.03, 0.05)[0, 10:-10, 10:-10]
    assert float((found - 0.5).abs().max()) < 0.02
    fine = torch.cos(2 * torch.pi * 0.35 * torch.arange(120)).expand(120, 120)
    fine = fine.T if axis else fine
    found = resample(fine[None], 0.03, 0.06)[0, 10:-10, 10:-10]
    assert float(found.abs().max()) < 0.03


def test_larger_pixels_have_less_noise():
    noise = torch.randn(1, 300, 300)
    found = resample(noise, 0.03, 0.06)[0, 10:-10, 10:-10]
    # Four pixels in one would halve it; the kernel is a little wider than that.
    assert 0.42 < float(found.std()) < 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "pixels"), [(0.03, 250), (0.04, 188), (0.06, 126)])
def test_lenses_rendered_at_both_scales_agree(scale, pixels):
    def rendered(pixel_scale, pixels, psf_size):
        recipe = replace(
            model_j,
            name="other",
            pixel_scale=pixel_scale,
            pixels=pixels,
            psf_size=psf_size,
            supersampling=4,
        )
        return simulate(recipe, 6, seed=5, noise=False).images

    expected = rendered(0.05, 150, 11)[..., 25:125, 25:125]
    found = resample(rendered(scale, pixels, 2 * int(0.28 / scale) + 1), scale, 0.05)
    edge = (found.shape[-1] - 100) // 2
    found = found[..., edge : edge + 100, edge : edge + 100]
    peak = expected.amax((1, 2)) - expected.amin((1, 2))
    assert float(((found - expected).abs().amax((1, 2)) / peak).max()) < 0.015
    # Without resampling they are far apart.
    wrong = rendered(scale, 150, 11)[..., 25:125, 25:125]
    assert float(((wrong - expected).abs().amax((1, 2)) / peak).min()) > 0.2


def test_types_and_gradients():
    image = torch.rand(1, 40, 40)
    expected = resample(image, 0.06, 0.05)
    assert expected.dtype == torch.float32
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        found = resample(image.to(dtype), 0.06, 0.05)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0, atol=0.01)
    counts = (1000 * image).to(torch.int32)
    assert float((resample(counts, 0.06, 0.05) - 1000 * expected).abs().max()) < 2
    assert torch.equal(resample(image, 0.05, 0.05), image)
    image.requires_grad_()
    resample(image, 0.06, 0.05).sum().backward()
    assert float(image.grad.abs().min()) > 0
    # A faint signal on a bright sky keeps its digits.
    faint = gaussian(60, 5).float()
    found = resample(faint.double() + 1e6, 0.06, 0.05) - 1e6
    assert float((found - resample(faint, 0.06, 0.05)).abs().max()) < 0.07


def test_global_settings_do_not_reach_it():
    image = torch.rand(1, 40, 40)
    expected = resample(image, 0.06, 0.05)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert torch.equal(resample(image, 0.06, 0.05), expected)


@pytest.mark.parametrize(
    ("side", "old", "new", "expected"),
    [(150, 0.06, 0.05, 180), (150, 0.04, 0.05, 120), (151, 0.04, 0.05, 119)],
)
def test_sides(side, old, new, expected):
    assert resampled_side(side, old, new) == expected
    found = resample(torch.rand(1, side, 40), old, new)
    assert found.shape[1] == expected


@pytest.mark.parametrize(
    ("image", "scales", "message"),
    [
        (torch.rand(1, 40, 40), (0, 0.05), "from_scale=0: expected a positive number"),
        (torch.rand(1, 40, 40), (0.05, -1.0), "to_scale=-1.0"),
        (torch.rand(1, 40, 40), (float("nan"), 0.05), "from_scale=nan"),
        (torch.rand(1, 40, 40), ("0.05", 0.05), "from_scale='0.05'"),
        (torch.rand(1, 40, 40), (True, 0.05), "from_scale=True"),
        (torch.rand(40), (0.05, 0.06), r"shape \(40,\)"),
        (torch.rand(1, 40, 40), (1000.0, 0.05), "40 x 40 pixels of 1000 arcsec would"),
        (torch.rand(1, 4, 4), (0.01, 0.05), "would have 0 x 0 pixels of 0.05 arcsec"),
        (torch.full((1, 40, 40), torch.nan), (0.06, 0.05), "NaN or infinite"),
    ],
)
def test_bad_input_is_named(image, scales, message):
    with pytest.raises(ValueError, match=message):
        resample(image, *scales)


def test_arrays_are_taken_and_masks_are_not():
    image = gaussian(41, 4.0)
    found = resample(image.numpy(), 0.05, 0.06)
    assert torch.equal(found, resample(image, 0.05, 0.06))
    masked = np.ma.masked_array(image.numpy(), image.numpy() > 0.9)
    with pytest.raises(ValueError, match=f"{masked.mask.sum()} masked pixels"):
        resample(masked, 0.05, 0.06)
