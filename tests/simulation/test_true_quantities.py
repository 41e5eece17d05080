"""The true quantities of lenses: what they say, and that images stay as they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lensequiv.simulation import (
    QUANTITIES,
    LensStream,
    Vortex,
    get_recipe,
    quantities_of,
    simulate,
)

AXION, FRACTION, EINSTEIN, SHEAR, HEAVY = range(len(QUANTITIES))


@pytest.fixture(scope="module")
def model_1():
    return simulate("deeplensesim1", 12, seed=5)


def test_axion_masses_are_those_of_the_vortices_lengths(model_1):
    truth, p = model_1.quantities, model_1.parameters
    vort = model_1.labels == 2
    assert truth[~vort, AXION].isnan().all()
    rows = vort.numpy()
    x, y = p["mass_x"][rows], p["mass_y"][rows]
    used = p["mass"][rows] > 0
    for i in range(len(x)):
        length = np.hypot(np.ptp(x[i][used[i]]), np.ptp(y[i][used[i]]))
        # It reaches 0.03e-22 eV / m arcsec to both sides (DeepLenseSim's code).
        mass = 2 * 0.03e-22 / length
        assert truth[vort, AXION][i] == pytest.approx(np.log10(mass), abs=1e-5)
    assert ((truth[vort, AXION] > -24) & (truth[vort, AXION] < -22)).all()


def test_other_vortices_have_no_axion_mass():
    truth = simulate("modelJ", 6, seed=5).quantities
    assert truth[:, AXION].isnan().all()
    assert truth[4:, HEAVY].isnan().all() and not truth[4:, FRACTION].isnan().any()


def test_masses_and_radii(model_1):
    truth, p = model_1.quantities.double().numpy(), model_1.parameters
    some = p["substructure_mass"] > 0
    whole = 1e12 + p["substructure_mass"]  # this recipe's halo keeps its mass
    fraction = p["substructure_mass"][some] / whole[some]
    assert np.allclose(10 ** truth[some, FRACTION], fraction, rtol=1e-5)
    assert np.isnan(truth[~some, FRACTION]).all()
    heavy = (p["mass"] > 1e9).sum(1)
    assert np.array_equal(truth[4:8, HEAVY], heavy[4:8])
    assert np.isnan(truth[:4, HEAVY]).all() and np.isnan(truth[8:, HEAVY]).all()
    # With all the mass in one point, 1e12 solar masses have 1.2815 arcsec.
    assert np.allclose(truth[:, EINSTEIN], 1.2815 * np.sqrt(whole / 1e12), atol=1e-4)
    assert np.allclose(truth[:, SHEAR], 0.05)


def test_shared_masses_leave_the_radius(model_1):
    truth = simulate("modelF", 6, seed=5).quantities
    assert torch.allclose(truth[:, EINSTEIN], torch.tensor(1.2815), atol=1e-4)


def test_a_stream_hands_them_over_lens_by_lens():
    recipe = get_recipe("modelJ")
    lenses = LensStream(recipe, seed=3, size=33, chunk=48).chunk(2)
    assert lenses.quantities.shape == (48, len(QUANTITIES))
    assert lenses.quantities.dtype == torch.float32
    smooth, halos, vort = (lenses.quantities[lenses.labels == i] for i in range(3))
    assert smooth[:, [AXION, FRACTION, HEAVY]].isnan().all()
    assert not halos[:, [FRACTION, EINSTEIN, SHEAR, HEAVY]].isnan().any()
    assert not vort[:, [FRACTION, EINSTEIN, SHEAR]].isnan().any()
    # Point masses that the chunk lists have the Einstein radii of the fraction.
    theta2 = lenses.masses[..., 2].sum(1)
    share = theta2 / lenses.quantities[:, EINSTEIN].square()
    some = lenses.labels > 0
    found = 10 ** lenses.quantities[some, FRACTION]
    assert torch.allclose(found, share[some], rtol=1e-3)


def test_parts_of_a_chunk_have_its_quantities():
    stream = LensStream("deeplensesim2", seed=3, size=33, chunk=48)
    whole = stream.chunk(0).quantities
    halves = [stream.chunk(0, part=i, parts=2).quantities for i in range(2)]
    assert torch.equal(whole.nan_to_num(), torch.cat(halves).nan_to_num())


def test_drawing_them_changes_no_lens():
    recipe = get_recipe("deeplensesim1")
    vortex = recipe.substructure["vort"]
    kinds = {**recipe.substructure, "vort": replace(vortex, axion_length=None)}
    plain = replace(recipe, substructure=kinds)
    a, b = simulate(recipe, 6, seed=1), simulate(plain, 6, seed=1)
    assert torch.equal(a.images, b.images)
    assert b.quantities[:, AXION].isnan().all()
    lens = {name: value[4:] for name, value in a.parameters.items()}
    found = quantities_of(recipe, 2, lens)
    assert np.allclose(found, a.quantities[4:], equal_nan=True)


def test_a_product_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="axion_length=0"):
        Vortex(axion_length=0)
