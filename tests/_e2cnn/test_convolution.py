"""Filters follow the weights, in either mode, whatever changes them."""

import contextlib
import multiprocessing

import numpy as np
import pytest
import torch
from e2cnn_layers import apply, conv, field_type, image
from torch import nn

from lensequiv._e2cnn import (
    GeometricTensor,
    InnerBatchNorm,
    MaskModule,
    PointwiseAvgPoolAntialiased,
)


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


@pytest.mark.slow  # torch.func takes two seconds to import
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
