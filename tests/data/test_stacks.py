"""Files that hold many images in one array."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lensequiv.data import (
    ImageError,
    ImageStack,
    open_stack,
    read_image,
    read_stored,
)

STACK = np.random.default_rng(0).random((40, 30, 20)).astype("f4")
KINDS = ["h5", "h5 gzip", "npz", "npz deflated"]


def write(folder, kind, **arrays):
    path = folder / f"a.{kind.split()[0]}"
    if kind.startswith("npz"):
        (np.savez_compressed if "deflated" in kind else np.savez)(path, **arrays)
        return path
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            options = {"compression": "gzip"} if "gzip" in kind and array.ndim else {}
            file.create_dataset(name, data=array, **options)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blocks", [1, 2**13, 2**22])
def test_images_in_any_order(tmp_path, kind, blocks, monkeypatch):
    monkeypatch.setattr("lensequiv.data.stacks._BLOCK", blocks)
    stack = open_stack(write(tmp_path, kind, images=STACK, labels=np.arange(40)))
    assert isinstance(stack, ImageStack) and len(stack) == 40
    for i in [*range(40), 5, 39, 0, 0, 20, 3]:
        stored = stack.read(i)
        np.testing.assert_array_equal(stored.image, STACK[i][None])
        assert stored.image.flags.owndata or stored.image.base is not None
        assert (stored.index, stored.plane) == (i, "images")
    assert stack.name(7) == f"{stack.path}[7]"


@pytest.mark.parametrize("kind", KINDS)
def test_threads(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("lensequiv.data.stacks._BLOCK", 2**13)
    stack = open_stack(write(tmp_path, kind, images=STACK))
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda i: stack.read(i).image, range(40)))
    np.testing.assert_array_equal(np.concatenate(images), STACK)


@pytest.mark.parametrize("kind", ["h5", "npz"])
@pytest.mark.parametrize(
    ("arrays", "name"),
    [
        ({"images": STACK[:3]}, "images"),
        ({"x": STACK}, "x"),
        ({"x": STACK[:3], "labels": np.arange(3)}, "x"),
        ({"x": STACK[:, None]}, "x"),
        ({"images": STACK, "masks": STACK * 2, "psf": STACK[0]}, "images"),
    ],
)
def test_what_is_a_stack(tmp_path, kind, arrays, name):
    stack = open_stack(write(tmp_path, kind, **arrays))
    assert stack is not None and stack.plane == name
    np.testing.assert_array_equal(stack.read(2).image[0], STACK[2])


@pytest.mark.parametrize("kind", ["h5", "npz"])
def test_what_is_none(tmp_path, kind):
    path = write(tmp_path, kind, image=STACK[:3])
    assert open_stack(path) is None
    assert read_image(path).shape == (3, 30, 20)
    np.save(tmp_path / "a.npy", STACK[0])
    assert open_stack(tmp_path / "a.npy") is None


@pytest.mark.parametrize("kind", ["h5", "npz"])
def test_index(tmp_path, kind, refuse):
    path = write(tmp_path, kind, images=STACK, image=STACK[0])
    with pytest.raises(ImageError, match="2 planes that could be the image"):
        open_stack(path)
    stored = read_stored(path, plane="images", index=39)
    np.testing.assert_array_equal(stored.image[0], STACK[39])
    assert stored.index == 39
    refuse(path, "a stack of 40 images", "open_stack", plane="images")
    for index in (-1, 40):
        with pytest.raises(ImageError, match="expected an index from 0 to 39"):
            read_stored(path, plane="images", index=index)
    with pytest.raises(ImageError, match="holds no stack of images, but index=0"):
        read_stored(path, plane="image", index=0)


@pytest.mark.parametrize("kind", ["h5", "npz"])
def test_damaged_image(tmp_path, kind):
    images = STACK.copy()
    images[3, 0, 0] = np.nan
    stack = open_stack(write(tmp_path, kind, images=images))
    stack.read(2)
    with pytest.raises(ImageError, match=r"a\.\w+\[3\] holds 1 NaN"):
        stack.read(3)


def test_mask_beside(tmp_path):
    path = write(tmp_path, "npz", images=STACK, masks=STACK > 0.5)
    assert open_stack(path).read(0).notes == (
        "the array masks beside the images was not applied",
    )


def test_checksum(tmp_path):
    path = write(tmp_path, "npz", images=STACK)
    content = bytearray(path.read_bytes())
    content[5000] ^= 255
    path.write_bytes(content)
    stack = open_stack(path)
    with pytest.raises(ImageError, match="Bad CRC-32"):
        stack.read(39)


@pytest.mark.slow
def test_memory_does_not_grow(tmp_path):
    """64 MiB that deflate to 64 KiB are read 4 MiB at a time."""
    images = np.zeros((1024, 128, 128), np.float32)
    images[:, 0, 0] = 1
    stack = open_stack(write(tmp_path, "npz deflated", images=images))
    del images
    tracemalloc.start()
    try:
        for i in range(0, 1024, 16):
            stack.read(i)
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


def test_fortran_order(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.asfortranarray(STACK))
    with pytest.raises(ImageError, match="Fortran order"):
        open_stack(tmp_path / "a.npz")


def test_what_simulate_writes(tmp_path):
    pytest.importorskip("h5py")
    pytest.importorskip("scipy")
    from lensequiv.simulation import write_hdf5

    path = write_hdf5("modelJ", 3, tmp_path / "a.h5", seed=1, progress=False)
    stack = open_stack(path)
    assert len(stack) == 3 and stack.pixel_scale == 0.05
    assert stack.read(2).image.shape == (1, 150, 150)
