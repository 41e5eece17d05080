import numpy as np
import pytest
import torch

from lensequiv.simulation import (
    get_recipe,
    render_lenses,
    simulate,
    without_substructure,
)


@pytest.fixture(scope="module")
def noiseless():
    return simulate("deeplensesim3", 24, seed=3, noise=False)


def of_class(simulation, label, n):
    chosen = (simulation.labels == label).nonzero().flatten()[:n].numpy()
    parameters = {k: v[chosen] for k, v in simulation.parameters.items()}
    return simulation.images[torch.from_numpy(chosen)], parameters


@pytest.mark.parametrize(("label", "straight"), [(0, False), (1, False), (2, True)])
def test_same_images_as_the_simulation(noiseless, label, straight):
    images, parameters = of_class(noiseless, label, 3)
    again = render_lenses("deeplensesim3", parameters, straight=straight)
    assert torch.equal(again, images)


def test_closed_form_and_sum_agree(noiseless):
    images, parameters = of_class(noiseless, 2, 2)
    again = render_lenses("deeplensesim3", parameters)
    torch.testing.assert_close(again, images, rtol=1e-4, atol=1e-4 * images.max())


def test_masses_may_be_taken_out_one_by_one(noiseless):
    _, parameters = of_class(noiseless, 1, 2)
    mass = parameters["mass_theta2"].copy()
    mass[:, 0] = 0
    kept = {k: v[:, 1:] if v.ndim == 2 else v for k, v in parameters.items()}
    torch.testing.assert_close(
        render_lenses("deeplensesim3", {**parameters, "mass_theta2": mass}),
        render_lenses("deeplensesim3", kept),
    )


def test_without_substructure_the_halo_has_all_the_mass():
    s = simulate("modelJ", 9, seed=5)
    smooth = without_substructure("modelJ", s.parameters)
    # theta_E^2 / M is the same for all masses behind one pair of redshifts.
    i = 3  # a lens of `sphere`
    factor = s.parameters["mass_theta2"][i, 0] / s.parameters["mass"][i, 0]
    expected = np.sqrt(get_recipe("modelJ").total_mass * factor)
    np.testing.assert_allclose(smooth["theta_e"][i], expected, rtol=1e-12)
    assert smooth["theta_e"][i] > s.parameters["theta_e"][i]
    np.testing.assert_array_equal(smooth["theta_e"][:3], s.parameters["theta_e"][:3])
    assert smooth["mass"].shape == (9, 0)
    assert not smooth["substructure_mass"].any()
    assert s.parameters["mass"].shape[1] > 0


def test_a_halo_that_never_gave_mass_gets_none(noiseless):
    smooth = without_substructure("deeplensesim3", noiseless.parameters)
    np.testing.assert_array_equal(smooth["theta_e"], noiseless.parameters["theta_e"])
