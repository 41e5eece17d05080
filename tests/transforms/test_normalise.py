"""CropAndScale: independent of units, orientation and a few bad pixels."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch

import lensequiv
from lensequiv.transforms import CropAndScale, preprocessing_from_config

TRANSFORM = CropAndScale()


def counts(n=2, size=150, channels=1, seed=0):
    """Photon counts of an arc on a sky of 30: whole numbers, float64."""
    random = torch.Generator().manual_seed(seed)
    steps = torch.arange(size, dtype=torch.float64) - size // 2
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    ring = torch.exp(-0.5 * ((torch.hypot(x - 2, y) - 25) / 3.5) ** 2)
    mean = 30 + 600 * ring * (0.6 + 0.4 * torch.cos(torch.atan2(y, x)))
    return torch.poisson(mean.expand(n, channels, -1, -1).contiguous(), random)


def largest(x):
    return float(x.abs().max())


# Values


def test_sky_is_0_and_peak_is_1():
    x = torch.randn(3, 2, 129, 129)
    y = TRANSFORM(x)
    assert y.shape == x.shape and y.dtype == torch.float32
    pixels = y.flatten(2).sort(-1).values
    # Order statistics: a quarter of 16641 pixels below the sky, 16 above the peak.
    assert torch.equal(pixels[..., 4160], torch.zeros(3, 2))
    assert torch.equal(pixels[..., -18], torch.ones(3, 2))
    # Linear in the pixels, image by image and channel by channel.
    sky = x.flatten(2).sort(-1).values[..., 4160, None, None]
    peak = x.flatten(2).sort(-1).values[..., -18, None, None]
    torch.testing.assert_close(y, (x - sky) / (peak - sky))


def test_quantiles_are_parameters():
    x = torch.arange(101 * 101.0).view(101, 101)
    y = CropAndScale(101, sky=0.5, peak=1.0)(x)
    assert y[50, 50] == 0 and y[-1, -1] == 1 and y[0, 0] == -1


# Independence of units


@pytest.mark.parametrize("gain", [1e-20, 1e-3, 0.37, 1e4, 1e20])
def test_gain_does_not_matter(gain):
    x = counts()
    assert largest(TRANSFORM(gain * x) - TRANSFORM(x)) < 1e-6


@pytest.mark.parametrize("offset", [-1000.0, -30.0, 1.5, 1e6, -1e6, 1e9])
def test_constant_does_not_matter(offset):
    """Also where all or some pixels become negative."""
    x = counts()
    moved = x + offset
    assert offset > -1000 or (moved < 0).all()
    assert largest(TRANSFORM(moved) - TRANSFORM(x)) < 1e-6


def test_faint_signal_on_a_large_constant():
    """Surface brightness 1e-3 of its unit upon 1e6 in float64: 1e-7 of the signal."""
    x = 1e-3 * counts() / 600
    assert largest(TRANSFORM(x + 1e6) - TRANSFORM(x)) < 1e-6


def test_min_max_scaled_copies_are_the_same():
    x = counts()
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    scaled = (x - low) / (high - low)
    expected = TRANSFORM(x)
    assert largest(TRANSFORM(scaled) - expected) < 1e-6
    assert largest(TRANSFORM(scaled.float()) - expected) < 1e-5
    # A file of 8 bits keeps no more than that.
    eight_bits = (255 * scaled).round().to(torch.uint8)
    assert 1e-4 < largest(TRANSFORM(eight_bits) - expected) < 0.01


@pytest.mark.parametrize(
    "dtype",
    [torch.uint8, torch.int16, torch.uint16, torch.int32, torch.int64, torch.float32],
)
def test_dtypes_give_the_same(dtype):
    x = (counts() / 4).round()
    assert 100 < x.max() < 256
    y = TRANSFORM(x.to(dtype))
    assert y.dtype == torch.float32
    assert torch.equal(y, TRANSFORM(x))


def test_sixteen_bits_do_not_overflow():
    x = (80 * counts()).clamp(max=65535)
    assert x.max() > 40000
    assert torch.equal(TRANSFORM(x.to(torch.uint16)), TRANSFORM(x))
    signed = x - 32768
    assert signed.min() < -20000
    assert largest(TRANSFORM(signed.to(torch.int16)) - TRANSFORM(x)) == 0


def test_images_and_channels_do_not_influence_each_other():
    x = counts(3, channels=2)
    y = TRANSFORM(x)
    for i in range(3):
        for c in range(2):
            assert torch.equal(TRANSFORM(x[i, c]), y[i, c])
    units = torch.tensor([1.0, 1e3, 1e-3, 7.0, 1e6, 2.0], dtype=torch.float64)
    mixed = x * units.view(3, 2, 1, 1) + units.flip(0).view(3, 2, 1, 1)
    assert largest(TRANSFORM(mixed) - y) < 1e-6


def test_input_is_left_alone():
    x = counts(size=129)
    before = x.clone()
    TRANSFORM(x)
    assert torch.equal(x, before)


# Independence of orientation


@pytest.mark.parametrize("size", [129, 131, 151])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int32])
def test_turns_and_flips_commute_exactly(size, dtype):
    x = counts(size=size).to(dtype)
    if dtype == torch.float32:
        x = x * 0.37 + 1.1
    y = TRANSFORM(x)
    for k in range(4):
        turned = torch.rot90(x, k, (2, 3))
        assert torch.equal(TRANSFORM(turned), torch.rot90(y, k, (2, 3)))
        flipped = torch.rot90(y, k, (2, 3)).flip(3)
        assert torch.equal(TRANSFORM(turned.flip(3)), flipped)


# Cropping


@pytest.mark.parametrize(
    ("shape", "top", "left"),
    [
        ((150, 150), 10, 10),
        ((131, 131), 1, 1),
        ((130, 129), 0, 0),
        ((129, 200), 0, 35),
        ((300, 140), 85, 5),
    ],
)
def test_crop_is_central(shape, top, left):
    x = torch.arange(float(shape[0] * shape[1])).view(1, 1, *shape)
    cropped = TRANSFORM.crop(x)
    assert cropped.shape == (1, 1, 129, 129)
    assert torch.equal(cropped, x[..., top : top + 129, left : left + 129])
    # The pixel in the middle (above and left of it for even sides) stays there.
    middle = x[0, 0, (shape[0] - 1) // 2, (shape[1] - 1) // 2]
    assert cropped[0, 0, 64, 64] == middle


def test_scaling_looks_at_the_crop_alone():
    x = counts()
    around = x.clone()
    around[..., :10, :] = 1e9
    assert torch.equal(TRANSFORM(around), TRANSFORM(x))


@pytest.mark.parametrize("size", [97, 113, 129])
def test_sizes_in_keep_are_left_alone(size):
    transform = CropAndScale(129, keep=(97, 113))
    x = counts(size=size)
    assert transform.crop(x) is x
    assert transform(x).shape == x.shape


def test_keep_is_for_square_images():
    transform = CropAndScale(97, keep=(113, 129))
    assert transform(torch.rand(1, 1, 113, 129)).shape == (1, 1, 97, 97)
    assert transform(torch.rand(1, 1, 129, 129)).shape == (1, 1, 129, 129)
    assert transform(torch.rand(1, 1, 121, 121)).shape == (1, 1, 97, 97)


@pytest.mark.parametrize("shape", [(128, 128), (129, 128), (100, 300), (97, 113)])
def test_too_small_is_refused_with_the_sizes(shape):
    transform = CropAndScale(129, keep=(113, 97))
    with pytest.raises(ValueError, match="at least 129 x 129") as caught:
        transform(torch.rand(1, 1, *shape))
    message = str(caught.value)
    assert f"image has {shape[0]} x {shape[1]} pixels" in message
    assert message.endswith("with a side of 97, 113, 129")
    with pytest.raises(ValueError, match=r"^ring\.fits has "):
        transform.crop(torch.rand(1, 1, *shape), name="ring.fits")


# Images without content


@pytest.mark.parametrize("value", [0.0, 1.0, -3.7, 1e6])
def test_constant_images_are_refused(value):
    x = counts(3)
    x[2] = value
    with pytest.raises(ValueError, match=r"^image 2: its 0\.999 quantile is not above"):
        TRANSFORM(x)


def test_flat_images_are_refused():
    """Ten bright pixels on nothing are not an image of a lens."""
    x = torch.zeros(2, 1, 129, 129)
    x[0] = torch.rand(129, 129)
    x[1, 0, 60, 60:70] = 100.0
    with pytest.raises(ValueError, match=r"^image 1: .* nothing to scale to"):
        TRANSFORM(x)
    x[1, 0, 60, 60:80] = 100.0  # the peak is the 18th brightest
    assert TRANSFORM(x)[1].max() == 1


def test_constant_channel_is_refused_by_its_image():
    x = counts(2, channels=3)
    x[1, 1] = 5
    with pytest.raises(ValueError, match=r"^image 1"):
        TRANSFORM(x)


def test_nan_in_the_first_pixel_is_refused():
    x = counts(2, size=129)
    x[1, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinite"):
        TRANSFORM(x)


# Bad pixels


@pytest.mark.parametrize("hot", [1, 5, 10])
def test_hot_pixels_hardly_matter(hot):
    """At most 0.03 for ten of them a thousand times the peak; scaling by the maximum
    would press the image into the lowest thousandth."""
    x = counts(1, size=129)
    places = torch.randperm(129 * 129)[:hot]
    damaged = x.flatten()
    damaged[places] = 1e6
    y, expected = TRANSFORM(damaged.view_as(x)).flatten(), TRANSFORM(x).flatten()
    assert (y[places] > 100).all()
    rest = torch.ones(129 * 129, dtype=torch.bool)
    rest[places] = False
    assert largest((y - expected)[rest]) < 0.03


def test_dead_pixels_hardly_matter():
    x = counts(1, size=129)
    damaged = x.clone()
    damaged[..., 40, :] = 0  # a row
    y, expected = TRANSFORM(damaged), TRANSFORM(x)
    assert (y[..., 40, :] < -0.01).all()
    y[..., 40, :] = expected[..., 40, :]
    assert largest(y - expected) < 0.01


# Configuration


CUSTOM = CropAndScale(97, keep=(81, 89), sky=0.1, peak=0.99)


@pytest.mark.parametrize("transform", [TRANSFORM, CUSTOM])
def test_config_round_trip(transform):
    config = json.loads(json.dumps(transform.to_config()))
    assert config["name"] == "crop-and-scale"
    for twin in (CropAndScale.from_config(config), preprocessing_from_config(config)):
        assert type(twin) is CropAndScale
        assert twin.to_config() == transform.to_config()
        x = counts()
        assert torch.equal(twin(x), transform(x))


def test_config_holds_every_parameter():
    config = {"name": "crop-and-scale", "size": 97, "keep": [81, 89]}
    assert CUSTOM.to_config() == {**config, "sky": 0.1, "peak": 0.99}
    for part in ("size=97", "keep=[81, 89]", "sky=0.1", "peak=0.99"):
        assert part in repr(CUSTOM)


@pytest.mark.parametrize("key", ["size", "keep", "sky", "peak"])
def test_missing_key_is_refused(key):
    config = TRANSFORM.to_config()
    del config[key]
    with pytest.raises(ValueError, match=f"parameter '{key}' is missing or unknown"):
        preprocessing_from_config(config)


def test_unknown_key_and_name_are_refused():
    config = TRANSFORM.to_config()
    with pytest.raises(ValueError, match="parameter 'gamma' is missing or unknown"):
        preprocessing_from_config({**config, "gamma": 2})
    with pytest.raises(ValueError, match="preprocessing 'asinh': expected"):
        preprocessing_from_config({**config, "name": "asinh"})
    del config["name"]
    with pytest.raises(ValueError, match="preprocessing None: expected"):
        preprocessing_from_config(config)


@pytest.mark.parametrize(
    ("sky", "peak"), [(0.5, 0.5), (0.9, 0.1), (-0.1, 0.9), (0.1, 1.1)]
)
def test_quantiles_out_of_range_are_refused(sky, peak):
    with pytest.raises(ValueError, match="expected 0 <= sky < peak <= 1") as caught:
        CropAndScale(sky=sky, peak=peak)
    assert f"sky={sky}, peak={peak}" in str(caught.value)
    with pytest.raises(ValueError, match="expected 0 <= sky < peak <= 1"):
        preprocessing_from_config({**TRANSFORM.to_config(), "sky": sky, "peak": peak})


# Arrays, lists, and what is too small


@pytest.mark.parametrize("dtype", [">f4", "f8", "f2", "u2", ">i4", "i8"])
def test_arrays_give_what_tensors_give(dtype):
    array = np.random.default_rng(0).integers(0, 900, (2, 1, 41, 41)).astype(dtype)
    expected = CropAndScale(33)(torch.from_numpy(array.astype("f8")))
    assert torch.equal(CropAndScale(33)(array), expected)
    assert torch.equal(CropAndScale(33)(list(array)), expected)
    assert torch.equal(CropAndScale(33)(array[::-1, :, ::-1])[0], expected[1].flip(-2))
    assert torch.equal(CropAndScale(33)(array[0, 0].tolist()), expected[0, 0])
    assert torch.equal(
        CropAndScale(33)(list(torch.from_numpy(expected.numpy()))), expected
    )


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ("lens.fits", TypeError, r"images of type str; .*read_image reads a file"),
        (["a.fits"], TypeError, "images of type str"),
        (np.ones((40, 40), complex), ValueError, "type complex128; expected real"),
        (torch.ones(40, 40, dtype=torch.bool), ValueError, "type torch.bool"),
        (np.array([["a"]]), ValueError, "expected real numbers"),
        ([np.ones((40, 40)), np.ones((41, 41))], ValueError, r"\(40, 40\), \(41, 41\)"),
        (np.ma.masked_equal(np.eye(40), 1), ValueError, "40 masked pixels"),
        (np.ones(40), ValueError, r"of shape \(40,\); expected \(..., H, W\)"),
        (np.ones((40, 40, 3)), ValueError, r"channels stand before .*movedim\(-1, -3"),
    ],
)
def test_other_things_are_refused(images, error, message):
    with pytest.raises(error, match=message):
        CropAndScale(33)(images)


def test_a_mask_that_masks_nothing_is_none():
    image = np.random.default_rng(0).random((33, 33))
    assert CropAndScale(33)(np.ma.array(image)).shape == (33, 33)


@pytest.mark.parametrize(
    ("side", "advice"),
    [
        (64, r"call model.set_input_size\(49\) first"),
        (48, r"call model.set_input_size\(33\) first"),
        (96, r"call model.set_input_size\(81\) first"),
        (32, "the smallest this network can take has a side of 33"),
    ],
)
def test_a_models_preprocessing_knows_the_size_that_fits(side, advice):
    model = lensequiv.create_model("c4").set_input_size(129)
    images = np.random.default_rng(0).random((2, side, side), np.float32)
    for again in (model, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        with pytest.raises(ValueError, match=advice):
            again.preprocess(images)
    if side < 33:
        with pytest.raises(ValueError, match=r"x\[0\]: .*" + advice):
            model.predict(images)
    else:  # more of its edges, and a note
        notes = model.predict(images).notes[0]
        assert any(f"only {side} x {side} pixels" in note for note in notes)


@pytest.mark.filterwarnings("ignore::lensequiv.domain.OutOfDomainWarning")
def test_sizes_of_another_network():
    model = lensequiv.models.steerable.SteerableCNN("c4", stages=[[2], [2], [2], [2]])
    with pytest.raises(ValueError, match=r"set_input_size\(97\)"):
        model.preprocess(torch.rand(1, 1, 110, 110))
    loaded = lensequiv.from_pretrained("c8-modelJ")
    with pytest.raises(ValueError, match=r"set_input_size\(49\)"):
        loaded.preprocess(torch.rand(1, 1, 64, 64))
    assert loaded.set_input_size(49).predict(torch.rand(1, 64, 64)).logits.shape == (
        1,
        3,
    )
