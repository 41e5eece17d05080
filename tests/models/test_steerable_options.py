"""Options of the steerable network: exact on the grid with each, better off it."""

import copy
import pickle

import pytest
import torch

import lensequiv
from lensequiv.plain import (
    disc_weights,
    in_noise_units,
    map_statistics,
    turned_copies,
)

SMALL = {"stem_fields": 3, "stages": [[3, 3], [4]], "stem_kernel": 9}
OPTIONS = {
    "stem stride 2": {"stem_stride": 2},
    "gelu": {"activation": "gelu"},
    "isotropic": {"isotropic": True},
    "disc": {"disc": True},
    "own noise": {"own_noise": True},
    "wide pooling": {"pool_sigma": 1.2},
    "turns": {"disc": True, "turns": 3},
    "low frequency": {"max_frequency": 2, "samples": 8},
    "all": {
        "stem_stride": 2,
        "activation": "gelu",
        "isotropic": True,
        "disc": True,
        "pool_sigma": 1.0,
        "own_noise": True,
    },
}


def rings(n, size=49):
    """Smooth arcs around the centre, (N, 1, size, size), of sky 0 and peak 1."""
    steps = torch.arange(size) - (size - 1) / 2
    x, y = steps[None, :], steps[:, None]
    angle = torch.atan2(y, x) - torch.linspace(0, 3, n).view(-1, 1, 1, 1)
    ring = torch.exp(-((torch.hypot(x, y) - 0.25 * size) ** 2) / (2 * 2.5**2))
    return ring * (0.5 + 0.3 * torch.cos(angle) + 0.2 * torch.cos(2 * angle))


def built(group, **options):
    torch.manual_seed(0)
    model = lensequiv.create_model(group, **(SMALL | options)).set_input_size(49)
    with torch.no_grad():
        for _ in range(20):
            model(rings(8) + 0.05 * torch.randn(8, 1, 49, 49))
    return model.eval()


def change(model, x, moved):
    with torch.no_grad():
        first, second = model.embed(x), model.embed(moved)
    return float((first - second).norm() / first.norm())


