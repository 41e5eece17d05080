"""`LensStream`: what a chunk is, where its lenses stand, and what it refuses."""

from dataclasses import dataclass, replace
from itertools import islice
from typing import ClassVar

import numpy as np
import pytest
import torch

from lensequiv.simulation import (
    RECIPES,
    Detector,
    LensStream,
    NoSubstructure,
    Subhalos,
    model_f,
    model_j,
    render_lenses,
)
from lensequiv.simulation._draw import draw, mirror, rotate

SMALL = replace(model_j, name="small", pixels=30)
DETECTED = replace(RECIPES["wide"], name="detected", pixels=30, psf_size=5)


def stream(recipes=SMALL, *, seed=1, size=15, chunk=48, shift=3, **more):
    return LensStream(recipes, seed=seed, size=size, chunk=chunk, shift=shift, **more)


def assert_same(a, b):
    for name, x, y in zip(a._fields, a, b, strict=True):
        # Quantities that are not defined are NaN.
        assert torch.equal(x.nan_to_num(), y.nan_to_num()), name


@pytest.mark.parametrize("recipe", [SMALL, DETECTED], ids=lambda recipe: recipe.name)
def test_chunk(device, recipe):
    lenses = stream(recipe, device=device).chunk(2)
    assert lenses.images.shape == (48, 1, 15, 15)
    assert lenses.images.dtype == lenses.masses.dtype == torch.float32
    assert torch.isfinite(lenses.images).all()
    assert lenses.pixel_scale.shape == (48,)
    assert lenses.pixel_scale.dtype == torch.float32
    assert lenses.masses.shape == (48, 128, 3)
    assert lenses.labels.dtype == torch.int64
    assert all(value.device.type == device.type for value in lenses)
    # Classes are in equal parts, in each eighth too, and mixed there.
    for part in lenses.labels.view(8, 6):
        assert part.bincount(minlength=3).tolist() == [2, 2, 2]
    assert (lenses.labels.diff() != 0).sum() > 20
    number = (lenses.masses[..., 2] > 0).sum(1)
    assert (number[lenses.labels == 0] == 0).all()
    assert (number[lenses.labels == 1] > 2).all()
    assert (number[lenses.labels == 2] == 100).all()
    assert (lenses.masses[lenses.masses[..., 2] == 0] == 0).all()
    if recipe is SMALL:
        assert torch.equal(lenses.images, lenses.images.round())
        assert lenses.pixel_scale.unique().tolist() == [pytest.approx(0.05)]
    else:
        assert len(lenses.pixel_scale.unique()) == 48


@pytest.mark.parametrize("recipe", [SMALL, DETECTED], ids=lambda recipe: recipe.name)
def test_chunks_are_functions_of_their_number(device, recipe):
    one, other = (stream(recipe, device=device) for _ in range(2))
    want = [one.chunk(number) for number in (5, 6, 7)]
    running = other.chunks(5)
    for got, expected in zip(islice(running, 3), want, strict=True):
        assert_same(got, expected)
    running.close()
    images = torch.cat([want[0].images, want[1].images])
    images = torch.cat([images, stream(recipe, seed=2, device=device).chunk(5).images])
    assert len(images.flatten(1).unique(dim=0)) == 3 * 48


