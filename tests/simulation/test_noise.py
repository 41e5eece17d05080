"""Noise in batches: equal in distribution to that of single images; reproducible."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from lensequiv.simulation import (
    RECIPES,
    BatchNoise,
    CoaddNoise,
    Detector,
    KnownNoise,
    Noiseless,
    PoissonSky,
    ThreefoldNoise,
    add_noise,
    iter_blocks,
    model_j,
    simulate,
)
from lensequiv.simulation import _blocks as simulating
from lensequiv.simulation._observe import (
    generator_of,
    observe_batch,
    observe_each,
)

UNLIKELY = 1e-4


def same_distribution(one, other):
    """By the test of Kolmogorov and Smirnov."""
    from scipy import stats

    return stats.ks_2samp(one.ravel(), other.ravel()).pvalue > UNLIKELY


SMALL = replace(model_j, name="small", pixels=24)
NOISES = [
    PoissonSky(10.0),
    ThreefoldNoise(1e-2),
    RECIPES["deeplensesim2-noisy"].noise,
]
BY_TYPE = pytest.mark.parametrize("noise", NOISES, ids=lambda n: type(n).__name__)


def flat(level, images, side=64):
    return torch.full((images, side, side), float(level))


def lens_of(images, **more):
    values = {"exposure": torch.linspace(500, 2500, images).double()}
    return values | {name: value.expand(images) for name, value in more.items()}


def both(noise, images, lens, device):
    """The same expected counts, observed one by one and in a batch."""
    parameters = {name: value.numpy() for name, value in lens.items()}
    each = observe_each(noise, images.clone(), parameters, (1, 0, 0))
    there = {name: value.to(device) for name, value in lens.items()}
    generator = generator_of(device, 5)
    batch = observe_batch(noise, images.to(device), there, generator)
    assert batch.device.type == device.type
    assert batch.dtype == torch.float32
    return each.double().numpy(), batch.double().cpu().numpy()


@BY_TYPE
@pytest.mark.parametrize("level", [0.3, 20.0, 900.0])
def test_batches_are_equal_in_distribution(noise, level, device):
    assert isinstance(noise, BatchNoise)
    each, batch = both(noise, flat(level, 12), lens_of(12), device)
    for one, other in zip(each, batch, strict=True):
        error = np.sqrt((one.var() + other.var()) / one.size)
        assert abs(one.mean() - other.mean()) < 4 * error
        # The variance's own error, from the fourth moment.
        spread = sum(((v - v.mean()) ** 2).var() / v.size for v in (one, other))
        assert abs(one.var() - other.var()) < 4 * np.sqrt(spread)
    assert same_distribution(each, batch)
    # No two images have one noise, and neighbours know nothing of each other.
    z = (batch - batch.mean((1, 2), keepdims=True)) / batch.std((1, 2), keepdims=True)
    for a, b in ((z[1:], z[:-1]), (z[:, 1:], z[:, :-1]), (z[..., 1:], z[..., :-1])):
        assert abs((a * b).mean()) < 4 / np.sqrt(a.size)


def test_known_variances(device):
    """Photon noise twice and background once; sky, read-out and photon noise."""
    n = 64 * 64 * 12
    lens = lens_of(12) | {"exposure": torch.full((12,), 2000.0).double()}
    _, counts = both(ThreefoldNoise(1e-2), flat(500, 12), lens, device)
    assert counts.mean() == pytest.approx(500, abs=4 * np.sqrt(1400 / n))
    assert counts.var() == pytest.approx(2 * 500 + 20**2, rel=4 * np.sqrt(2 / n))
    assert (counts == counts.round()).all()
    coadd = CoaddNoise(565.0, 4, 4.2, 22.35, 24.0, 0.101)
    _, rates = both(coadd, flat(2, 12), lens, device)
    variance = coadd.background**2 + 2 / (565 * 4)
    assert rates.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / n))


@BY_TYPE
def test_noise_tells_its_variance(noise, device):
    assert isinstance(noise, KnownNoise) and not isinstance(Noiseless(), KnownNoise)
    images, lens = flat(500, 12), lens_of(12)
    _, noisy = both(noise, images, lens, device)
    told = noise.variance(images, lens)
    assert told.shape == images.shape
    found = noisy.var((1, 2)) / told[:, 0, 0].double().numpy()
    assert found == pytest.approx(np.ones(12), rel=4 * np.sqrt(2 / 64**2))


def test_dark_pixels(device):
    """What rounding leaves below 0 is no count."""
    _, counts = both(PoissonSky(0.0), flat(0, 1), lens_of(1), device)
    assert (counts == 0).all()
    images = torch.full((1, 4, 4), -1e-7, device=device)
    dark = PoissonSky(0.0).add_batch(images, {}, generator_of(device, 1))
    assert (dark == 0).all()


def test_noiseless(device):
    images = torch.rand(2, 5, 5, device=device)
    assert torch.equal(observe_batch(Noiseless(), images, {}, None), images)


def test_detector(device):
    """Correlated noise, a gradient, and defects: as from deviates of NumPy."""
    noise = Detector(correlation=(0.3, 0.3), gradient=(1.0, 1.0), defects=3.0)
    one = torch.ones(1, dtype=torch.float64)
    lens = lens_of(
        40,
        dark_variance=25 * one,
        correlation=0.3 * one,
        gradient_right=2 * one,
        gradient_down=-1 * one,
        noiseless=0 * one,
        defects=0 * one,
    )
    each, batch = both(noise, flat(50, 40), lens, device)
    at = np.linspace(-1, 1, 64)
    for images in (each, batch):
        rest = images - 50 - 2 * at - -1 * at[:, None]
        assert abs(rest.mean()) < 0.15
        inner = rest[:, 1:-1, 1:-1]
        assert inner.var() == pytest.approx(75, rel=0.02)
        # Of neighbours: 2 w / (1 + 4 w^2), from both ends of the pair.
        near = (inner[:, :, 1:] * inner[:, :, :-1]).mean() / inner.var()
        assert near == pytest.approx(0.6 / 1.36, abs=0.02)
    assert same_distribution(each, batch)
    # Defects, where there is nothing else.
    number = torch.arange(40).double() % 4
    quiet = lens | {"noiseless": one.expand(40), "defects": number}
    _, batch = both(noise, flat(50, 40), quiet, device)
    found = (batch != 50).sum((1, 2))
    assert (found <= number.numpy()).all()
    assert (found == number.numpy()).mean() > 0.9  # or two in one pixel
    assert batch.min() >= -50
    assert batch.max() <= 100


@dataclass(frozen=True)
class Doubled:
    """A noise of a user's own, as the documentation asks for."""

    sky: float = 0.0

    def add(self, rng, image, exposure):
        return (2 * image + exposure + rng.random(image.shape)).astype(np.float32)


