"""`SimulatedLenses`: fresh batches, the same whoever makes them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from lensequiv.simulation import SimulatedLenses, model_j, simulate

SMALL = replace(model_j, name="small", pixels=24)


def images_of(data, workers=0):
    loader = DataLoader(data, batch_size=None, num_workers=workers)
    images, labels = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_images_are_those_of_simulate():
    images, labels = images_of(SimulatedLenses(SMALL, 5, 64, seed=3))
    assert images.shape == (320, 1, 24, 24)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert labels.tolist() == (list(range(3)) * 107)[:320]
    expected = simulate(SMALL, 321, seed=3)
    for label in range(3):
        of_class = expected.images[expected.labels == label]
        found = images[labels == label, 0]
        assert torch.equal(found, of_class[: len(found)])


@pytest.mark.slow
def test_batch_size_and_workers_do_not_matter():
    reference = images_of(SimulatedLenses(SMALL, 12, 20, seed=3))
    for batches, size, workers in [(24, 10, 0), (12, 20, 2), (5, 48, 1)]:
        data = SimulatedLenses(SMALL, batches, size, seed=3)
        for a, b in zip(images_of(data, workers), reference, strict=True):
            assert torch.equal(a, b)


def test_going_on():
    whole, _ = images_of(SimulatedLenses(SMALL, 6, 10, seed=3))
    data = SimulatedLenses(SMALL, 6, 10, seed=3, first=4)
    assert len(data) == 2
    rest, _ = images_of(data)
    assert torch.equal(rest, whole[40:])


def test_noise_and_rotation_are_passed_on():
    data = SimulatedLenses(SMALL, 1, 3, seed=3, noise=False, rotation=30.0)
    expected = simulate(SMALL, 3, seed=3, noise=False, rotation=30.0)
    assert torch.equal(images_of(data)[0][:, 0], expected.images)


def test_numbers_of_classes(tmp_path):
    one = replace(SMALL, substructure={"vort": SMALL.substructure["vort"]})
    images, labels = images_of(SimulatedLenses(one, 1, 5, seed=3))
    assert labels.tolist() == [0] * 5
    assert len(np.unique(images.flatten(1), axis=0)) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "n=0"),
        ({"seed": -1}, "seed=-1"),
        ({"first": 7}, "first=7"),
        ({"recipe": "modelX"}, "unknown recipe"),
    ],
)
def test_bad_arguments(arguments, message):
    arguments = {"recipe": SMALL, "batches": 6, "batch_size": 3, "seed": 0} | arguments
    with pytest.raises(ValueError, match=message):
        SimulatedLenses(**arguments)