@pytest.mark.parametrize("recipe", [SMALL, DETECTED], ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("parts", [2, 8])
def test_parts_make_the_whole(device, recipe, parts):
    whole = stream(recipe, device=device).chunk(4)
    pieces = [
        next(stream(recipe, device=device).chunks(4, part=part, parts=parts))
        for part in range(parts)
    ]
    for name, value, *each in zip(whole._fields, whole, *pieces, strict=True):
        together = torch.cat(each)
        if name == "images":
            # A device's Fourier transforms of more images may round otherwise: by some
            # 1e-7 of the brightest pixel, in the faintest ones too.
            peak = value.abs().amax((1, 2, 3), keepdim=True)
            value, together = value / peak, together / peak
        torch.testing.assert_close(
            together, value, msg=name, rtol=1e-5, atol=1e-6, equal_nan=True
        )


def test_recipes_take_turns(device):
    fine = replace(SMALL, name="fine", pixel_scale=0.04)
    scales = [
        stream([SMALL, fine], device=device).chunk(i).pixel_scale[0].item()
        for i in range(4)
    ]
    assert scales == pytest.approx([0.05, 0.04, 0.05, 0.04])


@pytest.mark.parametrize("recipe", [SMALL, DETECTED], ids=lambda recipe: recipe.name)
def test_exposures_show_the_same_lenses_with_other_noise(device, recipe):
    thrice = stream(recipe, device=device, exposures=3)
    first, second, third, other = (thrice.chunk(number) for number in (6, 7, 8, 9))
    assert_same(first, stream(recipe, device=device).chunk(2))
    for again in (second, third):
        assert_same(again._replace(images=first.images), first)
    images = torch.cat([lenses.images for lenses in (first, second, third, other)])
    # A few lenses of `wide` have no noise to speak of.
    assert len(images.flatten(1).unique(dim=0)) > 3.8 * 48
    truth = stream(recipe, device=device, noise=False).chunk(2).images
    if recipe is SMALL:  # the other one has gradients, which stay
        errors = [(lenses.images - truth).flatten() for lenses in (first, second)]
        assert torch.corrcoef(torch.stack(errors))[0, 1].abs() < 0.1
    # A run that goes on in the middle of a lens's exposures sees what it would have.
    for start in (7, 8):
        running = thrice.chunks(start)
        for number in range(start, 10):
            assert_same(next(running), thrice.chunk(number))
        running.close()


def test_exposures_and_recipes_take_turns(device):
    fine = replace(SMALL, name="fine", pixel_scale=0.04)
    both = stream([SMALL, fine], device=device, exposures=2)
    scales = [both.chunk(i).pixel_scale[0].item() for i in range(5)]
    assert scales == pytest.approx([0.05, 0.05, 0.04, 0.04, 0.05])


def no_substructure(recipe):
    """The recipe with three classes that do not differ."""
    classes = dict.fromkeys(recipe.classes, NoSubstructure())
    return replace(recipe, substructure=classes)


def small(name):
    return replace(RECIPES[name], pixels=30, psf_size=5)


@pytest.mark.parametrize("name", ["modelJ", "deeplensesim1", "wide", "hst"])
def test_images_of_matched_lenses_differ_by_their_substructure_alone(device, name):
    recipe = small(name)
    equal = stream(
        no_substructure(recipe), device=device, matched=True, noise=False
    ).chunk(3)
    sets = equal.images.unflatten(0, (-1, 3))
    contrast = sets[:, 0].std((1, 2, 3))
    spread = (sets - sets[:, :1]).abs().amax((1, 2, 3, 4))
    assert (spread < 1e-4 * contrast).all()
    other = (sets[:-1, 0] - sets[1:, 0]).abs().amax((1, 2, 3))
    assert (other > 0.1 * contrast[1:]).all()
    found = stream(recipe, device=device, matched=True, noise=False).chunk(3)
    labels = found.labels.view(-1, 3)
    assert torch.equal(labels.sort(1).values, torch.arange(3).expand(16, 3).to(labels))
    assert len(labels.unique(dim=0)) > 3  # in another order in each lens
    smooth = found.images.unflatten(0, (-1, 3))[labels == 0]
    if not recipe.shared_mass:
        torch.testing.assert_close(smooth, sets[:, 0], rtol=1e-4, atol=1e-4)
    vortices = found.images.unflatten(0, (-1, 3))[labels == 2]
    seen = (vortices - smooth).abs().amax((1, 2, 3)) > spread + 1e-6 * contrast
    assert seen.sum() > 12  # a crop of 15 pixels misses the arcs of some
    noisy = stream(recipe, device=device, matched=True).chunk(3)
    assert torch.equal(noisy.labels, found.labels)
    assert len(noisy.images.flatten(1).unique(dim=0)) == 48


def test_parts_of_matched_lenses_make_the_whole(device):
    matched = stream(device=device, matched=True)
    parts = [matched.chunk(1, part=part, parts=4) for part in range(4)]
    whole = matched.chunk(1)
    assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)
    torch.testing.assert_close(
        torch.cat([part.masses for part in parts]), whole.masses, rtol=1e-6, atol=1e-6
    )