def test_a_users_noise_needs_no_batches(device):
    images = torch.arange(3.0).view(3, 1, 1).expand(3, 4, 4).to(device)
    lens = {"exposure": torch.tensor([10.0, 20.0, 30.0], device=device)}
    noisy = observe_batch(Doubled(), images, lens, generator_of(device, 1))
    assert noisy.device == images.device
    expected = torch.tensor([10.0, 22.0, 34.0])
    assert torch.equal(noisy.floor()[:, 0, 0].cpu(), expected)
    assert len(noisy.unique()) == 48
    again = observe_batch(Doubled(), images, lens, generator_of(device, 1))
    assert torch.equal(again, noisy)
    # On the processor, `simulate` gives it one image after the other.
    recipe = replace(SMALL, noise=Doubled())
    clean = simulate(recipe, 3, seed=0, noise=False).images
    more = simulate(recipe, 3, seed=0).images - 2 * clean
    assert 1 <= more.min() < more.max() <= 2


@pytest.fixture
def simulate_there(device):
    """`simulate_range` on the device; on the processor by the way of the others."""

    def run(recipe, label, seed, start, stop, **more):
        options = {"rotation": 0.0, "noise": True} | more
        return simulating._simulate_on(
            device, recipe, label, seed, start, stop, **options
        )

    return run


