"""Stored images of the reference loop."""

import h5py
import lenses
import pytest
import torch

from lensequiv.simulation import (
    simulate,
    write_class_folders,
    write_hdf5,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "train.h5"
    return write_hdf5("modelF", 30, path, seed=3, progress=False)


def test_a_pass_sees_every_image_once(stored):
    source = lenses.StoredLenses(stored, 5, seed=0)
    first = torch.cat([source.batch(step).images for step in range(6)])
    second = torch.cat([source.batch(step).images for step in range(6, 12)])
    keys = [sorted(x.flatten(1).float().sum(1).tolist()) for x in (first, second)]
    assert keys[0] == keys[1] and len(set(keys[0])) == 30
    assert not torch.equal(first, second)


def test_processes_share_a_batch_of_stored_images(stored):
    whole = lenses.StoredLenses(stored, 6, seed=0).batch(4)
    parts = [
        lenses.StoredLenses(stored, 3, seed=0, rank=rank, world=2).batch(4)
        for rank in range(2)
    ]
    for rank, part in enumerate(parts):
        assert torch.equal(part.images, whole.images[rank::2])
        assert torch.equal(part.labels, whole.labels[rank::2])


@pytest.mark.parametrize("n", [30, 12])
def test_masses_are_those_of_the_image(stored, n):
    truth = simulate("modelF", 30, seed=3)
    source = lenses.StoredLenses(stored, n, seed=0, limit=n)
    batch = source.batch(0)
    assert batch.labels.bincount().tolist() == [n // 3] * 3
    assert source.pixel_scale == 0.05
    for image, label, masses in zip(*batch[:3], strict=True):
        (which,) = (truth.images.half() == image).flatten(1).all(1).nonzero()[0]
        assert truth.labels[which] == label
        for i, name in enumerate(("mass_x", "mass_y", "mass_theta2")):
            expected = torch.from_numpy(truth.parameters[name][which]).float()
            torch.testing.assert_close(masses[: len(expected), i], expected)
            assert not masses[len(expected) :].any()


def test_class_folders_know_no_masses(tmp_path):
    write_class_folders("modelF", 9, tmp_path / "train", seed=0, progress=False)
    source = lenses.StoredLenses(tmp_path / "train", 3, seed=0, limit=6)
    assert source.pixel_scale is None and source.batch(0).masses is None
    assert source.labels.bincount().tolist() == [2, 2, 2]


def test_too_few_images_are_refused(stored):
    with pytest.raises(
        ValueError, match="has 30 images to train on; expected at least"
    ):
        lenses.StoredLenses(stored, 16, seed=0, world=2)


@pytest.mark.parametrize("masses", [200, 3])
def test_only_the_heaviest_masses_are_kept(tmp_path, masses):
    theta2 = torch.rand(2, masses, dtype=torch.float64)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, value in (("x", 0 * theta2), ("y", -theta2), ("theta2", theta2)):
            file[f"parameters/mass_{name}"] = value
    kept = lenses.read_masses(tmp_path / "a.h5")
    expected = theta2.float()
    if masses > 128:
        expected = expected.sort(1, descending=True).values[:, :128]
    assert torch.equal(kept, torch.stack([0 * expected, -expected, expected], -1))
