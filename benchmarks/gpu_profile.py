"""Where a training step's time goes on a device, against what the device can do.

`gpu.py --profile` calls it. Two views of the same step, in bf16 autocast: by kind of
operation, as torch's profiler sees it, and by kind of layer, each timed alone, forward
and backward, on the inputs that it had in the step, beside the bytes it has to move and
the multiplications it has to do at the rates of the device.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from device_timing import Clock, Side, precision
from torch import Tensor, nn
from torch.profiler import ProfilerActivity
from torch.profiler import profile as torch_profile

from lensequiv.models.fields import Pointwise
from lensequiv.models.layers import (
    AntialiasedPool,
    FieldNorm,
    LocalContrast,
    SteerableConv,
)
from lensequiv.plain import filtered

KINDS: dict[type[nn.Module], str] = {
    SteerableConv: "convolutions",
    FieldNorm: "field norms",
    Pointwise: "activations",
    AntialiasedPool: "antialiased pooling",
    LocalContrast: "local contrast",
}
# By a part of the operation's name; the first that fits.
OPERATIONS = {
    "convolution": "convolutions",
    "conv2d": "convolutions",
    "batch_norm": "batch norms",
    "mm": "matrix products",
    "copy_": "copies and casts",
    "fill_": "copies and casts",
    "zero_": "copies and casts",
    "cat": "copies and casts",
    "adam": "optimiser",
}


def roofs(clock: Clock) -> tuple[float, float]:
    """FLOP/s of large bf16 products and bytes/s of copying memory, at best."""
    device = clock.device
    side, words = (8192, 2**28) if device.type == "cuda" else (512, 2**24)
    a = torch.randn(side, side, device=device).bfloat16()
    source = torch.randn(words, device=device)
    target = torch.empty_like(source)
    product = clock.median(lambda: a @ a)
    copy = clock.median(lambda: target.copy_(source))
    return 2 * side**3 / product, 2 * source.nbytes / copy


def step_of(model: nn.Module, x: Tensor) -> Side:
    """A training step in bf16 autocast."""
    optimizer = torch.optim.AdamW(model.parameters(), fused=x.device.type != "mps")
    labels = torch.arange(len(x), device=x.device) % 3

    def step() -> None:
        optimizer.zero_grad()
        with precision("bf16", x.device):
            logits = model(x)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    return step


def by_operation(step: Side, clock: Clock, steps: int) -> dict[str, float]:
    """Milliseconds of the device's time in a step, by kind of operation."""
    cuda = clock.device.type == "cuda"
    activities = [ProfilerActivity.CPU]
    if cuda:
        activities.append(ProfilerActivity.CUDA)
    step()
    with torch_profile(activities=activities) as found:
        for _ in range(steps):
            step()
        clock.wait()
    shares: dict[str, float] = {}
    for event in found.key_averages():
        own = event.self_device_time_total if cuda else event.self_cpu_time_total
        if cuda and not event.key.startswith("aten::"):
            continue  # kernels, which their operations count already
        kind = next(
            (kind for part, kind in OPERATIONS.items() if part in event.key),
            "elementwise, reductions and others",
        )
        shares[kind] = shares.get(kind, 0.0) + own / 1e3 / steps
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def inputs_of(model: nn.Module, x: Tensor) -> list[tuple[nn.Module, Tensor, Tensor]]:
    """The layers of a step with what they take and give."""
    seen: list[tuple[nn.Module, Tensor, Tensor]] = []
    layers = [module for module in model.modules() if type(module) in KINDS]
    hooks = [
        layer.register_forward_hook(
            lambda layer, args, y: seen.append((layer, args[0].detach(), y.detach()))
        )
        for layer in layers
    ]
    with torch.no_grad(), precision("bf16", x.device):
        model(x)
    for hook in hooks:
        hook.remove()
    return seen


