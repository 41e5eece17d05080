"""Images that the reference loop simulates on the way."""

import math
from dataclasses import replace

import fresh_lenses
import numpy as np
import pytest
import torch

from lensequiv.simulation import LensStream, NoSubstructure, model_f
from lensequiv.transforms import CropAndScale

pytestmark = pytest.mark.slow


@pytest.fixture
def fresh(monkeypatch):
    monkeypatch.setattr(fresh_lenses, "CHUNK", (24, 24))

    def fresh(*recipes, batch_size=8, **options):
        source = fresh_lenses.FreshLenses(recipes or ("modelF",), batch_size, **options)
        source.open(49, torch.device("cpu"), CropAndScale(49))
        return source

    return fresh


def test_fresh_lenses_are_those_of_the_stream_preprocessed(fresh):
    source = fresh("modelJ", seed=9, resampled=0)
    stream = LensStream("modelJ", size=49, chunk=24, seed=9)
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
    assert source.describe()["recipe"] == "modelJ@2"
    assert source.describe()["images"] == 48


@pytest.mark.parametrize("exposures", [1, 2])
@pytest.mark.parametrize(("matched", "batch_size"), [(False, 8), (True, 24)])
def test_a_step_shows_lenses_of_all_recipes(fresh, exposures, matched, batch_size):
    names = ("modelF", "modelJ")
    options = {"seed": 9, "exposures": exposures, "matched": matched}
    source = fresh(*names, resampled=0, batch_size=batch_size, **options)
    stream = LensStream(names, size=49, chunk=24, **options)
    for together in range(2):  # as many chunks as there are recipes times exposures
        first = 2 * exposures * together
        chunks = [stream.chunk(first + i) for i in range(2 * exposures)]
        wanted = CropAndScale(49)(torch.cat([chunk.images for chunk in chunks]))
        recipe = torch.arange(2).repeat_interleave(24 * exposures)
        steps = range(len(wanted) // batch_size)
        batches = [source.batch(together * len(steps) + step) for step in steps]
        images = torch.cat([batch.images for batch in batches])
        apart = torch.cdist(images.flatten(1), wanted.flatten(1))
        closest = apart.argmin(1)
        assert closest.unique().numel() == len(wanted)  # each of them once
        assert apart.amin(1).max() < 0.1
        labels = torch.cat([batch.labels for batch in batches])
        assert torch.equal(labels, torch.cat([c.labels for c in chunks])[closest])
        counts = recipe[closest].view(-1, batch_size).float().mean(1)
        assert counts.mean() == 0.5 and len(counts.unique()) > 1
        if matched:
            order = labels.view(-1, 3).sort(1).values
            assert torch.equal(order, torch.arange(3).expand(len(order), 3))
    assert source.describe()["recipes"] == ["modelF@1", "modelJ@2"]


def test_lenses_may_be_observed_more_than_once(fresh):
    source = fresh("modelF", seed=9, resampled=0, exposures=2)
    once, again, other = (source.batch(step) for step in (0, 3, 6))  # 3 steps a chunk
    assert torch.equal(once.masses, again.masses)
    assert torch.equal(once.labels, again.labels)
    assert not torch.equal(once.masses, other.masses)
    noise = (once.images - again.images).flatten(1).std(1)
    assert (noise > 0.01).all()
    assert source.describe()["exposures"] == 2
    assert "exposures" not in fresh("modelF", seed=9).describe()


@pytest.mark.parametrize("batch_size", [24, 48])
def test_a_step_has_all_images_of_its_matched_lenses(fresh, batch_size):
    source = fresh("modelJ", seed=9, batch_size=batch_size, matched=True)
    for step in range(3):
        labels = source.batch(step).labels.view(-1, 3)
        wanted = torch.arange(3).expand(len(labels), 3)
        assert torch.equal(labels.sort(1).values, wanted)
    assert source.describe()["matched"] is True
    assert "matched" not in fresh("modelJ", seed=9).describe()


def test_steps_that_would_part_matched_lenses(fresh):
    with pytest.raises(ValueError, match="--batch-size 32 with --matched: expected"):
        fresh("modelJ", seed=9, batch_size=32, matched=True)


def test_small_frames_get_room_for_shifts_and_turns(fresh):
    small = LensStream("deeplensesim2", size=49, chunk=24, seed=9)  # of 64 pixels
    large = fresh("deeplensesim2", seed=9)
    assert large.stream.recipes[0].pixels == 78  # 49 + 2 * (8 + 6), and even as 64 is
    inner = large.stream.chunk(0).images[..., 8:-8, 8:-8]
    torch.testing.assert_close(inner, small.chunk(0).images, rtol=1e-4, atol=1e-5)
    assert large.batch(0).images.shape == (8, 1, 49, 49)


def test_half_of_the_fresh_lenses_are_turned_with_their_masses(fresh, monkeypatch):
    turned = [fresh("modelF", seed=3).batch(step) for step in range(3)]
    with monkeypatch.context() as without:
        without.setattr(fresh_lenses, "TURN", 0.0)
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
    assert np.abs(angles).max() < fresh_lenses.TURN
    assert noise[moved].mean() < 0.9 and np.allclose(noise[~moved], 1, atol=1e-3)


@pytest.mark.parametrize("recipes", [["modelF"], ["modelF", "modelJ"]])
def test_fresh_lenses_after_a_restart_are_the_same(fresh, recipes):
    source = fresh(*recipes, seed=1)
    batches = [source.batch(step) for step in range(12)]
    later = fresh(*recipes, seed=1)
    for step in (8, 11):
        for mine, other in zip(batches[step][:3], later.batch(step)[:3], strict=True):
            assert torch.equal(mine, other)
    again = [later.batch(11, again=n).images for n in (1, 2, 6)]
    assert len({float(x.sum()) for x in [*again, batches[11].images]}) == 4


@pytest.mark.parametrize("recipes", [["modelF"], ["modelF", "modelJ"]])
def test_processes_share_the_fresh_lenses_of_one(fresh, recipes):
    one = fresh(*recipes, seed=1)
    two = [
        fresh(*recipes, seed=1, batch_size=4, rank=rank, world=2) for rank in range(2)
    ]
    for step in (0, 2, 4):
        parts = [source.batch(step) for source in two]
        for whole, *halves in zip(
            one.batch(step)[:3], *(p[:3] for p in parts), strict=True
        ):
            assert torch.equal(whole, torch.cat(halves))


def test_other_numbers_of_processes_are_refused():
    with pytest.raises(ValueError, match="3 processes with 8 fresh lenses"):
        fresh_lenses.FreshLenses(["modelF"], 8, seed=0, world=3)


def test_fresh_lenses_of_other_classes_do_not_mix():
    other = replace(model_f, name="other", substructure={"no": NoSubstructure()})
    with pytest.raises(ValueError, match="classes"):
        fresh_lenses.FreshLenses([model_f, other], 8, seed=0)
