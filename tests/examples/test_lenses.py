"""Where the reference loop's images come from."""

import lenses
import pytest
import torch

from lensequiv.simulation import simulate, write_class_folders, write_hdf5

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
    for image, label, masses in zip(*batch, strict=True):
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


def test_only_the_heaviest_masses_are_kept():
    theta2 = torch.rand(2, 200)
    kept = lenses.heaviest(torch.zeros(2, 200), torch.ones(2, 200), theta2)
    assert kept.shape == (2, lenses.MASSES, 3)
    expected = theta2.sort(1, descending=True).values[:, : lenses.MASSES]
    assert torch.equal(kept[..., 2], expected)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(lenses.FreshLenses, "CHUNK", 4)


def test_fresh_lenses_are_those_of_simulate(small_chunks):
    source = lenses.FreshLenses("modelJ", 8, seed=9, pool=240)
    source.batch(0)
    truth = simulate("modelJ", source.made, seed=9)
    for label in range(3):
        mine = source.images[: source.made][source.labels[: source.made] == label]
        assert torch.equal(mine[:, 0], truth.images[truth.labels == label].half())


def test_fresh_lenses_after_a_restart_are_the_same(small_chunks):
    options = {"seed": 1, "pool": 36, "reuse": 1.0}
    source = lenses.FreshLenses("modelF", 6, **options)
    batches = [source.batch(step) for step in range(12)]
    assert source.made > 36, "the pool was not filled anew"
    later = lenses.FreshLenses("modelF", 6, **options)
    for step in (8, 11):
        for mine, other in zip(batches[step], later.batch(step), strict=True):
            assert torch.equal(mine, other)
    other_draw = later.batch(11, again=1)
    assert not torch.equal(other_draw.images, batches[11].images)


def test_processes_simulate_other_lenses(small_chunks):
    pools = []
    for rank in range(2):
        source = lenses.FreshLenses("modelF", 4, seed=1, pool=24, rank=rank, world=2)
        source.batch(0)
        pools.append({x.sum().item() for x in source.images[: source.made].float()})
    assert not pools[0] & pools[1]