def both_ways(layer: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Side:
    """Forward and backward of a layer by its input, and by its weights."""
    x = x.clone().requires_grad_(x.shape[1] > 1)  # the image needs none
    wanted = [x] if x.requires_grad else []
    if isinstance(layer, nn.Module):
        wanted += [p for p in layer.parameters() if p.requires_grad]
    grad = torch.randn_like(y)

    def side() -> None:
        with precision("bf16", x.device):
            result = layer(x)
        if wanted:
            torch.autograd.grad(result, wanted, grad)

    return side


def by_layer(
    model: nn.Module, x: Tensor, clock: Clock, rates: tuple[float, float]
) -> list[dict[str, float | str]]:
    """For each kind of layer its time, and the least that the device's rates allow.

    Bytes are those of the maps: read once and written once on the way forward, twice
    read and once written on the way back, and the weights' not counted.
    """
    compute, memory = rates
    rows: dict[str, dict[str, float | str]] = {}
    for layer, given, result in inputs_of(model, x):
        times = {KINDS[type(layer)]: clock.median(both_ways(layer, given, result))}
        passes = 2 + (given.shape[1] > 1)
        flop = 0.0
        if isinstance(layer, SteerableConv):
            weight = layer.filters()[0]
            flop = passes * 2.0 * result.numel() * weight[0].numel()
            grad = torch.randn_like(weight)

            def expand(conv: SteerableConv = layer, grad: Tensor = grad) -> None:
                torch.autograd.grad(conv.filters()[0], conv.weights, grad)

            times["... of which filter expansion"] = clock.median(expand)
        size = given.nbytes + result.nbytes
        moved = size + (passes - 1) * size
        for kind, seconds in times.items():
            row = rows.setdefault(
                kind, {"layers": kind, "ms": 0.0, "GB": 0.0, "GFLOP": 0.0}
            )
            row["ms"] += 1e3 * seconds
            if kind in KINDS.values():
                row["GB"] += moved / 1e9
                row["GFLOP"] += flop / 1e9
    for row in rows.values():
        row["ms at memory rate"] = 1e12 * row["GB"] / memory
        row["ms at product rate"] = 1e12 * row["GFLOP"] / compute
    return list(rows.values())


def layer_forms(clock: Clock, quick: bool) -> list[dict[str, float | str]]:
    """Milliseconds of both forms of norms and poolings, forward and backward, in bf16.

    The maps are those after the stem of `c8`, and of its newer form before the pooling.
    """
    rows: list[dict[str, float | str]] = []
    for side in (25, 49):
        shape = (4 if quick else 1024, 64, side, side)
        norm, pool = FieldNorm(8, 8).to(clock.device), AntialiasedPool()
        pool = pool.to(clock.device)
        forms = {
            "norm: torch's, of fields": lambda x, norm=norm: as_volumes(norm, x),
            "norm: channel by channel": norm.from_batch,
            "pooling: products": lambda x, pool=pool: products(pool, x),
            "pooling: depthwise": lambda x, pool=pool: filtered(x, pool.taps, 2, 2),
        }
        for memory in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(shape, device=clock.device).bfloat16()
            x = x.contiguous(memory_format=memory).requires_grad_()
            for name, form in forms.items():
                grad = torch.randn_like(form(x))
                time = clock.median(
                    lambda form=form, x=x, grad=grad: torch.autograd.grad(
                        form(x), x, grad
                    )
                )
                layout = "NHWC" if memory == torch.channels_last else "NCHW"
                row = {"form": name, "side": side, "memory": layout, "ms": 1e3 * time}
                rows.append(row)
                print(f"  {name:36s} {side:4d} {layout} {row['ms']:9.3f} ms")
    return rows


def as_volumes(norm: FieldNorm, x: Tensor) -> Tensor:
    """Field norm by torch's batch norm, of volumes whose channels are the fields."""
    fields = x.unflatten(1, (-1, norm.size))
    return nn.BatchNorm3d.forward(norm, fields).flatten(1, 2)


def products(pool: AntialiasedPool, x: Tensor) -> Tensor:
    """Antialiased pooling by products with banded matrices."""
    rows, columns = pool._matrix(x.shape[2], x), pool._matrix(x.shape[3], x)
    return torch.matmul(torch.matmul(rows, x), columns.T)


def profile(model: nn.Module, x: Tensor, quick: bool) -> dict[str, object]:
    """Measures and prints both views; returns them for JSON."""
    model.train()
    clock = Clock(x.device, seconds=0.1, most=3 if quick else 20)
    compute, memory = rates = roofs(clock)
    step = step_of(model, x)
    whole = 1e3 * clock.median(step)
    print(
        f"roofs: {compute / 1e12:.3g} TFLOP/s (bf16 products), {memory / 1e9:.0f} GB/s "
        f"(copies)\na step of {len(x)} images of {x.shape[-1]} pixels: {whole:.2f} ms"
    )
    operations = by_operation(step, clock, 1 if quick else 3)
    busy = sum(operations.values())
    print(f"by operation: the device is busy for {busy:.2f} ms of it")
    for kind, value in operations.items():
        print(f"  {kind:36s} {value:9.3f} ms {100 * value / busy:6.1f} %")
    layers = by_layer(model, x, clock, rates)
    columns = ("ms", "GB", "GFLOP", "ms at memory rate", "ms at product rate")
    print(f"by layer, each alone, forward and backward: {', '.join(columns)}")
    for row in layers:
        numbers = " ".join(f"{row[column]:9.3f}" for column in columns)
        print(f"  {row['layers']:30s} {numbers}")
    print("forms of single layers, forward and backward, bf16")
    forms = layer_forms(clock, quick)
    return {
        "forms": forms,
        "roofs": {"FLOP/s": compute, "bytes/s": memory},
        "step ms": whole,
        "operations ms": operations,
        "layers": layers,
    }
