"""A training step beside its parts, beside e2cnn's, and beside the machine's limits.

    python benchmarks/train_step.py [--quick] [--model c8] [--json FILE]

Times are medians of alternating repetitions: forward, backward and optimiser in bf16
autocast, and each kind of layer alone, forward and backward, on the inputs it had in
the step. The roofline compares every convolution with the rate the machine reaches in
large bf16 matrix products and with its memory's. For steady numbers, keep glibc from
returning memory after every step:

    export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from layers import Side, both_ways, medians
from predict import OfE2cnnModules
from torch import Tensor, nn

import lensequiv
from lensequiv.files import check_output
from lensequiv.models.layers import (
    AntialiasedPool,
    FieldNorm,
    LocalContrast,
    SteerableConv,
)

KINDS = {
    SteerableConv: "convolutions",
    FieldNorm: "field norms",
    AntialiasedPool: "antialiased pooling",
    LocalContrast: "local contrast",
}


def step_of(network: nn.Module, x: Tensor) -> Side:
    """A whole training step."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters())
    labels = torch.arange(len(x)) % 3

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(x)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def convolution(conv: SteerableConv, x: Tensor) -> Side:
    """The bare convolution of a layer, in bf16."""
    # The stem's input is the image: no gradient is needed for it.
    image = x.detach().bfloat16().requires_grad_(x.shape[1] > 1)
    weight = conv.filters()[0].detach().bfloat16().requires_grad_()
    return both_ways(
        lambda a, b: F.conv2d(a, b, None, conv.stride, conv.padding), image, weight
    )


def parts_of(model: nn.Module, x: Tensor) -> tuple[dict[str, list[Side]], list[tuple]]:
    """The layers of one step by kind, and each convolution with its input."""
    seen: list[tuple[nn.Module, Tensor]] = []
    layers = [m for m in model.modules() if type(m) in KINDS]
    hooks = [
        layer.register_forward_pre_hook(
            lambda layer, args: seen.append((layer, args[0].detach()))
        )
        for layer in layers
    ]
    with torch.autocast("cpu", torch.bfloat16):
        model(x)
    for hook in hooks:
        hook.remove()
    sides: dict[str, list[Side]] = {name: [] for name in KINDS.values()}
    sides["filter expansion"] = []
    convolutions = []
    for layer, given in seen:
        if isinstance(layer, SteerableConv):
            side = convolution(layer, given)
            convolutions.append((layer, given, side))
            sides["filter expansion"].append(
                both_ways(lambda _, conv=layer: conv.filters()[0], layer.weights)
            )
        else:
            needs = not isinstance(layer, LocalContrast)
            side = both_ways(layer, given.requires_grad_(needs))
        sides[KINDS[type(layer)]].append(side)
    return sides, convolutions


def in_turn(sides: list[Side]) -> Side:
    """One side after the other."""
    return lambda: [side() for side in sides]


def roofs(repeats: int) -> tuple[float, float]:
    """FLOP/s of large bf16 products, bytes/s of copying memory, at best."""
    a = torch.randn(2048, 2048).bfloat16()
    source = torch.randn(2**25)
    target = torch.empty_like(source)
    times = medians(
        {"product": lambda: a @ a, "copy": lambda: target.copy_(source)}, repeats
    )
    return 2e3 * 2048**3 / times["product"], 2e3 * source.nbytes / times["copy"]


