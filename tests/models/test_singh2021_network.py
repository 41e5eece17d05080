"""The 2021 networks: their tensors, their shapes and what they are not.

Named apart from tests/transforms/test_singh2021.py: pytest wants distinct names.
"""

import copy

import pytest
import torch
from torch import nn

import lensequiv
from lensequiv import _e2cnn
from lensequiv._e2cnn import FieldType, GeometricTensor, parse_group
from lensequiv.transforms import Singh2021Eval

e2nn = _e2cnn.e2cnn.nn

GROUPS = ["c4", "c8", "d4", "d8"]
FIELDS = [24, 48, 48, 96, 96, 64]
KERNELS = [7, 5, 5, 5, 5, 5]
PADDINGS = [1, 2, 2, 2, 2, 1]


def shaken(model):
    """Every batch norm with its own statistics, scale and shift."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm3d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
    return model.eval()


def arcs(n):
    """Images in [0, 1], as the 2021 preprocessing leaves them, on 129 x 129."""
    steps = torch.linspace(-1, 1, 129)
    x, y = steps[None, :] - 0.1, steps[:, None]
    ring = torch.exp(-0.5 * ((torch.hypot(x, y) - 0.4) / 0.06) ** 2)
    ring = ring * (0.6 + 0.4 * torch.cos(torch.atan2(y, x)))
    return (ring + 0.1 * torch.rand(n, 1, 129, 129)).clamp(0, 1)


@pytest.fixture(scope="module")
def c4():
    torch.manual_seed(0)
    return shaken(lensequiv.create_model("singh2021-c4"))


@pytest.fixture(scope="module", params=GROUPS)
def uninitialised(request):
    return lensequiv.create_model(f"singh2021-{request.param}", initialize=False)


@pytest.fixture(scope="module")
def turned(c4):
    """One image and its quarter turn: feature maps, embeddings and logits."""
    x = arcs(1)
    with torch.no_grad():
        features = c4.forward_features(torch.cat([x, torch.rot90(x, 1, (2, 3))]))
        embedding = c4._pool(features)
        return features, embedding, c4.head(embedding)


# Tensors


def expected_state(group):
    order = int(group[1:]) * (2 if group[0] == "d" else 1)
    shapes = {}
    for i, fields in enumerate(FIELDS, start=1):
        first = int(i == 1)  # the mask comes before
        shapes[f"block{i}.{first}.weights"] = None
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"block{i}.{first + 1}.batch_norm_[{order}].{name}"] = (fields,)
        shapes[f"block{i}.{first + 1}.batch_norm_[{order}].num_batches_tracked"] = ()
    shapes["fully_net.0.weight"], shapes["fully_net.0.bias"] = (64, 43264), (64,)
    for name in ("weight", "bias", "running_mean", "running_var"):
        shapes[f"fully_net.1.{name}"] = (64,)
    shapes["fully_net.1.num_batches_tracked"] = ()
    shapes["head.weight"], shapes["head.bias"] = (3, 64), (3,)
    return shapes


def test_state_dict(uninitialised):
    model = uninitialised
    state = {k: v for k, v in model.tensors().items() if not k.startswith("gpool.")}
    expected = expected_state(model.group)
    assert set(state) == set(expected)
    for key, shape in expected.items():
        assert shape is None or tuple(state[key].shape) == shape, key
        if key.endswith(".weights"):
            assert state[key].ndim == 1 and not state[key].any()


def test_state_dict_holds_nothing_that_can_be_recomputed(uninitialised):
    assert not [key for key in uninitialised.state_dict() if key.startswith("gpool.")]


def test_preprocessing_is_the_studys_and_survives_copies(uninitialised):
    twin = copy.deepcopy(uninitialised)
    assert twin.preprocess.to_config() == Singh2021Eval().to_config()


def test_layers(uninitialised):
    model = uninitialised
    order = model.block1.out_type.gspace.fibergroup.order()
    assert order == {"c4": 4, "c8": 8, "d4": 8, "d8": 16}[model.group]
    channels = 1
    for i in range(1, 7):
        block = list(getattr(model, f"block{i}").children())
        if i == 1:
            mask = block.pop(0)
            assert isinstance(mask, e2nn.MaskModule) and mask.margin == 1
            assert mask.mask.shape == (1, 1, 129, 129)
        conv, norm, relu = block
        assert isinstance(conv, e2nn.R2Conv) and isinstance(norm, e2nn.InnerBatchNorm)
        assert isinstance(relu, e2nn.ReLU)
        assert (conv.kernel_size, conv.padding) == (KERNELS[i - 1], PADDINGS[i - 1])
        assert conv.bias is None and conv.stride == 1
        assert conv.in_type.size == channels
        channels = FIELDS[i - 1] * order
        assert conv.out_type.size == channels
        regular = conv.out_type.gspace.regular_repr
        assert conv.out_type.representations == FIELDS[i - 1] * [regular]
        if i % 2 == 0:
            pool = getattr(model, f"pool{i // 2}")
            assert isinstance(pool, e2nn.PointwiseAvgPoolAntialiased)
            last = i == 6
            assert pool.stride == ((1, 1) if last else (2, 2))
            assert pool.kernel_size == (5, 5)
            assert pool.padding == ((0, 0) if last else (2, 2))
    assert isinstance(model.gpool, e2nn.GroupPooling)
    assert [type(m) for m in model.fully_net] == [nn.Linear, nn.BatchNorm1d, nn.ELU]
    assert model.fully_net[0].in_features == 64 * 26 * 26 == 43264


# Shapes


@pytest.mark.slow
@pytest.mark.slow
def test_output_shapes(turned):
    features, embedding, logits = turned
    assert features.shape == (2, 64 * 4, 26, 26)
    assert embedding.shape == (2, 64) and logits.shape == (2, 3)


@pytest.mark.slow
@pytest.mark.slow
def test_forward_is_head_of_embedding(c4, turned):
    x = arcs(1)
    with torch.no_grad():
        assert c4(x).shape == (1, 3)
    assert torch.equal(c4.head(turned[1]), turned[2])


@pytest.mark.parametrize("size", [33, 113, 128, 130, 150])
def test_only_129_is_accepted(c4, size):
    with pytest.raises(ValueError, match=f"{size} x {size} pixels") as caught:
        c4(torch.zeros(1, 1, size, size))
    assert str(caught.value).startswith("singh2021-c4: ")
    assert "with a side of 129; nearest" in str(caught.value)
    assert list(c4.input_sizes.range) == [129]


def test_channels_and_classes():
    model = lensequiv.create_model(
        "singh2021-c4", in_channels=3, num_classes=2, initialize=False
    )
    assert model.block1.in_type.size == 3
    assert model.head.weight.shape == (2, 64)


def test_other_widths():
    fields = [3, 1, 1, 1, 1, 2]
    model = lensequiv.create_model("singh2021-d4", fields=fields, initialize=False)
    blocks = [getattr(model, f"block{i}").out_type.size for i in range(1, 7)]
    assert blocks == [8 * count for count in fields]
    assert model.fully_net[0].in_features == 2 * 26 * 26
    assert copy.deepcopy(model).config["fields"] == fields


@pytest.mark.parametrize("fields", [[], [2] * 5, [2] * 7, [2, 2, 0, 2, 2, 2]])
def test_wrong_widths_are_refused(fields):
    with pytest.raises(ValueError, match="expected six positive integers"):
        lensequiv.create_model("singh2021-c4", fields=fields)


# Symmetry


@pytest.mark.slow
def test_feature_maps_are_equivariant_at_quarter_turns(c4, turned):
    features, _, _ = turned
    before, after = features.split(1)
    field = GeometricTensor(before, c4.block6.out_type).transform_fibers(1).tensor
    expected = torch.rot90(field, 1, (2, 3))
    assert (after - expected).abs().max() < 1e-5 * before.abs().max()
    assert (after - before).abs().max() > 0.1 * before.abs().max()


@pytest.mark.slow
def test_logits_are_not_invariant(turned):
    """Documented: the flattened map goes into a fully connected layer."""
    for one in turned[1:]:
        assert (one[1] - one[0]).abs().max() > 1e-3 * one[0].abs().max()


def test_mask_hides_the_corners(c4):
    module = next(c4.block1.children())
    mask = module.mask[0, 0]
    steps = torch.arange(129) - 64.0
    radius = torch.hypot(steps[:, None], steps[None, :])
    assert (mask[radius < 0.99 * 64] == 1).all()
    assert (mask[radius > 70] < 1e-6).all()
    assert not list(module.parameters())


# Against e2cnn


def raw_network(group):
    """The same network from e2cnn's own modules, without lensequiv's mended ones."""
    space = parse_group(group)
    kind, layers = FieldType(space, [space.trivial_repr]), []
    for i in range(6):
        after = FieldType(space, FIELDS[i] * [space.regular_repr])
        if i == 0:
            layers.append(e2nn.MaskModule(kind, 129, margin=1))
        options = {"padding": PADDINGS[i], "bias": False, "initialize": False}
        layers.append(e2nn.R2Conv(kind, after, KERNELS[i], **options))
        layers += [e2nn.InnerBatchNorm(after), e2nn.ReLU(after)]
        if i % 2:
            options = {"stride": 1, "padding": 0} if i == 5 else {"stride": 2}
            pool = e2nn.PointwiseAvgPoolAntialiased(after, sigma=0.66, **options)
            layers.append(pool)
        kind = after
    equivariant = e2nn.SequentialModule(*layers, e2nn.GroupPooling(kind))
    fully_net = nn.Sequential(
        nn.Linear(43264, 64), nn.BatchNorm1d(64), nn.ELU(), nn.Linear(64, 3)
    )
    return equivariant, fully_net


@pytest.mark.slow
def test_equals_the_same_network_of_raw_e2cnn_modules(c4):
    equivariant, fully_net = raw_network("c4")
    kinds = (e2nn.R2Conv, nn.BatchNorm3d)
    ours = [m for m in c4.modules() if isinstance(m, kinds)]
    theirs = [m for m in equivariant.modules() if isinstance(m, kinds)]
    assert len(ours) == len(theirs) == 12
    with torch.no_grad():
        for source, target in zip(ours, theirs, strict=True):
            missing = target.load_state_dict(source.state_dict(), strict=False)
            assert not missing.unexpected_keys
        state = c4.fully_net.state_dict()
        head = {f"3.{key}": value for key, value in c4.head.state_dict().items()}
        fully_net.load_state_dict({**state, **head}, strict=True)
        x = arcs(1)
        field = equivariant.eval()(GeometricTensor(x, equivariant.in_type)).tensor
        expected = fully_net.eval()(field.flatten(1))
        logits = c4(x)
    assert field.shape == (1, 64, 26, 26) and expected.abs().max() > 0.01
    assert (logits - expected).abs().max() < 1e-5 * expected.abs().max()
