"""The zoo's networks: invariance above all, then what every model promises.

Measured as the largest change of a logit over the largest logit, over all poses of the
group on the grid: at most 1.5e-6 at all sizes (float32; 3e-15 in float64); 0.02 to 0.2
with an even side of 128 pixels; 0.01 to 0.1 for flips, where the group has none.
"""

import copy
import pickle

import pytest
import torch
from torch import nn

import lensequiv
from lensequiv.models.steerable import SteerableCNN

GROUPS = ["c4", "c8", "d4", "d8"]
TURNS = [(k, False) for k in range(4)]
FLIPS = [(k, True) for k in range(4)]
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm3d)


def move(x, pose):
    k, flip = pose
    x = torch.rot90(x, k, (2, 3))
    return x.flip(3) if flip else x


def lenses(n, size, channels=1):
    """Preprocessed images: an arc each, of its own radius, width and position."""
    steps = torch.linspace(-1, 1, size)
    dx, dy, angle = torch.rand(3, n, channels, 1, 1) - 0.5
    x, y = steps[None, :] - 0.2 * dx, steps[:, None] - 0.2 * dy
    radius, width = 0.3 + 0.3 * torch.rand(2, n, channels, 1, 1)
    ring = torch.exp(-0.5 * ((torch.hypot(x, y) - radius) / (0.3 * width)) ** 2)
    ring = ring * (0.6 + 0.4 * torch.cos(torch.atan2(y, x) - 6 * angle))
    noise = torch.rand(n, channels, 1, 1) * torch.randn(n, channels, size, size)
    return ring + 0.1 * noise


def lively(model):
    """Random weights throughout and batch-norm statistics away from 0 and 1."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, BATCH_NORMS):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
        model.train()
        for size in (33, 49, 65, 129):
            model(lenses(8, size, model.in_channels))
    return model.eval()


class Networks(dict):
    """One network for each group, built when it is asked for."""

    def __missing__(self, group):
        torch.manual_seed(0)
        self[group] = lively(lensequiv.create_model(group))
        return self[group]


@pytest.fixture(scope="module")
def networks():
    """By group; tests leave them in evaluation mode."""
    return Networks()


def largest_change(network, x, poses):
    """Of the output under these poses, relative to the largest output."""
    with torch.no_grad():
        first = network(x)
        moved = network(torch.cat([move(x, pose) for pose in poses]))
    change = (moved - first.repeat(len(poses), 1)).abs().max() / first.abs().max()
    return float(change)


def unchecked(model):
    """The network without the check of the input's size."""
    return lambda x: model.head(model._pool(model._features(x)))


# Invariance


@pytest.mark.parametrize("size", range(33, 258, 16))
@pytest.mark.parametrize("group", GROUPS)
def test_logits_are_invariant(networks, group, size):
    model = networks[group]
    x = lenses(2 if size < 100 else 1, size)
    poses = TURNS[1:] + (FLIPS if group[0] == "d" else [])
    assert largest_change(model, x, poses) < 1e-5  # 2e-6 at most, measured


@pytest.mark.parametrize("group", GROUPS)
def test_every_declared_size_was_tested(networks, group):
    assert networks[group].input_sizes.range == range(33, 258, 16)


@pytest.mark.parametrize("group", GROUPS)
def test_invariance_is_one_of_different_answers(networks, group):
    """Else constant logits would pass."""
    with torch.no_grad():
        logits = networks[group](lenses(4, 65))
    assert (logits - logits[:1]).abs().amax(1)[1:].min() > 0.01 * logits.abs().max()


@pytest.mark.parametrize("group", GROUPS)
def test_invariance_is_exact_up_to_rounding(networks, group):
    model = copy.deepcopy(networks[group]).double()
    poses = TURNS[1:] + (FLIPS if group[0] == "d" else [])
    assert largest_change(model, lenses(2, 49).double(), poses) < 1e-13