# Where lenses stand


@dataclass(frozen=True)
class Mark:
    """A compact light and, as a substructure, a light mass, both at one place."""

    straight: ClassVar[bool] = False

    x: float
    y: float

    def draw(self, rng, lenses, *_):
        if not isinstance(lenses, dict):
            return tuple(
                np.full((lenses, 1), value) for value in (self.x, self.y, 1e-3)
            )
        shape = (len(lenses["theta_e"]), 1)
        values = {"x": self.x, "y": self.y, "amplitude": 1e4, "radius": 0.05}
        values |= {"index": 1.0, "axis_ratio": 1.0, "angle": 0.0}
        return {f"light_{name}": np.full(shape, v) for name, v in values.items()}


@pytest.mark.parametrize(("pixels", "offset"), [(100, 0.5), (101, 0.0)])
def test_masses_lie_where_the_image_says(device, pixels, offset):
    mark = Mark(0.8, 0.3)
    recipe = replace(
        model_f, pixels=pixels, lights=(mark,), substructure={"marked": mark}
    )
    made = LensStream(
        recipe, seed=0, size=61, chunk=64, shift=6, noise=False, device=device
    )
    lenses = made.chunk(0)
    images = lenses.images[:, 0].double()
    at = torch.arange(61, device=device).double() - 30
    weight = (images - images.amin((1, 2), keepdim=True)).square()
    weight /= weight.sum((1, 2), keepdim=True)
    x, y = (weight.sum(1) * at).sum(1), (weight.sum(2) * at).sum(1)
    found = torch.stack([x, y], 1)
    place = lenses.masses[:, 0, :2].double()
    torch.testing.assert_close(found, place, rtol=0, atol=0.1)
    # The lens's centre is a whole number of pixels away from its unshifted place, and
    # the mark at its distance from there, on either side of the mirror, at any angle.
    far = np.hypot(0.8, 0.3) / 0.05
    steps = torch.arange(-6, 7, device=device).double() + offset
    off = (place[:, None, None, 0] - steps).square() + (
        place[:, None, None, 1] - steps[:, None]
    ).square()
    assert (off.sqrt() - far).abs().amin((1, 2)).max() < 1e-4
    assert place.abs().max() < far + 6.5


def test_centred_rings_stand_on_whole_shifts(device):
    """Without shear and off-centre sources, a smooth ring's centroid is the lens's."""
    recipe = replace(
        model_f,
        shear=(0.0, 0.0),
        source_radius=(0.0, 0.0),
        substructure={"no": NoSubstructure()},
    )
    made = LensStream(recipe, seed=0, chunk=32, noise=False, device=device)
    images = made.chunk(0).images[:, 0].double() - 30
    at = torch.arange(97, device=device).double() - 48
    weight = images.square() / images.square().sum((1, 2), keepdim=True)
    for axis in (1, 2):
        shift = (weight.sum(axis) * at).sum(1) - 0.5
        # What the crop cuts off a shifted ring's light moves its centroid a little.
        torch.testing.assert_close(shift, shift.round(), rtol=0, atol=0.02)
        assert shift.round().abs().max() <= 6
        assert len(shift.round().unique()) > 6


