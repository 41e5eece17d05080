"""The head that tells quantities: no turn changes what it says, and all forms agree."""

import copy
from dataclasses import replace

import pytest
import torch
from heads import SIDE, SMALL, check_onnx, other_forms, small_network

import lensequiv
from lensequiv.plain import QuantityHead, load_plain
from lensequiv.spec import Quantity

TOLD = (
    Quantity("einstein_radius_arcsec", "arcsec", 1.3, 0.2),
    Quantity("shear", "", 0.15, 0.09, levels=(0.03, 0.2, 0.5, 0.8, 0.97)),
    Quantity("subhalos", "", 8.5, 3.0, whole=True, classes=("sphere",)),
)


def lively(name="c8", told=TOLD, **options):
    """A small network whose norms have seen data, with a head that looks closely."""
    model = small_network(name, **options)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(4, 1, SIDE, SIDE))
    model = model.eval().with_quantities(told, hidden=16, components=3)
    head = model.quantity_head
    with torch.no_grad():
        seen = model.embed(torch.randn(16, 1, SIDE, SIDE))
        head.centre.copy_(seen.mean(0))
        head.spread.copy_(seen.std(0) + 1e-3 * seen.std())
        head.layers[-1].weight.mul_(10)
    return model


@pytest.fixture(scope="module")
def model():
    return lively()


def said(model, x):
    with torch.no_grad():
        return model.forward_quantities(x)


@pytest.mark.parametrize("name", ["c8", "d8", "c4", "d4", "so2", "o2"])
def test_no_turn_changes_a_quantity(name, x):
    model = lively(name).double()
    found = said(model, x.double())
    assert found.shape == (3, 3, 5)
    scale = found[..., 2].std(0).amax()
    assert scale > 0.05  # images differ
    mirrored = (1, 3) if name in ("d8", "d4", "o2") else ()
    for turns in (1, 2, 3):
        turned = said(model, x.double().rot90(turns, (2, 3)))
        assert (turned - found).abs().max() <= 1e-5 * scale
    if mirrored:
        turned = said(model, x.double().flip(3))
        assert (turned - found).abs().max() <= 1e-5 * scale


def test_single_precision_is_enough(model, x):
    found = said(model, x)
    for turns in (1, 2, 3):
        turned = said(model, x.rot90(turns, (2, 3)))
        assert (turned - found).abs().max() <= 1e-5 * found.abs().max()


def test_quantiles_rise_and_have_their_probability(model, x):
    found = said(model, x)
    assert bool((found.diff(dim=2) > 0).all())
    mixture = model.posterior(model.embed(x))
    units = torch.tensor([[q.mean, q.scale] for q in TOLD])
    standard = (found - units[:, :1]) / units[:, 1:]
    levels = torch.tensor([q.levels for q in TOLD])
    assert torch.allclose(mixture.below(standard), levels.expand(3, 3, 5), atol=1e-5)


@pytest.mark.slow
def test_the_body_and_the_classes_stay(x):
    plain = lensequiv.from_pretrained("c8-modelJ@3")
    model = plain.with_quantities(TOLD)
    with torch.no_grad():
        assert torch.equal(model(x), plain(x))
        assert torch.equal(model.forward_map(x), plain.forward_map(x))
        assert torch.equal(model.to_torch()(x), plain.to_torch()(x))
    assert model.map_spec == plain.map_spec and model.domain is not None
    drawn = model.with_map(2)
    assert torch.equal(said(drawn, x), said(model, x)) and drawn.map_spec is None
    again = model.with_quantities(())
    assert again.quantity_head is None and again.quantities_spec is None
    assert again.tensors().keys() == plain.tensors().keys()


@pytest.mark.parametrize("name", ["c8", "o2", "resnet18"])
def test_the_plain_form_tells_the_same(name, x, tmp_path):
    model = lively(name)
    plain = model.to_torch()
    expected = said(model, x)
    with torch.no_grad():
        logits, embedding = plain.logits_and_embedding(x)
        found = plain.quantiles(embedding)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    loaded = load_plain(plain.save(tmp_path / "plain.pt"))
    assert torch.equal(loaded.quantiles(embedding), found)
    assert torch.equal(loaded(x), logits)
    told, quantities = loaded.all_heads()(x)
    assert torch.equal(told, logits) and torch.equal(quantities, found)