@pytest.mark.parametrize("group", GROUPS)
def test_even_sizes_would_break_it(networks, group):
    model, x = networks[group], lenses(2, 128)
    assert largest_change(unchecked(model), x, TURNS[1:]) > 1e-3
    with pytest.raises(ValueError, match="128 x 128 pixels") as caught:
        model(x)
    assert str(caught.value).startswith(f"{group}: ")
    assert str(caught.value).endswith("33, 49, ..., 257; nearest to 128: 113 or 129")


@pytest.mark.parametrize("group", ["c4", "c8"])
def test_rotation_groups_are_not_invariant_to_flips(networks, group):
    assert largest_change(networks[group], lenses(2, 65), FLIPS) > 5e-3


@pytest.mark.parametrize("group", ["c8", "d4"])
def test_embedding_is_invariant_and_features_are_not(networks, group):
    model, x = networks[group], lenses(2, 65)
    assert largest_change(model.embed, x, TURNS[1:]) < 1e-5
    features = largest_change(lambda z: model.forward_features(z).flatten(1), x, TURNS)
    assert features > 0.1


@pytest.mark.parametrize(
    "options",
    [
        {"stages": [[4], [4]], "stem_fields": 4},
        {"stages": [[4], [4], [6], [6]], "stem_kernel": 9, "kernel": 3},
    ],
)
def test_other_depths_declare_their_sizes(options):
    model = lively_at_own_sizes(SteerableCNN("d4", **options))
    step = 4 * 2 ** (len(options["stages"]) - 1)
    sizes = model.input_sizes.range
    assert sizes == range(2 * step + 1, 16 * step + 2, step)
    for size in sizes[:3]:
        assert largest_change(model, lenses(1, size), TURNS + FLIPS) < 1e-5
    x = lenses(1, sizes[2] - 2)
    assert largest_change(unchecked(model), x, TURNS) > 1e-3


def lively_at_own_sizes(model):
    model.name = "custom"
    with torch.no_grad():
        for size in model.input_sizes.range[:4]:
            model(lenses(8, size))
    return model.eval()


# Shapes and input checks


@pytest.mark.parametrize(("group", "order", "fields"), [("c4", 4, 32), ("d8", 16, 12)])
@pytest.mark.parametrize(("size", "side"), [(33, 3), (129, 9), (257, 17)])
def test_shapes(networks, group, order, fields, size, side):
    model, x = networks[group], lenses(2, size)
    with torch.no_grad():
        features, embedding = model.forward_features(x), model.embed(x)
        logits = model(x)
    assert features.shape == (2, fields * order, side, side)
    assert embedding.shape == (2, 2 * fields)
    assert logits.shape == (2, 3)
    assert torch.equal(model.head(embedding), logits)
    # Mean and standard deviation of the largest response over the group.
    largest = features.view(2, fields, order, side, side).amax(2)
    parts = [largest.mean((2, 3)), largest.std((2, 3))]
    torch.testing.assert_close(embedding, torch.cat(parts, 1))


@pytest.mark.parametrize(("in_channels", "num_classes"), [(3, 2), (2, 5)])
def test_channels_and_classes(in_channels, num_classes):
    model = lively(
        lensequiv.create_model(
            "d4", in_channels=in_channels, num_classes=num_classes, stages=[[4], [4]]
        )
    )
    x = lenses(2, 33, in_channels)
    assert model(x).shape == (2, num_classes)
    assert model.classes == tuple(f"class{i}" for i in range(num_classes))
    assert largest_change(model, x, TURNS + FLIPS) < 1e-5
    for channel in range(in_channels):  # each one counts
        other = x.clone()
        other[:, channel] = 0
        assert (model(other) - model(x)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        ((2, 3, 33, 33), ["(2, 3, 33, 33)", "expected (N, 1, H, W)"]),
        ((1, 33, 33), ["(1, 33, 33)", "expected (N, 1, H, W)"]),
        ((33, 33), ["(33, 33)", "expected (N, 1, H, W)"]),
        ((1, 1, 33, 49), ["33 x 49 pixels", "expected a square"]),
        ((1, 1, 17, 17), ["17 x 17 pixels", "nearest to 17: 33"]),
        ((1, 1, 273, 273), ["273 x 273 pixels", "nearest to 273: 257"]),
    ],
)
@pytest.mark.parametrize("method", ["forward", "embed", "forward_features"])
def test_wrong_shapes_are_named(networks, method, shape, parts):
    with pytest.raises(ValueError, match="c4: input of ") as caught:
        getattr(networks["c4"], method)(torch.zeros(shape))
    for part in parts:
        assert part in str(caught.value)


