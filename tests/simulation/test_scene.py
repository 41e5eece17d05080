"""Recipes that draw more lens by lens: against lenstronomy, and what is drawn."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lensequiv.simulation import (
    Blur,
    Clumps,
    Combined,
    Detector,
    Galaxies,
    Halos,
    LensLight,
    Neighbours,
    NoSubstructure,
    PowerLaw,
    PSFImages,
    Subhalos,
    Vortex,
    _scene,
    get_recipe,
    model_f,
    render_lenses,
    simulate,
    to_lenstronomy,
)
from lensequiv.simulation._draw import draw
from lensequiv.simulation._physics import ray_grid

SMALL = replace(
    get_recipe("wide"), name="small", pixels=48, psf_size=9, ring=(6.0, 15.0)
)


def drawn(recipe, label=0, blocks=20, seed=1):
    parts = [
        draw(recipe, label, np.random.default_rng([seed, label, block]))
        for block in range(blocks)
    ]
    return {
        name: np.concatenate([p[name] for p in parts])
        for name in parts[0]
        if parts[0][name].ndim == 1
    }


def assert_lenstronomys(recipe, n, rotation=0.0, atol=1e-5):
    """Images equal lenstronomy's to 1e-5 of the peak, mean pixels far better."""
    simulation = simulate(recipe, n, seed=3, noise=False, rotation=rotation)
    for index in range(n):
        expected = to_lenstronomy(simulation, index).image()
        image = simulation.images[index].double().numpy()
        error = np.abs(image - expected)
        assert error.max() < atol * np.abs(expected).max()
        assert error.mean() < 1e-6 * np.abs(expected).max()


# The recipes' own images are compared in test_physics; here one component at a time.