@pytest.mark.parametrize("recipe", ["small", "wide"])
def test_images_depend_on_their_index_alone(simulate_there, recipe):
    recipe = SMALL if recipe == "small" else replace(RECIPES["wide"], pixels=24)
    images, parameters = simulate_there(recipe, 1, 3, 0, 140)
    assert images.shape == (140, 24, 24)
    for start, stop in ((0, 64), (70, 80), (100, 140)):
        part, of_part = simulate_there(recipe, 1, 3, start, stop)
        torch.testing.assert_close(part, images[start:stop], rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(of_part["shear"], parameters["shear"][start:stop])
    assert len(images.flatten(1).unique(dim=0)) == 140
    other, _ = simulate_there(recipe, 1, 4, 0, 64)
    assert not torch.equal(other, images[:64])


def test_lenses_are_those_of_the_processor(simulate_there, device):
    clean, parameters = simulate_there(SMALL, 2, 3, 5, 40, noise=False, rotation=30.0)
    expected, numbers = simulating.simulate_range(
        SMALL, 2, 3, 5, 40, noise=False, rotation=30.0
    )
    torch.testing.assert_close(clean.cpu(), expected, rtol=1e-4, atol=1e-3)
    assert parameters.keys() == numbers.keys()
    for name, value in numbers.items():
        np.testing.assert_array_equal(parameters[name], value, err_msg=name)
    noisy, _ = simulate_there(SMALL, 2, 3, 5, 40, rotation=30.0)
    z = ((noisy - clean) / clean.sqrt()).double()
    assert abs(z.mean()) < 4 / np.sqrt(z.numel())
    assert z.var().item() == pytest.approx(1, rel=4 * np.sqrt(2.2 / z.numel()))


def test_results_stay_on_the_device(device):
    s = simulate(SMALL, 7, seed=1, device=device)
    assert s.images.device.type == s.labels.device.type == device.type
    assert "7 images of 3 classes: no 3" in repr(s)
    (_, images, _), *_ = iter_blocks(SMALL, 0, 5, seed=1, device=device)
    assert images.device.type == device.type
    torch.testing.assert_close(s.images[:3], images[:3])


@pytest.mark.parametrize("name", ["modelJ", "modelF-varied", "deeplensesim1", "wide"])
def test_add_noise(name, device):
    """To images of any recipe, from either kind of generator."""
    recipe = replace(RECIPES[name], pixels=30)
    s = simulate(recipe, 12, seed=1, noise=False)
    given = s.images.clone()
    here = add_noise(recipe, given, s.parameters, np.random.default_rng(3))
    assert torch.equal(given, s.images)
    again = add_noise(recipe, given, s.parameters, np.random.default_rng(3))
    assert torch.equal(again, here)
    generator = generator_of(device, 3)
    there = add_noise(recipe, given.to(device), s.parameters, generator)
    assert there.device.type == device.type
    spread = [float((noisy.cpu() - given).std()) for noisy in (here, there)]
    assert spread[0] > 0
    assert spread[1] == pytest.approx(spread[0], rel=0.1)


def test_add_noise_refuses():
    s = simulate(SMALL, 6, seed=1, noise=False)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"shape \(5, 24, 24\) and parameters of 6"):
        add_noise(SMALL, s.images[:5], s.parameters, rng)
    with pytest.raises(ValueError, match=r"shape \(6, 1, 24, 24\)"):
        add_noise(SMALL, s.images[:, None], s.parameters, rng)
    with pytest.raises(ValueError, match="images on meta and NumPy's random numbers"):
        add_noise(SMALL, s.images.to("meta"), s.parameters, rng)
    with pytest.raises(ValueError, match="images on meta, but rng on cpu"):
        add_noise(SMALL, s.images.to("meta"), s.parameters, torch.Generator())