def test_wrong_shape_of_a_network_built_directly():
    model = SteerableCNN("c4", stages=[[4]], initialize=False)
    with pytest.raises(ValueError, match="34 x 34 pixels"):
        model(torch.zeros(1, 1, 34, 34))


# Freezing


def body(model):
    return {k: v for k, v in model.state_dict().items() if not k.startswith("head.")}


def test_freeze_survives_train():
    model = lively(lensequiv.create_model("c4", stages=[[4], [4]]))
    body_before = copy.deepcopy(body(model))
    head_before = copy.deepcopy(model.head.state_dict())
    assert any(key.endswith("running_mean") for key in body_before)
    assert model.freeze() is model
    assert not model.training
    model.train()
    assert model.training and model.head.training
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == name.startswith("head."), name
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        model.train()  # as every epoch does
        optimizer.zero_grad()
        model(lenses(8, 33)).square().sum().backward()
        optimizer.step()
    for key, value in body(model).items():
        assert torch.equal(value, body_before[key]), key
    for key, value in model.head.state_dict().items():
        if key != "0.bias":  # batch norm comes next and takes it away
            assert not torch.equal(value, head_before[key]), key


def test_unfreeze():
    model = lensequiv.create_model("c4", stages=[[4], [4]]).freeze()
    before = copy.deepcopy(body(model))
    assert model.unfreeze() is model
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    model(lenses(8, 33)).sum().backward()
    moved = {key for key, value in body(model).items() if not value.equal(before[key])}
    assert moved and all("norm" in key for key in moved)
    assert model.stem.conv.weights.grad is not None
    model.eval()
    assert not any(module.training for module in model.freeze().unfreeze().modules())


# Copies


def through_pickle(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle])
@pytest.mark.parametrize("group", ["c8", "d4"])
def test_copies_give_bit_equal_outputs(networks, group, copied):
    model, x = networks[group], lenses(2, 65)
    twin = copied(model)
    assert type(twin) is SteerableCNN and not twin.training
    assert (twin.name, twin.classes) == (group, model.classes)
    assert twin.config == model.config and twin.config["kernel"] == 3
    with torch.no_grad():
        assert torch.equal(twin(x), model(x))
        twin.train()(x)  # moves the copy's statistics, not the original's
    assert not twin.stem.norm.running_mean.equal(model.stem.norm.running_mean)
    ours = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    theirs = {tensor.data_ptr() for tensor in (*twin.parameters(), *twin.buffers())}
    assert not ours & theirs


@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle])
def test_copies_keep_the_rest(copied):
    options = {"stages": [[4], [4]], "num_classes": 2, "dropout": 0.25}
    model = lively(lensequiv.create_model("d4", **options)).double().train().freeze()
    model.classes = ("cold", "warm")
    model.weights_info = {"data": "none"}
    twin = copied(model)
    assert options.items() <= twin.config.items() and twin.classes == ("cold", "warm")
    assert twin.weights_info == {"data": "none"}
    assert twin.preprocess.to_config() == model.preprocess.to_config()
    assert twin.training and not twin.stem.training
    modes = [m.training for m in model.modules()]
    assert [m.training for m in twin.modules()] == modes
    flags = [p.requires_grad for p in model.parameters()]
    assert [p.requires_grad for p in twin.parameters()] == flags
    assert {p.dtype for p in twin.parameters()} == {torch.float64}
    x = lenses(2, 33).double()
    assert torch.equal(twin.eval()(x), model.eval()(x))


def test_copies_keep_the_input_size():
    model = lensequiv.create_model("c4", stages=[[4], [4]], initialize=False)
    model.input_size = 65  # as from_pretrained sets it
    assert through_pickle(model).input_size == 65