def roofline(convolutions: list[tuple], repeats: int) -> list[dict[str, object]]:
    """What each convolution reaches of what it could."""
    compute, memory = roofs(repeats)
    print(f"  roofs: {compute / 1e9:.0f} GFLOP/s (products), {memory / 1e9:.0f} GB/s")
    rows = []
    for conv, x, side in convolutions:
        with torch.no_grad():
            y = F.conv2d(x, conv.filters()[0].to(x), None, conv.stride, conv.padding)
        weight = conv.filters()[0]
        passes = 3 if x.shape[1] > 1 else 2  # forward, by input, by weight
        flop = passes * 2 * y.numel() * weight[0].numel()
        moved = passes * 2 * (x.numel() + y.numel() + weight.numel())
        roof = min(compute, memory * flop / moved)
        rate = 1e3 * flop / medians({"": side}, repeats)[""]
        row = {
            "input": list(x.shape[1:]),
            "kernel": list(weight.shape),
            "GFLOP/s": rate / 1e9,
            "FLOP/byte": flop / moved,
            "of its roof": rate / roof,
        }
        rows.append(row)
        print(
            f"  {tuple(x.shape[1:])!s:14s} * {tuple(weight.shape)!s:18s} "
            f"{flop / moved:6.0f} FLOP/byte {rate / 1e9:6.0f} GFLOP/s "
            f"{100 * rate / roof:4.0f} % of its roof"
        )
    return rows


PEAK = """
import sys, torch
sys.path.insert(0, {folder!r})
from memory import peak_kib
from train_step import step_of
import lensequiv
network = lensequiv.create_model({name!r}).set_grad_checkpointing({saving})
step_of(network, torch.rand(2, 1, {size}, {size}))()  # what any step needs
before = peak_kib()
step_of(network, torch.rand({batch}, 1, {size}, {size}))()
print(peak_kib() - before)
"""


def peak_mib(name: str, x: Tensor, saving: bool) -> float:
    """Memory that a step takes at its peak, beyond what one of two images takes."""
    # Freed memory must go back, or the peak would be that of everything before.
    environment = {k: v for k, v in os.environ.items() if "MALLOC" not in k}
    code = PEAK.format(
        folder=str(Path(__file__).parent),
        name=name,
        saving=saving,
        batch=len(x),
        size=x.shape[-1],
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return float(done.stdout) / 1024


def checkpointing(name: str, x: Tensor, repeats: int) -> dict[str, float]:
    """Memory and time of a step with recomputed activations, beside the ordinary."""
    much, little = peak_mib(name, x, False), peak_mib(name, x, True)
    ordinary = lensequiv.create_model(name)
    saving = lensequiv.create_model(name).set_grad_checkpointing()
    times = medians(
        {"ordinary": step_of(ordinary, x), "saving": step_of(saving, x)}, repeats
    )
    ratio = times["saving"] / times["ordinary"]
    print(
        f"  {name}, {len(x)} images of {x.shape[-1]} pixels: {much:.0f} MiB more than "
        f"for two, {little:.0f} MiB with checkpointing; a step takes {ratio:.2f} x"
    )
    return {"MiB": much, "MiB with it": little, "time ratio": ratio}


def main() -> None:
    """Measures, prints tables, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 repetitions, not 11")
    parser.add_argument("--model", default="c8")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--json", type=check_output, help="file to write")
    args = parser.parse_args()
    repeats = 3 if args.quick else 11
    results: dict[str, object] = {}
    for size in (97, 129):
        model = lensequiv.create_model(args.model).train()
        x = torch.randn(args.batch_size, 1, size, size)
        parts, convolutions = parts_of(model, x)
        sides = {
            "training step": step_of(model, x),
            "... of e2cnn's modules": step_of(OfE2cnnModules(model), x),
            **{name: in_turn(part) for name, part in parts.items()},
        }
        times = medians(sides, repeats)
        step = times["training step"]
        print(f"{args.model}, {args.batch_size} images of {size} pixels, bf16")
        for name, value in times.items():
            print(f"  {name:24s} {value:9.1f} ms  {100 * value / step:6.1f} %")
        title = f"{size} pixels"
        results[title] = times
        results[f"{title}, roofline"] = roofline(convolutions, repeats)
    print("activation checkpointing")
    x = torch.randn(4 * args.batch_size, 1, 129, 129)
    results["checkpointing"] = checkpointing(args.model, x, 3)
    few = x[: args.batch_size // 8]
    results["checkpointing, 2021"] = checkpointing(f"singh2021-{args.model}", few, 1)
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
