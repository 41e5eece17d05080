"""Where the reference loop's images come from."""

import math
from dataclasses import replace

import lenses
import numpy as np
import pytest
import torch

from lensequiv.simulation import (
    LensStream,
    NoSubstructure,
    model_f,
    simulate,
    write_class_folders,
    write_hdf5,
)
from lensequiv.transforms import CropAndScale

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


def test_only_the_heaviest_masses_are_kept():
    theta2 = torch.rand(2, 200)
    kept = lenses.heaviest(torch.zeros(2, 200), torch.ones(2, 200), theta2)
    assert kept.shape == (2, lenses.MASSES, 3)
    expected = theta2.sort(1, descending=True).values[:, : lenses.MASSES]
    assert torch.equal(kept[..., 2], expected)


@pytest.fixture
def fresh(monkeypatch):
    monkeypatch.setattr(lenses, "CHUNK", (24, 24))

    def fresh(*recipes, batch_size=8, **options):
        source = lenses.FreshLenses(recipes or ("modelF",), batch_size, **options)
        source.open(49, torch.device("cpu"), CropAndScale(49))
        return source

    return fresh


def stream_of(*recipes, **options):
    return LensStream(recipes, size=49 + 2 * lenses.EDGE, chunk=24, **options)


def test_fresh_lenses_are_those_of_the_stream_preprocessed(fresh, monkeypatch):
    monkeypatch.setattr(lenses, "RESAMPLED", 0.0)
    source, stream = (
        fresh("modelF", "modelJ", seed=9),
        stream_of("modelF", "modelJ", seed=9),
    )
    for step, chunk, place in ((1, 0, 1), (5, 1, 2)):
        batch, wanted = source.batch(step), stream.chunk(chunk)
        rows = torch.arange(24).view(8, 3)[:, place]
        images = CropAndScale(49)(wanted.images[rows])
        torch.testing.assert_close(batch.images, images, rtol=1e-4, atol=1e-4)
        assert torch.equal(batch.labels, wanted.labels[rows])
        assert batch.ready and batch.masses.shape[2] == 3
        torch.testing.assert_close(batch.masses[..., :2], wanted.masses[rows, :, :2])
        # Squared Einstein radii in pixels of 0.05 arcsec.
        theta2 = wanted.masses[rows, :, 2] / 0.05**2
        torch.testing.assert_close(batch.masses[..., 2], theta2)
    assert source.describe()["recipes"] == ["modelF", "modelJ"]
    assert source.describe()["images"] == 48


def test_half_of_the_fresh_lenses_are_turned_with_their_masses(fresh, monkeypatch):
    turned = [fresh("modelF", seed=3).batch(step) for step in range(3)]
    monkeypatch.setattr(lenses, "RESAMPLED", 0.0)
    still = [fresh("modelF", seed=3).batch(step) for step in range(3)]
    angles, noise = [], []
    for one, other in zip(turned, still, strict=True):
        for i in (other.masses[:, 0, 2] > 0).nonzero()[:, 0]:
            (x, y), (u, v) = (b.masses[i, 0, :2].tolist() for b in (other, one))
            assert math.hypot(u, v) == pytest.approx(math.hypot(x, y), rel=1e-4)
            angle = math.atan2(x * v - y * u, x * u + y * v)
            angles.append(math.degrees(angle))
            steps = [b.images[i, 0, :9].diff().std() for b in (one, other)]
            noise.append(float(steps[0] / steps[1]))
    angles, noise = np.array(angles), np.array(noise)
    moved = np.abs(angles) > 0.01
    assert len(angles) == 16 and 4 <= moved.sum() <= 12
    assert np.abs(angles).max() < lenses.TURN
    assert noise[moved].mean() < 0.9 and np.allclose(noise[~moved], 1, atol=1e-3)


def test_fresh_lenses_after_a_restart_are_the_same(fresh):
    source = fresh(seed=1)
    batches = [source.batch(step) for step in range(12)]
    later = fresh(seed=1)
    for step in (8, 11):
        for mine, other in zip(batches[step][:3], later.batch(step)[:3], strict=True):
            assert torch.equal(mine, other)
    again = [later.batch(11, again=n).images for n in (1, 2, 6)]
    assert len({float(x.sum()) for x in [*again, batches[11].images]}) == 4


def test_processes_share_the_fresh_lenses_of_one(fresh):
    one = fresh(seed=1)
    two = [fresh(seed=1, batch_size=4, rank=rank, world=2) for rank in range(2)]
    for step in (0, 2, 4):
        parts = [source.batch(step) for source in two]
        for whole, *halves in zip(
            one.batch(step)[:3], *(p[:3] for p in parts), strict=True
        ):
            assert torch.equal(whole, torch.cat(halves))


def test_other_numbers_of_processes_are_refused():
    with pytest.raises(ValueError, match="3 processes with 8 fresh lenses"):
        lenses.FreshLenses(["modelF"], 8, seed=0, world=3)


def test_fresh_lenses_of_other_classes_do_not_mix():
    other = replace(model_f, name="other", substructure={"no": NoSubstructure()})
    with pytest.raises(ValueError, match="classes"):
        lenses.FreshLenses([model_f, other], 8, seed=0)
