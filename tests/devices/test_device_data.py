"""Batches of every data set come in pinned memory and reach the device unchanged."""

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lensequiv.data import ClassFolder, HDF5Images
from lensequiv.simulation import SimulatedLenses

CLASSES = ("no", "sphere", "vort")
PIXELS = np.random.default_rng(0).random((6, 40, 40), np.float32)


def class_folder(root):
    for i, image in enumerate(PIXELS):
        (root / CLASSES[i % 3]).mkdir(exist_ok=True)
        np.save(root / CLASSES[i % 3] / f"{i}.npy", image)
    return ClassFolder(root, CLASSES)


def hdf5(root):
    with h5py.File(root / "set.h5", "w") as file:
        file["images"] = PIXELS[:, None]
        file["labels"] = np.arange(6) % 3
        file.attrs["classes"] = CLASSES
    return HDF5Images(root / "set.h5")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("make", [class_folder, hdf5])
def test_pinned_batches(make, workers, tmp_path, device):
    found = make(tmp_path)
    loader = DataLoader(
        found, batch_size=4, num_workers=workers, pin_memory=device.type != "cpu"
    )
    position = 0
    for x, labels in loader:
        assert x.is_pinned() == labels.is_pinned() == (device.type == "cuda")
        there = x.to(device, non_blocking=True)
        assert there.device == device
        for image, label in zip(there.cpu(), labels, strict=True):
            expected, wanted = found[position]
            assert torch.equal(image, expected)
            assert int(label) == wanted
            position += 1
    assert position == len(found) == 6


def test_pinned_simulations(device):
    lenses = SimulatedLenses("modelF", batches=2, batch_size=3, seed=1)
    loader = DataLoader(lenses, batch_size=None, pin_memory=device.type != "cpu")
    for index, (x, labels) in enumerate(loader):
        assert x.is_pinned() == (device.type == "cuda")
        expected, wanted = lenses.batch(index)
        assert torch.equal(x.to(device, non_blocking=True).cpu(), expected)
        assert torch.equal(labels.to(device).cpu(), wanted)
    assert index == 1