# Precision and gradients


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_bfloat16_is_close(networks, group):
    model, x = networks[group], lenses(4, 65)
    with torch.no_grad():
        expected = model(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model(x)
            assert model.forward_features(x).dtype == torch.bfloat16
            assert model.embed(x).dtype == torch.float32
    assert (found.float() - expected).abs().max() < 0.03 * expected.abs().max()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("group", ["c8", "d4"])
def test_gradient_reaches_all_parameters(group, autocast):
    model = lensequiv.create_model(group, stages=[[4], [6], [6]])
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits = model(lenses(8, 65))
    (logits.float() * torch.randn(8, 3)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        if name != "head.0.bias":  # batch norm comes next and takes it away
            assert parameter.grad.abs().max() > 1e-6, name


def test_gradient_reaches_the_image(networks):
    """Saliency maps need it, in evaluation mode."""
    x = lenses(1, 33).requires_grad_()
    networks["c4"](x)[0, 0].backward()
    assert (x.grad != 0).float().mean() > 0.9


def test_dropout_acts_in_training_alone():
    model = lensequiv.create_model("c4", stages=[[4], [4]], dropout=0.5)
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.5]
    x = lenses(4, 33)
    with torch.no_grad():
        assert not torch.equal(model(x), model(x))
        model.eval()
        assert torch.equal(model(x), model(x))


@pytest.mark.parametrize(
    "statistics", [["max"], ["std", "mean"], ["mean", "max", "std"]]
)
def test_statistics_over_the_map(statistics):
    torch.manual_seed(0)
    model = lensequiv.create_model("c4", stages=[[4], [3]], statistics=statistics)
    model, x = lively(model), lenses(2, 33)
    with torch.no_grad():
        largest = model.forward_features(x).unflatten(1, (3, 4)).amax(2)
        parts = {
            "mean": largest.mean((2, 3)),
            "max": largest.amax((2, 3)),
            "std": largest.std((2, 3)),
        }
        expected = torch.cat([parts[kind] for kind in statistics], 1)
        torch.testing.assert_close(model.embed(x), expected)
        plain = model.to_torch()
        torch.testing.assert_close(plain(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("statistics", [[], ["mean", "mean"], ["median"], "mean", 3])
def test_unknown_statistics_are_refused(statistics):
    with pytest.raises(ValueError, match=r"statistics=.*expected a list of different"):
        lensequiv.create_model("c4", statistics=statistics)


@pytest.mark.parametrize(
    ("group", "fields"), [("c4", (16, 24, 32)), ("c8", (8, 12, 16)), ("d8", (4, 6, 12))]
)
def test_groups_have_about_as_many_channels(group, fields):
    model = lensequiv.create_model(group, initialize=False)
    sizes = [len(t.representations) for t in model.field_types().values()]
    fine, middle, coarse = fields
    assert sizes == [fine] * 4 + [middle] * 4 + [coarse] * 2


def test_input_size_can_be_set_before_training():
    model = lensequiv.create_model("c4", stages=[[4], [4]]).set_input_size(97)
    assert model.input_size == model.preprocess.size == 97
    assert model.preprocess.keep == (73, 81, 89)
    assert model.preprocess(torch.rand(1, 1, 150, 150)).shape == (1, 1, 97, 97)
    assert copy.deepcopy(model).preprocess.size == 97
    with pytest.raises(
        ValueError, match=r"size=98; expected one of 17, 25, .* nearest: 97 or 105"
    ):
        model.set_input_size(98)
    assert model.input_size == 97


def test_networks_were_left_in_evaluation_mode(networks):
    assert not any(m.training for model in networks.values() for m in model.modules())


@pytest.mark.filterwarnings("ignore:std:UserWarning")  # torch's, of no images
@pytest.mark.parametrize("name", ["c8", "d4", "so2", "o2"])
def test_an_empty_batch(name):
    model = lensequiv.create_model(name).eval()
    x = torch.zeros(0, 1, model.input_size, model.input_size)
    for form in (model, model.to_torch()):
        assert form(x).shape == (0, 3)