COMPONENTS = {
    "power law": {
        "deflector": PowerLaw((1.7, 2.3), (0.4, 1.0), offset=0.1),
    },
    "multipoles": {
        "deflector": PowerLaw(
            axis_ratio=(0.6, 1.0), third=(0.01, 0.03), fourth=(0.01, 0.05), offset=0.05
        ),
    },
    "lens light": {"lights": (LensLight(share=1.0, subtracted=0.5),)},
    "neighbours": {"lights": (Neighbours(galaxies=2.0, stars=1.0),)},
    # Bright, some beyond the frame, with kernels that cut much of them off.
    "stars": {
        "lights": (
            Neighbours(galaxies=0.0, stars=3.0, ratio=(5, 30), distance=(0.2, 3)),
        ),
        "blur": Blur((3.0, 5.0), moffat=1.0),
        "psf_size": 7,
    },
    "clumps": {"lights": (Clumps(share=1.0),)},
    "galaxies": {"lights": (Galaxies(share=0.8), Clumps(share=0.5))},
    "pictures of stars": {"blur": PSFImages(width=(0.7, 2.0), oversampling=2.0)},
    "blur": {"blur": Blur((1.2, 5.0), moffat=0.5, axis_ratio=(0.7, 1.0))},
    "spread": {
        "spread": {"pixel_scale": (0.5, 2.0), "psf_sigma": (0.7, 1.4), "sky": (0.5, 2)}
    },
    "angular distances": {"distances": "angular"},
    "everything": {
        "deflector": PowerLaw((1.8, 2.2), (0.5, 1.0), third=(0, 0.01)),
        "lights": (LensLight(), Neighbours(), Clumps()),
        "blur": Blur((2.0, 3.0)),
        "noise": Detector(),
        "ring": (10.0, 20.0),
        "substructure": {
            "mixed": Combined(
                (
                    Subhalos(number=5, poisson=False),
                    Vortex(points=10),
                    Halos(number=3, truncation=(2.0, 20.0), mass=(1e9, 1e10)),
                )
            )
        },
    },
}
HALOS = {
    "nfw": Halos(number=2, mass=(1e9, 3e10)),
    "concentrated": Halos(number=2, mass=(1e9, 1e10), concentration=(60, 60)),
    "truncated": Halos(number=2, mass=(1e9, 3e10), truncation=(0.5, 30.0)),
    "isothermal": Halos(number=2, mass=(1e9, 3e10), profile="sis"),
    "points": Halos(number=2, mass=(1e9, 3e10), profile="point"),
    "one": Halos(mass=(1e10, 1e10), place=(0.6, -1.1), concentration=(15, 15)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPONENTS)
def test_components_are_lenstronomys(name):
    base = replace(model_f, name="mine", pixels=64, pixel_scale=0.1)
    recipe = replace(
        base, **({"substructure": {"no": NoSubstructure()}} | COMPONENTS[name])
    )
    assert not recipe.is_plain
    assert_lenstronomys(recipe, 4, rotation=25.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", HALOS)
def test_halos_are_lenstronomys(name):
    recipe = replace(
        model_f,
        name="mine",
        pixels=64,
        pixel_scale=0.1,
        substructure={"halos": HALOS[name]},
    )
    assert_lenstronomys(recipe, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nfw", "concentrated", "truncated", "isothermal"])
def test_deflection_by_halos(name):
    """To 1e-5 of the deflection, from a thousandth of an arcsec outwards."""
    recipe = replace(model_f, name="mine", substructure={"halos": HALOS[name]})
    simulation = simulate(recipe, 2, seed=1, noise=False)
    model = to_lenstronomy(simulation, 1)
    x, y = np.random.default_rng(0).uniform(-2, 2, (2, 50))
    p = {
        key: torch.from_numpy(value[1:])
        for key, value in simulation.parameters.items()
        if key.startswith("mass_")
    }
    from lenstronomy.LensModel.lens_model import LensModel

    lens = LensModel(model.lens_models[2:])
    for at_x, at_y in zip(x, y, strict=True):
        names = ("x", "y", "theta2", "concentration", "scale", "truncation")
        arguments = [p[f"mass_{key}"].clone() for key in names]
        # The deflection at a point is that at the origin of a shifted lens.
        arguments[0], arguments[1] = arguments[0] - at_x, arguments[1] - at_y
        found = _scene.halo_deflection(
            torch.zeros(1, dtype=torch.float64), *arguments, dtype=torch.float64
        )
        expected = lens.alpha(at_x, at_y, model.kwargs_lens[2:])
        error = np.hypot(*(float(f) - e for f, e in zip(found, expected, strict=True)))
        assert error < 1e-5 * np.hypot(*expected) + 1e-9


def test_a_single_halo_stands_where_it_is_put():
    p = simulate(
        replace(model_f, pixels=16, substructure={"one": HALOS["one"]}), 3, seed=0
    ).parameters
    np.testing.assert_allclose(p["mass"], 1e10)
    np.testing.assert_allclose(p["mass_x"], 0.6)
    np.testing.assert_allclose(p["mass_y"], -1.1)
    # r_200 of 1e10 solar masses at redshift 0.5, and the concentration's scatter.
    reach = p["mass_scale"] * p["mass_concentration"]
    density = 200 * 1.36e11 * (0.3 * 1.5**3 + 0.7)  # Msun / Mpc^3
    expected = (3e10 / (4 * np.pi * density)) ** (1 / 3) / 1259.1 * 206264.8
    np.testing.assert_allclose(reach, expected, rtol=2e-3)


def test_concentrations_follow_the_relation():
    recipe = replace(
        model_f,
        substructure={"halos": Halos(number=100, mass=(1e10, 1e10), scatter=0.11)},
    )
    p = draw(recipe, 0, np.random.default_rng(0))
    log = np.log10(p["mass_concentration"])
    # Dutton & Maccio 2014 at z = 0.5, 1e10 Msun: log c = a + b log10(0.7e-2).
    a, b = 0.520 + 0.385 * np.exp(-0.617 * 0.5**1.21), -0.101 + 0.013
    assert log.mean() == pytest.approx(a + b * np.log10(0.7e-2), abs=0.005)
    assert log.std() == pytest.approx(0.11, abs=0.003)


def test_spread_is_log_uniform_and_ring_sets_the_scale():
    p = drawn(get_recipe("modelJ-varied"))
    from scipy import stats

    for name, middle, by in (
        ("psf_sigma", 0.086, 1.25),
        ("pixel_scale", 0.05, 1.05),
        ("sky", 10.0, 1.5),
        ("amplitude", 104.5, 1.5),
        ("total_mass", 1e12, 1.1),
    ):
        u = np.log(p[name] / middle) / np.log(by)
        assert stats.kstest(u, stats.uniform(-1, 2).cdf).pvalue > 1e-4, name
    p = drawn(SMALL, 1)
    ring = p["theta_e"] / p["pixel_scale"]
    assert ring.max() <= 15
    assert 5 < ring.min() < 6.1  # the subhalos take their part


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["modelF-varied", "modelJ-varied"])
def test_varied_recipes_have_the_study_inside(recipe):
    """Their classes, and images as bright as those of the recipe they vary."""
    varied, plain = get_recipe(recipe), get_recipe(recipe.removesuffix("-varied"))
    assert varied.classes == plain.classes
    ours, theirs = (simulate(r, 90, seed=5).images for r in (varied, plain))
    ratio = ours.amax((1, 2)).log().median() - theirs.amax((1, 2)).log().median()
    assert abs(float(ratio)) < 0.15


def test_rotation_is_exact():
    """Everything on the sky turns, the instrument does not."""
    recipe = replace(SMALL, blur=None, psf_sigma=0.05, psf_size=5)
    upright = simulate(recipe, 12, seed=2, noise=False).images
    turned = simulate(recipe, 12, seed=2, noise=False, rotation=90.0).images
    peak = upright.amax((1, 2), keepdim=True)
    error = ((turned - torch.rot90(upright, -1, (1, 2))) / peak).abs()
    # A ray next to a mass or to a bright centre amplifies rounding.
    assert error.quantile(0.999) < 2e-5
    assert error.max() < 5e-3


@pytest.mark.slow
def test_seeds_and_workers():
    a = simulate(SMALL, 3 * 70, seed=5, workers=1)
    b = simulate(SMALL, 3 * 66, seed=5, workers=2)
    for label in range(3):
        few, many = b.images[b.labels == label], a.images[a.labels == label][:66]
        torch.testing.assert_close(few, many, rtol=0, atol=0)


@pytest.mark.slow
def test_without_noise_is_the_mean():
    """Noise of a detector: its mean is the image, its variance what was drawn."""
    detector = Detector(correlation=(0.3, 0.3), gradient=(0.0, 0.0))
    recipe = replace(SMALL, noise=detector, substructure={"no": NoSubstructure()})
    clean, noisy = (simulate(recipe, 300, seed=4, noise=n) for n in (False, True))
    p = clean.parameters
    sigma = (
        clean.images.clamp_min(0) + torch.from_numpy(p["dark_variance"])[:, None, None]
    )
    z = ((noisy.images - clean.images) / sigma.sqrt())[:, 2:-2, 2:-2]
    assert abs(z.mean()) < 0.01
    assert z.std() == pytest.approx(1, abs=0.02)
    # Neighbours share: the correlation of 1 + 4 a^2 with lag one is 2 a / (1 + 4 a^2).
    lag = (z[:, :, 1:] * z[:, :, :-1]).mean()
    assert lag == pytest.approx(0.6 / 1.36, abs=0.02)


@pytest.mark.slow
def test_noiseless_share_and_defects():
    detector = Detector(noiseless=1.0, gradient=(1.0, 1.0), defects=3.0)
    recipe = replace(SMALL, noise=detector)
    clean, marked = (simulate(recipe, 60, seed=4, noise=n) for n in (False, True))
    changed = (clean.images != marked.images).sum((1, 2))
    wanted = torch.from_numpy(clean.parameters["defects"])
    assert (changed <= wanted).all()
    assert changed.sum() > 0.9 * wanted.sum()


def test_256_levels():
    """Between the 0.2th and the 99.8th percentile; others stay as they are."""
    few, many = (
        simulate(replace(SMALL, noise=Detector(eight_bits=share)), 9, seed=1).images
        for share in (1.0, 1e-9)
    )
    for rounded, plain in zip(few, many, strict=True):
        # Of 48 x 48 pixels, the fifth from either end.
        low, high = plain.ravel().sort().values[[4, -5]].tolist()
        step = (high - low) / 255
        assert len(rounded.unique()) <= 256
        inside = (plain > low + step) & (plain < high - step)
        assert (rounded - plain)[inside].abs().max() <= 0.55 * step
        assert rounded.aminmax() == pytest.approx((low, high), abs=0.01 * step)
        assert len(plain.unique()) > 1000


def test_render_lenses_is_what_simulate_renders():
    simulation = simulate(SMALL, 9, seed=1, noise=False)
    again = render_lenses(SMALL, simulation.parameters)
    peak = simulation.images.amax((1, 2), keepdim=True)
    assert ((again - simulation.images).abs() / peak).max() < 1e-6


def test_describe_names_the_components():
    described = get_recipe("wide").describe()
    assert described["deflector"]["type"] == "PowerLaw"
    assert [c["type"] for c in described["lights"]] == [
        "LensLight",
        "Neighbours",
        "Clumps",
        "Galaxies",
    ]
    assert described["noise"]["type"] == "Detector"
    assert described["substructure"]["vort"]["type"] == "Vortex"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PowerLaw(slope=(1.0, 2.0)), r"slope=\(1.0, 2.0\): expected 1.2"),
        (lambda: PowerLaw(axis_ratio=(0.9, 0.5)), "axis_ratio="),
        (lambda: LensLight(share=1.5), "share="),
        (lambda: Neighbours(stars=-1.0), "stars="),
        (lambda: Clumps(radius=(0.0, 1.0)), "radius="),
        (lambda: Blur((0.0, 1.0)), "fwhm="),
        (lambda: Detector(peak_snr=(1.0, float("nan"))), "peak_snr="),
        (lambda: Halos(profile="king"), "expected one of point, sis, nfw"),
        (lambda: Halos(truncation=(0.0, 1.0)), "truncation="),
        (
            lambda: replace(model_f, spread={"psf_sigm": (1, 2)}),
            "did you mean 'psf_sigma'",
        ),
        (lambda: replace(model_f, spread={"sky": (0, 2)}), "spread of 'sky'"),
        (lambda: replace(model_f, distances="proper"), "distances='proper'"),
        (lambda: replace(model_f, ring=(5, 1)), "ring="),
    ],
)
def test_unphysical_numbers_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_rays_through_halo_centres_stay_finite():
    recipe = replace(
        model_f,
        pixels=15,
        substructure={"one": replace(HALOS["truncated"], place=(0.0, 0.0))},
        supersampling=1,
    )
    assert float(ray_grid(recipe)[7]) == 0
    assert torch.isfinite(simulate(recipe, 3, seed=0).images).all()


def test_a_lens_that_is_all_substructure_has_no_light():
    heavy = Halos(profile="point", number=1, mass=(5e12, 6e12))
    recipe = replace(get_recipe("hst"), substructure={"heavy": heavy})
    lenses = simulate(recipe, 2, seed=1)
    assert not lenses.parameters["theta_e"].any()
    assert torch.isfinite(lenses.images).all()