@pytest.mark.parametrize("group", ["c8", "d4", "so2", "o2"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_invariant_on_the_grid(group, options):
    model = built(group, **options)
    x = rings(3) + 0.1 * torch.randn(3, 1, 49, 49)
    for turns in (1, 2, 3):
        assert change(model, x, x.rot90(turns, (2, 3))) < 1e-5
    flipped = change(model, x, x.flip(3))
    assert flipped < 1e-5 if group in ("d4", "o2") else flipped > 1e-3


@pytest.mark.parametrize("group", ["c8", "so2"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_copies_give_equal_outputs(group, options):
    model, x = built(group, **options), rings(2)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            assert torch.equal(twin(x), model(x))


@pytest.mark.parametrize("group", ["so2", "o2"])
def test_saved_and_loaded(group, tmp_path):
    model, x = built(group, max_frequency=2, samples=12), rings(2)
    model.save_pretrained(tmp_path)
    loaded = lensequiv.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))
    assert loaded.config["max_frequency"] == 2


@pytest.mark.parametrize("group", ["so2", "o2"])
def test_layers_are_measured(group):
    report = lensequiv.equivariance.assert_equivariant(
        built(group), rings(2), tolerance=2e-5
    )
    assert report.group == group
    assert {"stem", "blocks.1", "embedding", "logits"} <= set(report.quantities)
    flips = {row.element.flip for row in report.rows}
    assert flips == ({False, True} if group == "o2" else {False})


def turned(degrees):
    """The rings as if the lens had turned: no pixel is interpolated."""
    x = rings(1)
    steps = torch.arange(49) - 24.0
    angle = torch.atan2(steps[:, None], steps[None, :]) - torch.deg2rad(
        torch.tensor(float(degrees))
    )
    ring = x / (0.5 + 0.3 * torch.cos(angle_of()) + 0.2 * torch.cos(2 * angle_of()))
    return ring * (0.5 + 0.3 * torch.cos(angle) + 0.2 * torch.cos(2 * angle))


def angle_of():
    steps = torch.arange(49) - 24.0
    return torch.atan2(steps[:, None], steps[None, :])


@pytest.mark.slow
def test_continuous_groups_are_better_between_the_turns_of_c4():
    """At 45 and 22.5 degrees, with random weights."""
    x = turned(0)
    small = {"stem_stride": 2, "activation": "gelu", "isotropic": True}
    c4, so2 = built("c4", **small), built("so2", **small)
    for degrees in (45, 22.5):
        assert change(so2, x, turned(degrees)) < 0.6 * change(c4, x, turned(degrees))


def test_more_turns_are_closer_to_invariant():
    """The same random weights; at 15 degrees, which is none of the turns."""
    x, changes = turned(0), []
    tensors = built("c4", disc=True).tensors()
    for turns in (1, 2, 4):
        model = lensequiv.create_model("c4", **SMALL, disc=True, turns=turns)
        model.set_input_size(49).load_tensors(tensors)
        changes.append(change(model.eval(), x, turned(15)))
    assert changes[1] < 0.8 * changes[0] and changes[2] < 0.5 * changes[0]


def test_turns_can_be_changed_without_training():
    torch.manual_seed(5)
    model = lensequiv.create_model("c4", **SMALL, disc=True, turns=2)
    model.set_input_size(49)
    model.classes, model.temperature = ("a", "b", "c"), 1.7
    more = model.with_turns(3)
    direct = lensequiv.create_model("c4", **SMALL, disc=True, turns=3)
    direct.load_tensors(model.tensors())
    x = model.preprocess(torch.rand(2, 1, 49, 49))
    with torch.no_grad():
        assert torch.equal(more(x), direct.eval()(x))
    assert (more.classes, more.temperature) == (model.classes, 1.7)
    assert more.config == {**model.config, "turns": 3} and model.turns == 2
    with pytest.raises(ValueError, match="turns=0"):
        model.with_turns(0)
    with pytest.raises(ValueError, match="expected 1 without disc=True"):
        lensequiv.create_model("c4", **SMALL).with_turns(2)


def test_turned_copies_are_the_map_turned():
    x = rings(1)
    copies = turned_copies(x, 2)
    assert copies.shape == (2, 1, 49, 49)
    for copy_, degrees in zip(copies, (22.5, 67.5), strict=True):
        errors = [
            float((copy_ - turned(sign * degrees)).norm() / x.norm())
            for sign in (1, -1)
        ]
        assert min(errors) < 0.015 < 0.3 < max(errors)  # 0.010 measured


def test_weights_of_before_have_the_options_of_before():
    model = lensequiv.create_model("c8", initialize=False)
    blocks = [b for b in model.modules() if hasattr(b, "shortcut")]
    assert {b.activation.name for b in blocks} == {"relu"}
    assert model.stem.conv.stride == 4 and not model.disc
    state = {k.split(".")[-1] for k in model.state_dict()}
    assert state - {"_extra_state"} == {
        "weights",
        "weight",
        "bias",
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }


def test_disc_ignores_the_corners():
    model, x = built("c8", disc=True), rings(2)
    other = x.clone()
    steps = torch.arange(49) - 24.0
    beyond = torch.hypot(steps[:, None], steps[None]) > 24.5
    assert beyond.any()
    other[..., beyond] = 5
    with torch.no_grad():
        assert torch.equal(model(other), model(x))


def test_disc_weights():
    weights = disc_weights(7, 7, 1.0, torch.zeros(()))
    assert weights[3].tolist() == [0.5, 1, 1, 1, 1, 1, 0.5]
    assert weights[0, 0] == 0 and weights[1, 1] == pytest.approx(3.5 - 8**0.5)
    torch.testing.assert_close(weights, weights.rot90())


@pytest.mark.parametrize("disc", [False, True])
def test_own_noise_is_the_same_at_any_brightness(disc):
    torch.manual_seed(0)
    model = lensequiv.create_model("c8", **SMALL, own_noise=True, disc=disc)
    sky = 0.01 * torch.randn(2, 1, 97, 97)
    contrast = model.contrast(sky)
    middle = contrast[:, :, 20:-20, 20:-20].std()
    # The blur takes some of the noise along; the noise is asked of the whole image.
    assert middle == pytest.approx(1, abs=0.03)
    torch.testing.assert_close(model.contrast(sky / 9), contrast, rtol=0.02, atol=0.02)
    # A galaxy's core is compressed, and moves the unit of the rest little.
    sky[:, :, 40:57, 40:57] += 500 * 0.01 * rings(1, 17)
    with_core = model.contrast(sky)
    assert 10 < with_core[:, :, 40:57, 40:57].max() < 60
    rest = with_core[:, :, 62:-20, 20:-20].std()
    assert 0.7 < rest < middle


def test_own_noise_has_a_gradient_where_nothing_stands_out():
    model = lensequiv.create_model("c8", **SMALL, own_noise=True).eval()
    x = torch.zeros(1, 1, 49, 49, requires_grad=True)
    model(x).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_in_noise_units():
    noise = torch.randn(4, 1, 200, 200)
    for scale in (0.01, 1.0, 50.0):
        expected = 10 * torch.asinh(noise / 10)
        found = in_noise_units(noise * scale)
        torch.testing.assert_close(found, expected, rtol=0.03, atol=1e-4)
    weights = torch.cat([torch.ones(200, 200), torch.zeros(200, 200)], 1)
    half = torch.cat([noise, torch.zeros_like(noise)], 3)
    found = in_noise_units(half, weights)[..., :200]
    torch.testing.assert_close(found, in_noise_units(noise), rtol=1e-3, atol=1e-4)


def test_weighted_statistics():
    x, weights = torch.randn(2, 3, 10), torch.rand(10)
    mean, deviation, largest = map_statistics(x, ("mean", "std", "max"), weights).split(
        3, 1
    )
    for i in range(3):
        expected = (x[:, i] @ weights) / weights.sum()
        torch.testing.assert_close(mean[:, i], expected)
        spread = ((x[:, i] - expected[:, None]) ** 2 @ weights / weights.sum()).sqrt()
        torch.testing.assert_close(deviation[:, i], spread)
    torch.testing.assert_close(largest, (x * weights / weights.max()).amax(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stem_stride": 3}, "stem_stride=3: expected 2 or 4"),
        ({"stem_stride": True}, "stem_stride=True: expected 2 or 4"),
        ({"activation": "tanh"}, "activation='tanh': expected one of relu, gelu"),
        ({"turns": 2}, "turns=2: expected 1 without disc=True"),
        ({"turns": 17, "disc": True}, "turns=17"),
        ({"pool_sigma": 0}, "pool_sigma=0"),
        ({"disc": "no"}, "disc='no': expected True or False"),
        ({"isotropic": 1}, "isotropic=1: expected True or False"),
        ({"own_noise": None}, "own_noise=None: expected True or False"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        lensequiv.create_model("c8", **options)
