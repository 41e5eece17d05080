"""The traps of e2cnn 0.2.3, each with the proof that it is mended."""

import contextlib
import multiprocessing
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from lensequiv import _e2cnn
from lensequiv._e2cnn import (
    FieldType,
    GeometricTensor,
    InnerBatchNorm,
    MaskModule,
    PointwiseAvgPoolAntialiased,
    R2Conv,
    he_init_std,
    parse_group,
)

e2cnn = _e2cnn.e2cnn

GROUPS = ("c1", "c3", "c4", "c8", "c16", "d1", "d3", "d4", "d5", "d8")


def field_type(group, pattern):
    """Fields of a group: "t" for trivial, "r" for regular."""
    space = parse_group(group)
    kinds = {"t": space.trivial_repr, "r": space.regular_repr}
    return FieldType(space, [kinds[letter] for letter in pattern])


def conv(group="c4", source="t", target="rr", kernel=5, seed=0, **options):
    torch.manual_seed(seed)
    types = field_type(group, source), field_type(group, target)
    return R2Conv(*types, kernel, **options)


def apply(layer, x):
    return layer(GeometricTensor(x, layer.in_type)).tensor


def image(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def run(code):
    """Run code in a fresh interpreter; what it prints, as words."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


# Groups


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_builds(group):
    order = int(group[1:]) * (2 if group[0] == "d" else 1)
    layer = conv(group)
    assert parse_group(group).fibergroup.order() == order
    assert layer.out_type.size == 2 * order
    y = apply(layer, image(1, 1, 9, 9))
    assert y.shape == (1, 2 * order, 5, 5)
    assert torch.isfinite(y).all() and y.std() > 0.01


def test_group_names_are_case_insensitive():
    assert parse_group("D4") == parse_group("d4") != parse_group("c4")


@pytest.mark.parametrize("name", ["e8", "c", "8", "", "c0", "c-4", "d4.0", "so3", "c²"])
def test_unknown_group_is_named(name):
    with pytest.raises(ValueError, match="expected 'c'") as caught:
        parse_group(name)
    assert f"group {name!r}" in str(caught.value)


# Initialisation


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:torch.meshgrid")  # e2cnn, for interleaved fields
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("group", ["c1", "c4", "c8", "d1", "d4", "d5"])
def test_he_init_std_equals_e2cnn(group, kernel):
    reference = e2cnn.nn.init._generalized_he_init_variances
    for source, target in (
        ("tt", "trr"),
        ("ttrrr", "trr"),
        ("trr", "t"),
        ("rtr", "trtr"),
    ):
        layer = conv(group, source, target, kernel, initialize=False)
        expected = reference(layer.basisexpansion)
        torch.testing.assert_close(he_init_std(layer.basisexpansion), expected)
        assert expected.shape == layer.weights.shape


def test_initial_weights_have_these_standard_deviations():
    layer = conv("c8", "tttrrr", "trrrr", 5)
    std = he_init_std(layer.basisexpansion)
    assert len(std.unique()) >= 4  # one scale for all weights would not do
    for value in std.unique():
        chosen = layer.weights.detach()[std == value] / value
        n = len(chosen)
        assert abs(chosen.mean()) < 4 * n**-0.5
        assert abs(chosen.var() - 1) < 4 * (2 / n) ** 0.5
    assert (conv("c8", "t", "r").weights != 0).all()


def test_initialisation_depends_on_the_seed_alone():
    first, same, other = conv(seed=3), conv(seed=3), conv(seed=4)
    assert torch.equal(first.weights, same.weights)
    assert not torch.equal(first.weights, other.weights)


def test_without_initialisation_weights_are_zero_and_random_state_untouched():
    layer = conv(initialize=False)  # seeds with 0
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))
    assert layer.weights.requires_grad and not layer.weights.any()


# State dict


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("target", ["rr", "rtr"])
def test_state_dict_holds_learnables_only(training, target):
    out_type = field_type("c4", target)
    model = nn.Sequential(
        conv(target=target),
        InnerBatchNorm(out_type),
        PointwiseAvgPoolAntialiased(out_type, sigma=0.66, stride=2),
        MaskModule(out_type, 3, margin=1),
    ).train(training)
    statistics = {"running_mean", "running_var", "num_batches_tracked"}
    learnable = {name for name, _ in model.named_parameters()}
    keys = set(model.state_dict())
    assert learnable >= {"0.weights", "0.bias", "1.batch_norm_[4].weight"}
    assert learnable <= keys
    assert {key.rsplit(".", 1)[1] for key in keys - learnable} == statistics


@pytest.mark.parametrize("source_training", [True, False])
def test_loading_in_eval_mode_renews_the_filter(source_training):
    x = image(2, 1, 9, 9)
    source, target = conv(seed=0), conv(seed=1).eval()
    with torch.no_grad():
        source.bias.normal_()
        expected = apply(source.eval(), x)
        assert (apply(target, x) - expected).abs().max() > 0.1
        target.load_state_dict(source.train(source_training).state_dict())
        assert not target.training
        assert (apply(target, x) - expected).abs().max() == 0.0


def test_loading_refuses_stored_filters_and_missing_weights():
    layer = conv()
    state = layer.state_dict()
    with pytest.raises(RuntimeError, match=r"Unexpected key.*filter"):
        layer.load_state_dict({**state, "filter": torch.zeros(8, 1, 5, 5)})
    with pytest.raises(RuntimeError, match=r"Missing key.*weights"):
        layer.load_state_dict({"bias": state["bias"]})


# Shared bases


def test_models_do_not_share_basis_tensors():
    x = image(2, 1, 9, 9)
    a, b = conv(seed=0), conv(seed=1)
    bases = [
        {buffer.data_ptr() for buffer in layer.basisexpansion.buffers()}
        for layer in (a, b)
    ]
    assert bases[0] and not bases[0] & bases[1]
    before = apply(b, x).detach()
    a.double()
    assert apply(a, x.double()).dtype == torch.float64
    assert all(v.dtype == torch.float32 for v in b.basisexpansion.buffers())
    assert torch.equal(apply(b, x), before)
    for buffer in a.basisexpansion.buffers():
        buffer.zero_()
    assert torch.equal(apply(b, x), before)
    later = conv(seed=1)  # e2cnn's own cache is as it was, too
    assert torch.equal(apply(later, x), before)


# Autograd


@pytest.mark.parametrize("training", [True, False])
def test_gradients_reach_the_weights_in_either_mode(training):
    layer = conv().train(training)
    for _ in range(2):  # with an old graph kept, the second one would raise
        layer.zero_grad()
        apply(layer, image(1, 1, 9, 9)).square().sum().backward()
        assert layer.weights.grad.abs().sum() > 0
        assert layer.bias.grad.abs().sum() > 0


@pytest.mark.parametrize("wanted", [torch.no_grad, torch.inference_mode])
def test_no_graph_where_none_is_wanted(wanted):
    layer = conv().eval()
    with wanted():
        filter_, bias = layer.filters()
        again, _ = layer.filters()
    assert filter_ is again  # kept, not expanded anew
    assert filter_.grad_fn is None and bias.grad_fn is None
    assert not filter_.is_inference()
    assert not layer.filter.requires_grad and not layer.expanded_bias.requires_grad
    layer.requires_grad_(False)
    assert layer.filters()[0] is filter_
    x = image(1, 1, 9, 9).requires_grad_()
    apply(layer, x).square().sum().backward()
    assert x.grad.abs().sum() > 0 and layer.weights.grad is None


@pytest.mark.parametrize("training", [True, False])
def test_buffers_do_not_depend_on_the_mode(training):
    """Whoever averages two models pairs their buffers."""
    layer = conv().train(training)
    with torch.no_grad():
        apply(layer, image(1, 1, 9, 9))
    assert {name.split(".")[-1] for name, _ in layer.named_buffers()} == {
        "bias_expansion",
        "sampled_basis",
        *{n for n, _ in layer.basisexpansion.named_buffers() if "indices" in n},
    }


def _assign(layer):
    state = {key: 2 * value for key, value in layer.state_dict().items()}
    layer.load_state_dict(state, assign=True)


def _in_another_process(layer):
    layer.share_memory()
    context = multiprocessing.get_context("fork")
    child = context.Process(target=lambda: layer.weights.data.mul_(2))
    child.start()
    child.join()


CHANGES = {
    "copy_": lambda layer: layer.weights.copy_(2 * layer.weights),
    "data in place": lambda layer: layer.weights.data.mul_(2),
    "data": lambda layer: setattr(layer.weights, "data", 2 * layer.weights.data),
    "one of them": lambda layer: layer.weights.data[:1].add_(1),
    "bias": lambda layer: layer.bias.data.add_(1),
    "a new parameter": lambda layer: setattr(
        layer, "weights", torch.nn.Parameter(2 * layer.weights)
    ),
    "numpy": lambda layer: np.copyto(layer.weights.numpy(), 3.0),
    "_foreach": lambda layer: torch._foreach_mul_([layer.weights], 2),
    "vector": lambda layer: torch.nn.utils.vector_to_parameters(
        torch.rand(layer.weights.numel()), [layer.weights]
    ),
    "swap_tensors": lambda layer: torch.utils.swap_tensors(
        layer.weights, torch.nn.Parameter(torch.rand_like(layer.weights))
    ),
    "assign": _assign,
    "shared memory": _in_another_process,
    "half": lambda layer: layer.bfloat16(),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("change", CHANGES)
@torch.no_grad()
def test_filters_follow_the_weights_whatever_changes_them(change, training):
    layer = conv().train(training).requires_grad_(False)
    before, before_bias = layer.filters()
    CHANGES[change](layer)
    expected, expected_bias = layer.expand_parameters()
    found, bias = layer.filters()
    assert torch.equal(found, expected) and torch.equal(bias, expected_bias)
    assert found.dtype == expected.dtype
    changed = before_bias - bias if change == "bias" else before - found
    assert changed.abs().max() > 1e-3


def test_what_stands_in_for_the_weights_is_used():
    x, layer = image(1, 1, 9, 9), conv().eval()

    def run(parameters):
        field = GeometricTensor(x, layer.in_type)
        return torch.func.functional_call(layer, parameters, (field,)).tensor

    mine = {name: value.detach() for name, value in layer.named_parameters()}
    twice = {name: 2 * value for name, value in mine.items()}
    with torch.no_grad():
        once = apply(layer, x)
        torch.testing.assert_close(run(twice), 2 * once)
        assert torch.equal(apply(layer, x), once)
        both = {name: torch.stack([mine[name], twice[name]]) for name in mine}
        torch.testing.assert_close(torch.vmap(run)(both), torch.stack([once, 2 * once]))
    gradients = torch.func.grad(lambda parameters: run(parameters).sum())(mine)
    assert gradients["weights"].abs().sum() > 0

    class Twice(torch.nn.Module):
        def forward(self, value):
            return 2 * value

    torch.nn.utils.parametrize.register_parametrization(layer, "weights", Twice())
    with torch.no_grad():
        layer.bias.mul_(2)
        torch.testing.assert_close(apply(layer, x), 2 * once)


def test_autocast_does_not_reach_the_filters():
    layer = conv().eval()
    for context in (contextlib.nullcontext, torch.no_grad):
        with context():
            expected = layer.filters()[0]
            with torch.autocast("cpu", torch.bfloat16):
                assert torch.equal(layer.filters()[0], expected)
                assert torch.equal(conv().filters()[0], expected)


def test_training_after_eval_uses_and_moves_the_weights():
    x = image(1, 1, 9, 9)
    layer = conv().eval().train()
    for _ in range(2):
        layer.weights.grad = None
        apply(layer, x).square().sum().backward()
        assert layer.weights.grad.abs().sum() > 0
    before = apply(layer.eval(), x)
    with torch.no_grad():
        layer.train().weights.mul_(2)
        layer.bias.mul_(2)
    torch.testing.assert_close(apply(layer.eval(), x), 2 * before)


# Warnings and NumPy 2


def test_no_uint8_warning():
    # Kernels of a group that no other test uses: e2cnn warns where it fills its cache.
    types = field_type("c7", "t"), field_type("c7", "r")
    with pytest.warns(UserWarning, match="indexing with dtype torch.uint8"):
        e2cnn.nn.R2Conv(*types, 3, initialize=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        R2Conv(*types, 5)


BASES = {
    "Flips": lambda f: ("R2FlipsSolution", 2, 0, f % 2, 0.0, 3),
    "DiscreteRotations": lambda f: ("R2DiscreteRotationsSolution", 8, 1, f, 3),
    "ContinuousRotations": lambda f: (
        "R2ContinuousRotationsSolution",
        e2cnn.group.so2_group(3),
        1,
        f,
    ),
    "FlipsDiscreteRotations": lambda f: (
        "R2FlipsDiscreteRotationsSolution",
        8,
        (1, 1),
        (1, f),
        0.0,
        3,
    ),
    "FlipsContinuousRotations": lambda f: (
        "R2FlipsContinuousRotationsSolution",
        e2cnn.group.o2_group(3),
        (1, 1),
        (1, f),
    ),
}


@pytest.mark.parametrize("case", BASES)
def test_kernels_hash(case):
    def build(frequency):
        cls, *arguments = BASES[case](frequency)
        return getattr(e2cnn.kernels.irreps_basis, cls)(*arguments)

    first, same, other = build(1), build(1), build(2)
    assert first == same and first is not same
    assert hash(first) == hash(same)
    assert first != other
    assert hash(first) != hash(other)
    assert len({first, same, other}) == 2


def test_numpy_is_mended_for_e2cnn_alone():
    assert e2cnn.kernels.utils.np is not np
    assert e2cnn.kernels.irreps_basis.np is np
    given = np.arange(3)
    theirs = e2cnn.kernels.utils.np
    assert theirs.array(given, copy=False) is given
    assert theirs.array(given) is not given
    assert theirs.array([1, 2], copy=False).tolist() == [1, 2]
    assert theirs.pi == np.pi


# Imports

LOADED = """
import sys
print(*{name.split(".")[0] for name, m in sys.modules.items() if m is not None})
"""


@pytest.mark.slow
def test_importing_lensequiv_loads_nothing_slow():
    code = "import lensequiv; lensequiv.predict; lensequiv.from_pretrained"
    loaded = set(run(code + LOADED))
    assert {"lensequiv", "torch", "numpy"} <= loaded
    slow = {"e2cnn", "torchvision", "scipy", "matplotlib", "astropy"}
    assert not loaded & (slow | {"sympy", "sklearn", "PIL", "huggingface_hub"})


AFTER_E2CNN = """
import sys
import lensequiv._e2cnn
print("sympy" in sys.modules, "scipy.stats._distn_infrastructure" in sys.modules)

import e2cnn.diffops.utils
weights = e2cnn.diffops.utils.finite_diff_weights(1, [-1, 0, 1], 0)[1][2]
print(*(float(w) for w in weights))
assert "sympy" in sys.modules

import scipy.stats
from scipy import stats
from scipy.stats import norm
assert stats is scipy.stats and norm is scipy.stats.norm
print(float(scipy.stats.norm.cdf(0)))
"""


@pytest.fixture(scope="module")
def after_e2cnn():
    return run(AFTER_E2CNN)


@pytest.mark.slow
def test_sympy_is_deferred(after_e2cnn):
    assert after_e2cnn[0] == "False"


@pytest.mark.slow
def test_scipy_stats_is_deferred(after_e2cnn):
    assert after_e2cnn[1] == "False"


@pytest.mark.slow
def test_sympy_and_scipy_stats_work_when_asked_for(after_e2cnn):
    assert [float(word) for word in after_e2cnn[2:]] == [-0.5, 0.0, 0.5, 0.5]


@pytest.mark.slow
def test_sympy_imported_before_is_kept():
    code = "import sympy; import lensequiv._e2cnn, sys; print(sympy is sys.modules[{}])"
    assert run(code.format("'sympy'")) == ["True"]


@pytest.mark.parametrize("group", ["c4", "d4"])
def test_weights_are_counted_without_names(group):
    """Ours writes no names, e2cnn's own layers keep theirs; all else is equal."""
    space = parse_group(group)
    mixed = FieldType(space, 2 * [space.regular_repr] + [space.trivial_repr])
    ours = R2Conv(mixed, mixed, 3, initialize=False)
    theirs = e2cnn.nn.R2Conv(mixed, mixed, 3, initialize=False)
    assert ours.weights.shape == theirs.weights.shape
    assert ours.basisexpansion.dimension() == theirs.basisexpansion.dimension()
    names = theirs.basisexpansion.get_basis_names()
    assert len(set(names)) == len(theirs.weights)
    assert ours.basisexpansion.get_basis_names() == []
    weights = torch.randn_like(ours.weights)
    for layer in (ours, theirs):
        layer.weights.data.copy_(weights)
    assert torch.equal(ours.expand_parameters()[0], theirs.expand_parameters()[0])


@pytest.mark.parametrize("size", [33, 130])
@pytest.mark.parametrize("margin", [0, 1])
def test_mask_is_a_disc_with_a_gaussian_edge(size, margin):
    layer = MaskModule(field_type("c4", "t"), size, margin)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    beyond = x**2 + y**2 - ((size - 1) / 2 * (1 - margin / 100)) ** 2
    expected = np.exp(-np.maximum(beyond, 0) / 4)
    assert layer.mask.dtype == torch.float32 and layer.mask.shape == (1, 1, size, size)
    np.testing.assert_allclose(layer.mask[0, 0], expected, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize(
    ("numbers", "are"),
    [([0], True), ([3, 4, 5], True), ([5, 3, 4], True), ([1, 3], False)],
)
def test_consecutive_channels_are_known(numbers, are):
    assert e2cnn.nn.modules.utils.check_consecutive_numbers(numbers) is are


@pytest.mark.parametrize("group", ["c8", "d4", "so2"])
def test_networks_of_a_group_share_their_bases(group):
    """What e2cnn keeps for a space is found again, not compared with all else."""
    assert parse_group(group) is parse_group(group.upper())
    if group != "so2":
        one, two = (conv(group).basisexpansion for _ in range(2))
        parts = zip(one._modules.values(), two._modules.values(), strict=True)
        assert all(a.basis is b.basis for a, b in parts)
    assert parse_group(group, 2) is parse_group(group, 2)
    assert parse_group("so2", 2) is not parse_group("so2", 3)
