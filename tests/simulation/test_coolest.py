"""COOLEST templates, read back by the standard's own package."""

import json
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from lensequiv.simulation import (
    Clumps,
    Galaxies,
    Halos,
    LensLight,
    NoSubstructure,
    PowerLaw,
    get_recipe,
    model_f,
    simulate,
    to_lenstronomy,
    write_coolest,
)

RECIPE = replace(
    model_f,
    name="mine",
    pixels=50,
    pixel_scale=0.1,
    deflector=PowerLaw((1.8, 2.2), (0.5, 0.9), offset=0.1),
    lights=(LensLight(share=1.0, subtracted=0.0), Clumps(share=1.0)),
    substructure={"no": NoSubstructure(), "halos": Halos(number=3, poisson=False)},
)


def read(path):
    coolest = pytest.importorskip("coolest")
    assert coolest
    from coolest.template.json import JSONSerializer

    return JSONSerializer(str(path.with_suffix(""))).load(verbose=False)


def test_the_standards_package_reads_it(tmp_path):
    lenses = simulate(RECIPE, 2, seed=0)
    found = read(write_coolest(lenses, 0, tmp_path / "one.json"))
    assert found.mode == "MOCK"
    lens, shear, source = found.lensing_entities
    assert [p.type for p in lens.mass_model] == ["PEMD"]
    assert [p.type for p in shear.mass_model] == ["ExternalShear"]
    assert {p.type for p in [*lens.light_model, *source.light_model]} == {"Sersic"}
    assert lens.redshift == lenses.parameters["z_lens"][0]
    image = fits.getdata(tmp_path / "one_image.fits")
    np.testing.assert_array_equal(image, lenses.images[0])
    psf = fits.getdata(tmp_path / "one_psf.fits")
    assert psf.sum() == pytest.approx(1)
    assert found.observation.pixels.num_pix_x == 50


def values(profile):
    return {k: v.point_estimate.value for k, v in profile.parameters.items()}


@pytest.mark.slow
def test_rays_and_light_are_the_same(tmp_path):
    """Of the standard's own functions and of lenstronomy's, with our arguments."""
    pytest.importorskip("coolest")
    from coolest.api.profiles import light, mass
    from lenstronomy.LensModel.lens_model import LensModel
    from lenstronomy.LightModel.light_model import LightModel

    lenses = simulate(RECIPE, 2, seed=3)
    found = read(write_coolest(lenses, 0, tmp_path / "one.json"))
    ours = to_lenstronomy(lenses, 0)
    lens, shear, source = found.lensing_entities
    x, y = np.random.default_rng(0).uniform(-2, 2, (2, 40))
    bent = [
        mass.PEMD().deflection(x, y, **values(lens.mass_model[0])),
        mass.ExternalShear().deflection(x, y, **values(shear.mass_model[0])),
    ]
    expected = LensModel(ours.lens_models).alpha(x, y, ours.kwargs_lens)
    np.testing.assert_allclose(np.sum(bent, 0), expected, rtol=1e-6, atol=1e-8)
    for profiles, kwargs in (
        (lens.light_model, ours.kwargs_lens_light),
        (source.light_model, ours.kwargs_source),
    ):
        model = LightModel(["SERSIC_ELLIPSE"] * len(kwargs))
        bright = sum(
            light.Sersic().evaluate_surface_brightness(x, y, **values(p))
            for p in profiles
        )
        theirs = model.surface_brightness(x, y, kwargs)
        np.testing.assert_allclose(bright, theirs, rtol=1e-5)


def test_what_is_left_out_is_told(tmp_path):
    lenses = simulate(RECIPE, 2, seed=0)
    content = json.loads(write_coolest(lenses, 1, tmp_path / "a.json").read_text())
    assert content["meta"]["left_out"] == {"NFW": 3}
    assert content["meta"]["class"] == "halos"


def test_pictures_of_galaxies(tmp_path):
    recipe = replace(get_recipe("hst"), lights=(Galaxies(share=1.0),), pixels=40)
    lenses = simulate(recipe, 3, seed=0)
    found = read(write_coolest(lenses, 0, tmp_path / "real.json"))
    (source,) = found.lensing_entities[2].light_model
    assert source.type == "PixelatedRegularGrid"
    picture = fits.getdata(tmp_path / "real_source.fits")
    grid = source.parameters["pixels"]
    half = grid.field_of_view_x[1] - lenses.parameters["source_x"][0]
    step = 2 * half / len(picture)
    # All its light: electrons per square arcsec.
    p = {name: value[0] for name, value in lenses.parameters.items()}
    rate = 10 ** (0.4 * (25.94 - p["source_magnitude"])) * p["exposure_time"]
    assert picture.sum() * step**2 == pytest.approx(rate, rel=0.01)
    assert found.observation.exposure_time == p["exposure_time"]


def test_refusals(tmp_path):
    lenses = simulate(RECIPE, 2, seed=0)
    with pytest.raises(ValueError, match=r"ends in \.json"):
        write_coolest(lenses, 0, tmp_path / "one.txt")
    with pytest.raises(ValueError, match="index=2: expected 0 to 1"):
        write_coolest(lenses, 2, tmp_path / "one.json")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_coolest(lenses, 0, tmp_path / "nowhere" / "one.json")
    assert not list(tmp_path.iterdir())
