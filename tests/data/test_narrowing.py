"""float16 for images in any unit: as good as float32, or refused."""

import h5py
import numpy as np
import pytest
import torch

import lensequiv
from lensequiv.data import (
    ClassFolder,
    HDF5Images,
    ImageError,
    as_images,
    open_stack,
    read_image,
)
from lensequiv.simulation import simulate


@pytest.fixture(scope="module")
def lenses():
    return simulate("modelF", 12, seed=8)


@pytest.fixture(params=["folder", "hdf5"])
def stored(request, tmp_path, lenses):
    """Writes the lenses, changed, in either form, and opens the set."""

    def store(change):
        images = np.stack([change(image) for image in lenses.images.numpy()])
        images = images.astype(np.float32)
        if request.param == "hdf5":
            with h5py.File(tmp_path / "set.h5", "w") as file:
                file["images"], file["labels"] = images, lenses.labels.numpy()
                file.attrs.create("classes", lenses.classes, dtype=h5py.string_dtype())
            return HDF5Images(tmp_path / "set.h5")
        for i, (image, label) in enumerate(zip(images, lenses.labels, strict=True)):
            folder = tmp_path / "set" / lenses.classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            np.save(folder / f"{i}.npy", image)
        return ClassFolder(tmp_path / "set")

    return store


def units(scale, pedestal=0.0):
    return lambda image: image.astype(np.float64) * scale + pedestal


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [units(1e-8), units(1e-10), units(1e-30), units(1e5), units(0.01, 1000.0)],
    ids=["1e-8", "1e-10", "1e-30", "1e5", "pedestal"],
)
def test_units_that_float16_cannot_hold(stored, change):
    data = stored(change)
    with pytest.raises(ImageError, match=r"(0\.npy|images\[0\]) holds .*; expected"):
        data.load_arrays(progress=False, dtype=torch.float16)
    whole = data.load_arrays(progress=False)
    half = data.load_arrays(progress=False, dtype=torch.float16, scaled=True)
    assert half.dtype == torch.float16
    for image, small in zip(whole, half, strict=True):
        assert len(small.unique()) > 0.95 * len(image.unique()) > 200
    model = lensequiv.from_pretrained("c8-modelF")
    one, other = model.predict(whole), model.predict(half)
    assert one.labels == other.labels
    torch.testing.assert_close(
        one.probabilities, other.probabilities, atol=0.01, rtol=0
    )


def test_counts_stay_exactly_as_they_are(stored):
    data = stored(units(2.0))
    whole = data.load_arrays(progress=False)
    assert 1000 < whole.max() < 2048
    for scaled in (False, True):
        half = data.load_arrays(progress=False, dtype=torch.float16, scaled=scaled)
        assert torch.equal(half.float(), whole)


def test_fluxes_of_ordinary_size_are_kept_well_enough(stored):
    data = stored(units(0.0123))
    whole = data.load_arrays(progress=False)
    half = data.load_arrays(progress=False, dtype=torch.float16).float()
    assert not torch.equal(half, whole)
    assert (half - whole).abs().max() < whole.max() / 1000


def test_bfloat16_has_too_few_levels(stored):
    data = stored(units(1.0))
    with pytest.raises(ImageError, match=r"bfloat16 would keep about \d+ levels"):
        data.load_arrays(progress=False, dtype=torch.bfloat16)


def test_what_is_lost_is_said(stored):
    data = stored(units(1e-9))
    with pytest.raises(ImageError) as caught:
        data.load_arrays(progress=False, dtype=torch.float16)
    message = str(caught.value)
    levels = int(message.split("about ")[1].split()[0])
    assert 3 < levels < 30
    for part in ("torch.float16", "torch.float32", "scaled=True", "at least 500"):
        assert part in message


def test_a_hot_pixel_does_not_hide_the_loss(stored):
    def change(image):
        image = image * 1e-9
        image[3, 4] = 1.0
        return image

    with pytest.raises(ImageError, match="levels"):
        stored(change).load_arrays(progress=False, dtype=torch.float16)


def test_a_pixel_beyond_the_range_even_when_scaled(stored):
    def change(image):
        image = image * 1e-9
        image[3, 4] = 1.0
        return image

    data = stored(change)
    with pytest.raises(ImageError, match=r"holds pixels up to .* times its height"):
        data.load_arrays(progress=False, dtype=torch.float16, scaled=True)


@pytest.mark.parametrize("dtype", [torch.int16, torch.bool, torch.complex64, "float16"])
def test_other_types(stored, dtype):
    with pytest.raises(ValueError, match=r"dtype is .*; expected one of torch.float32"):
        stored(units(1.0)).load_arrays(progress=False, dtype=dtype)


def test_channels_are_judged_one_by_one(tmp_path, lenses):
    image = lenses.images[0].numpy()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        stack = np.stack([image, image * np.float32(1e-9), np.zeros_like(image)])
        np.save(tmp_path / name / "0.npy", stack)
    data = ClassFolder(tmp_path)
    with pytest.raises(ImageError, match="levels"):
        data.load_arrays(progress=False, dtype=torch.float16)
    half = data.load_arrays(progress=False, dtype=torch.float16, scaled=True)[0]
    torch.testing.assert_close(half[0].float(), half[1].float(), atol=1e-3, rtol=1e-3)
    assert not half[2].any()


@pytest.fixture(params=["npy", "fits", "h5", "array", "tensor", "list"])
def read_wide(request, tmp_path):
    """Takes (H, W) pixels of a wide type through every door, to float32."""

    def read(pixels):
        path = tmp_path / f"image.{request.param}"
        if request.param == "npy":
            np.save(path, pixels)
        elif request.param == "fits":
            pytest.importorskip("astropy.io.fits").PrimaryHDU(pixels).writeto(path)
        elif request.param == "h5":
            with h5py.File(path, "w") as file:
                file["images"], file["labels"] = pixels[None], [0]
                file.attrs["classes"] = ["lens"]
            loaded = HDF5Images(path).load_arrays(progress=False)
            assert torch.equal(loaded[0], HDF5Images(path)[0][0])
            stack = open_stack(path).read(0).image
            np.testing.assert_array_equal(loaded[0], stack)
            return loaded[0, 0].numpy()
        else:
            given = torch.from_numpy(pixels) if request.param == "tensor" else pixels
            given = [given] if request.param == "list" else given
            return as_images(given)[0, 0].numpy()
        return read_image(path)[0]

    return read


@pytest.mark.parametrize(
    ("scale", "pedestal", "kind"), [(1e-6, 1000, np.float64), (1, 2e9, np.int64)]
)
def test_wide_pixels_that_float32_cannot_hold(read_wide, lenses, scale, pedestal, kind):
    faint = units(scale, pedestal)(lenses.images[0].numpy())
    with pytest.raises(ImageError, match=r"float32 would keep about \d+ levels"):
        read_wide(faint.astype(kind))


@pytest.mark.parametrize("unit", [1.0, 1e-20 / 3])
def test_wide_pixels_that_float32_holds(read_wide, lenses, unit):
    image = lenses.images[0].numpy().astype(np.float64) * unit
    np.testing.assert_allclose(read_wide(image), image, rtol=1e-7)


def test_units_below_the_range_of_float32(lenses):
    faint = lenses.images[0].numpy().astype(np.float64) * 1e-46
    with pytest.raises(ImageError, match="float32 would keep about"):
        as_images(faint)