def test_a_plain_form_without_quantities_says_so(x):
    plain = lensequiv.create_model("c4", **SMALL).to_torch()
    with pytest.raises(ValueError, match="tells no quantities"):
        plain.quantiles(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="draws no map and tells no quantities"):
        plain.all_heads()


def test_copies_files_and_state_dicts_carry_it(model, x, tmp_path):
    expected = said(model, x)
    state = lively(told=[replace(q, mean=0.0) for q in TOLD])
    for other in other_forms(model, state, tmp_path / "a"):
        assert torch.equal(said(other, x), expected)
        assert other.quantities_spec == model.quantities_spec
    assert '"format": 4' in (tmp_path / "a" / "config.json").read_text()


def test_files_without_quantities_keep_their_format(tmp_path):
    bare = lensequiv.create_model("c4", **SMALL)
    folder = bare.save_pretrained(tmp_path / "a")
    text = (folder / "config.json").read_text()
    assert '"format": 2' in text and "quantities" not in text


def test_a_head_comes_with_the_record_of_a_state_dict_and_not_without(model):
    state = model.state_dict()
    other = lensequiv.create_model("c8", **SMALL)
    with (
        pytest.warns(UserWarning, match="no '_extra_state'"),
        pytest.raises(RuntimeError, match="quantity_head"),
    ):
        other.load_state_dict(model.tensors())
    other.load_state_dict(state)
    assert other.quantities_spec == model.quantities_spec


def test_a_new_head_of_classes_leaves_them_behind(model, tmp_path):
    folder = model.save_pretrained(tmp_path / "a")
    for change in ({"num_classes": 5}, {"in_channels": 2}):
        tuned = lensequiv.from_pretrained(folder, **change)
        assert tuned.quantity_head is None and tuned.quantities_spec is None
    kept = lensequiv.from_pretrained(folder, classes=model.classes)
    assert kept.quantities_spec == model.quantities_spec


def test_only_a_record_of_the_same_head_is_taken(model, x):
    bare = lensequiv.create_model("c8", **SMALL).set_input_size(SIDE)
    with pytest.raises(ValueError, match="has no such head"):
        bare.quantities_spec = model.quantities_spec
    with pytest.raises(ValueError, match="tells no quantities"):
        bare.forward_quantities(x)
    with pytest.raises(ValueError, match="expected one of"):
        copy.deepcopy(model).quantities_spec = None
    with pytest.raises(ValueError, match="'shear' twice"):
        bare.with_quantities((TOLD[1], TOLD[1]))


def test_the_density_is_that_of_torch():
    torch.manual_seed(0)
    mixture = QuantityHead(7, 16, 4, 3)(torch.randn(50, 7))
    truth = torch.randn(50, 3)
    weights = torch.distributions.Categorical(logits=mixture.log_weights)

    def expected(kept):
        covariance = mixture.factors @ mixture.factors.mT
        part = torch.distributions.MultivariateNormal(
            mixture.means[..., kept], covariance[..., kept, :][..., kept]
        )
        whole = torch.distributions.MixtureSameFamily(weights, part)
        return whole.log_prob(truth[:, kept]).double()

    assert torch.allclose(mixture.log_density(truth), expected([0, 1, 2]), atol=1e-5)
    partly = truth.clone()
    partly[:, 1] = torch.nan
    assert torch.allclose(mixture.log_density(partly), expected([0, 2]), atol=1e-5)
    partly[:] = torch.nan
    assert mixture.log_density(partly).abs().max() < 1e-6


def test_samples_follow_the_quantiles():
    torch.manual_seed(0)
    mixture = QuantityHead(7, 16, 4, 2)(torch.randn(3, 7))
    levels = torch.tensor([[0.1, 0.5, 0.9]] * 2)
    samples = mixture.sample(40_000, torch.Generator().manual_seed(0))
    shares = (samples[..., None] < mixture.quantiles(levels)[:, None]).float().mean(1)
    assert (shares - levels).abs().max() < 0.01


@pytest.mark.slow
def test_onnx(model, x, tmp_path):
    check_onnx(model, x, "quantities", tmp_path / "model.onnx")
