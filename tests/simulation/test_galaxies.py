"""Real galaxies as sources."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lensequiv.data import ImageError
from lensequiv.simulation import (
    Galaxies,
    LensStream,
    NoSubstructure,
    Vortex,
    model_f,
    render_lenses,
    simulate,
)
from lensequiv.simulation._draw import mirror
from lensequiv.simulation._library import EXTENT, TEXELS, galaxy_library

SMALL = replace(
    model_f,
    name="real",
    pixels=40,
    pixel_scale=0.1,
    lights=(Galaxies(share=1.0),),
    substructure={"no": NoSubstructure(), "vort": Vortex(points=10)},
)


def picture(side=60, radius=4.0, row=33.0, column=27.0, noise=0.01, sky=7.0):
    """An exponential galaxy and a neighbour on a noisy sky."""
    y, x = np.mgrid[:side, :side]
    light = np.exp(-np.hypot(x - column, y - row) / (radius / 1.678))
    light += 0.5 * np.exp(-0.5 * ((x - 12) ** 2 + (y - 18) ** 2) / 2)
    light += np.random.default_rng(0).normal(sky, noise, light.shape)
    return light.astype(np.float32)


def test_bundled_galaxies_are_in_their_own_units():
    library = galaxy_library(None)
    assert library.shape == (16, TEXELS, TEXELS)
    assert (library >= 0).all()
    at = (torch.arange(TEXELS) - (TEXELS - 1) / 2) * 2 * EXTENT / TEXELS
    distance = torch.hypot(at, at[:, None])
    area = (2 * EXTENT / TEXELS) ** 2
    for texture in library:
        assert float(texture.sum()) * area == pytest.approx(1)
        half = float(texture[distance < 1].sum()) * area
        assert half == pytest.approx(0.5, abs=0.03)
        for edge in (texture[0], texture[-1], texture[:, 0], texture[:, -1]):
            assert not edge.any()


def test_a_picture_loses_sky_noise_and_neighbours(tmp_path):
    np.save(tmp_path / "one.npy", picture())
    (found,) = galaxy_library(str(tmp_path / "one.npy"))
    at = (torch.arange(TEXELS) - (TEXELS - 1) / 2) * 2 * EXTENT / TEXELS
    r = torch.hypot(at, at[:, None])
    expected = torch.exp(-1.678 * r)
    expected /= expected.sum() * (2 * EXTENT / TEXELS) ** 2
    inner = (r > 0.3) & (r < 1.5)
    assert float((found / expected)[inner].sub(1).abs().mean()) < 0.15
    # The neighbour is half as bright as the centre, five radii away.
    assert float(found[r > 3.5].max()) < 0.02 * float(found.max())


def test_a_folder_of_pictures(tmp_path):
    for name, radius in (("2", 4.0), ("10", 6.0)):
        np.save(tmp_path / f"{name}.npy", picture(radius=radius))
    recipe = replace(SMALL, lights=(Galaxies(path=str(tmp_path)),))
    p = simulate(recipe, 40, seed=0, noise=False).parameters
    assert set(p["galaxy_image"]) == {0, 1}


def bad(kind):
    image = picture()
    if kind == "NaN":
        image[3, 3] = np.nan
    if kind == "empty":
        image[:] = 0
    if kind == "noise":
        image = np.random.default_rng(1).normal(size=(40, 40)).astype(np.float32)
    if kind == "small":
        image = image[25:35, 20:30]
    if kind == "vector":
        image = image[0]
    return image


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("NaN", "1 NaN or infinite pixel"),
        ("empty", "constant image"),
        ("noise", "nothing in its middle stands out"),
        ("small", "10 x 10 pixels; expected at least 16 x 16"),
        ("vector", ""),
    ],
)
def test_bad_pictures_are_refused_by_name(tmp_path, kind, message):
    np.save(tmp_path / "a.npy", picture())
    np.save(tmp_path / "bad.npy", bad(kind))
    with pytest.raises(ImageError, match=rf"bad\.npy.*{message}"):
        Galaxies(path=str(tmp_path))


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Galaxies(path=str(tmp_path / "nowhere"))
    with pytest.raises(ImageError, match=str(tmp_path)):
        Galaxies(path=str(tmp_path))
    with pytest.raises(ValueError, match="share="):
        Galaxies(share=2.0)
    with pytest.raises(ValueError, match="at most one"):
        replace(SMALL, lights=(Galaxies(), Galaxies()))


def test_the_light_is_that_of_the_profile_it_replaces():
    """Without a lens, and of a source that fits into the frame."""
    alone = replace(
        SMALL,
        total_mass=1.0,
        shear=(0.0, 0.0),
        effective_radius=0.3,
        source_radius=(0.0, 0.0),
        sersic_index=0.7,
        substructure={"no": NoSubstructure()},
    )
    real = simulate(alone, 20, seed=0, noise=False).images - 30
    smooth = replace(alone, lights=(Galaxies(share=0.0),))
    profile = simulate(smooth, 20, seed=0, noise=False).images - 30
    ratio = real.sum((1, 2)) / profile.sum((1, 2))
    torch.testing.assert_close(ratio, torch.ones(20), atol=0.01, rtol=0)


def test_share_and_mirror():
    recipe = replace(SMALL, lights=(Galaxies(share=0.5),))
    p = simulate(recipe, 256, seed=0, noise=False).parameters
    assert 90 < (p["galaxy_image"] >= 0).sum() < 166
    assert 90 < (p["galaxy_parity"] > 0).sum() < 166
    few = {name: value[:8] for name, value in p.items()}
    upright = render_lenses(recipe, few)
    mirrored = render_lenses(recipe, mirror(few, np.ones(8, bool)))
    error = (mirrored.flip(1) - upright).abs().amax((1, 2))
    assert (error < 1e-4 * upright.amax((1, 2))).all()


def test_turned_by_a_right_angle():
    upright = simulate(SMALL, 8, seed=2, noise=False).images
    turned = simulate(SMALL, 8, seed=2, noise=False, rotation=90.0).images
    error = (turned - torch.rot90(upright, -1, (1, 2))).abs().amax((1, 2))
    assert (error < 1e-3 * upright.amax((1, 2))).all()


def test_streams_have_them_too():
    stream = LensStream(SMALL, seed=3, size=21, chunk=16, shift=2)
    chunk = stream.chunk(0)
    assert torch.isfinite(chunk.images).all()
    torch.testing.assert_close(chunk.images, stream.chunk(0).images)