@pytest.mark.parametrize("recipe", ["modelJ", "deeplensesim1", "wide"])
@pytest.mark.parametrize("label", [1, 2])
def test_mirrored_and_turned_lenses_are_mirrored_and_turned_images(recipe, label):
    recipe = replace(RECIPES[recipe], blur=None, pixels=60)
    straight = recipe.substructure[recipe.classes[label]].straight
    lens = draw(recipe, label, np.random.default_rng(0), 5)
    flipped = np.array([True, False, True, False, True])
    plain = render_lenses(recipe, lens, straight=straight)
    peak = plain.amax((1, 2), keepdim=True)
    got = render_lenses(recipe, mirror(lens, flipped), straight=straight)
    expected = torch.where(
        torch.from_numpy(flipped)[:, None, None], plain.flip(1), plain
    )
    assert ((got - expected).abs() / peak).max() < 1e-4
    angles = np.array([0.0, 90.0, 30.0, 270.0, 123.0])
    got = render_lenses(recipe, rotate(lens, angles), straight=straight)
    for i, angle in enumerate(angles):
        alone = {name: value[i : i + 1] for name, value in lens.items()}
        one = render_lenses(recipe, rotate(alone, float(angle)), straight=straight)
        assert ((got[i] - one[0]).abs() / peak[i]).max() < 1e-5
        if angle % 90 == 0:
            pixels = torch.rot90(plain[i], -int(angle // 90))
            assert ((got[i] - pixels).abs() / peak[i]).max() < 1e-4


@dataclass(frozen=True)
class Nothing:
    """A noise of a user's own, which knows no batches."""

    sky: float = 30.0

    def add(self, rng, image, exposure):
        assert image.shape == (100, 100)
        return image


def test_smaller_frames_are_cut_from_the_recipe(device):
    """Only what is needed is rendered; a user's noise gets the whole frame."""
    recipe = replace(model_f, pixels=100)
    small = LensStream(
        recipe, seed=3, size=41, shift=4, chunk=24, noise=False, device=device
    )
    whole = LensStream(
        replace(recipe, noise=Nothing()),
        seed=3,
        size=41,
        shift=4,
        chunk=24,
        device=device,
    )
    a, b = small.chunk(1), whole.chunk(1)
    torch.testing.assert_close(a.images, b.images, rtol=1e-5, atol=0)
    assert torch.equal(a.masses, b.masses)


def test_gradients_keep_their_slope(device):
    """What a detector's noise is on the recipe's frame, it is on the crop."""
    noise = Detector(
        peak_snr=(1e-3, 1e-3),
        sky_level=(1.0, 1.0),
        read_noise=(0.0, 0.0),
        gradient=(50.0, 50.0),
    )
    recipe = replace(model_f, pixels=100, noise=noise)
    made = LensStream(recipe, seed=3, size=41, shift=4, chunk=24, device=device)
    images = made.chunk(0).images[:, 0].double()
    at = torch.arange(41, device=device).double() - 20
    slope_x = (images.mean(1) * at).sum(1) / at.square().sum()
    slope_y = (images.mean(2) * at).sum(1) / at.square().sum()
    slope = torch.hypot(slope_x, slope_y)
    torch.testing.assert_close(
        slope, torch.full_like(slope, 50 / 49.5), rtol=0.02, atol=0
    )


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipes": []}, "recipes is empty"),
        ({"recipes": "modelX"}, "unknown recipe 'modelX'"),
        (
            {"recipes": [SMALL, replace(SMALL, substructure={"no": NoSubstructure()})]},
            "has the classes no; expected no, sphere, vort, as 'small' has",
        ),
        ({"size": 0}, "size=0"),
        ({"shift": -1}, "shift=-1"),
        ({"chunk": 40}, "chunk=40: expected a multiple of 8 times 3 classes"),
        ({"chunk": 0}, "n=0"),
        ({"seed": -1}, "seed=-1"),
        ({"exposures": 0}, "exposures=0: expected a positive integer"),
        ({"matched": 1}, "matched=1: expected True or False"),
        (
            {"size": 25},
            "size=25 with shift=3 needs frames of 32 pixels; recipe 'small' has 30",
        ),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        stream(**change)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"number": -1}, "chunk -1"),
        ({"parts": 3}, "parts=3: expected 1, 2, 4 or 8"),
        ({"parts": 2, "part": 2}, "part=2: expected from 0 to 1"),
    ],
)
def test_bad_chunks(arguments, message):
    made = stream()
    with pytest.raises(ValueError, match=message):
        made.chunk(**{"number": 0} | arguments)
    with pytest.raises(ValueError, match=message):
        made.chunks(arguments.pop("number", 0), **arguments)
    with pytest.raises(ValueError, match="workers=0"):
        made.chunks(workers=0)


def test_heaviest_masses(device):
    many = replace(SMALL, substructure={"many": Subhalos(150, poisson=False)})
    lenses = stream(many, device=device, noise=False).chunk(0)
    theta2 = lenses.masses[..., 2]
    assert (theta2 > 0).all()
    assert (theta2.diff(dim=1) <= 0).all()
