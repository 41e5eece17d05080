"""lensequiv's layers beside the e2cnn layers they equal.

    python benchmarks/layers.py [--quick] [--json FILE]

Times are medians of forward and backward in bf16, both sides in turn. For steady
numbers, keep glibc from returning memory after every step:

    export MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from e2cnn.nn.init import generalized_he_init

from lensequiv._e2cnn import (
    FieldType,
    GeometricTensor,
    InnerBatchNorm,
    PointwiseAvgPoolAntialiased,
    R2Conv,
    he_init_std,
    parse_group,
)
from lensequiv.files import check_output
from lensequiv.models.layers import AntialiasedPool, FieldNorm

Side = Callable[[], object]


def medians(sides: dict[str, Side], repeats: int) -> dict[str, float]:
    """Milliseconds of each side; the sides take turns."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(repeats + 1):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            if i > 0:  # the first one warms up
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def both_ways(function: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> Side:
    """Forward and backward of a function, for the inputs that need a gradient."""
    wanted = [t for t in inputs if t.requires_grad]
    grad = torch.randn_like(function(*inputs))
    if not wanted:
        return lambda: function(*inputs)
    return lambda: torch.autograd.grad(function(*inputs), wanted, grad)


def layer_sides(shape: tuple[int, int, int, int]) -> dict[str, dict[str, Side]]:
    """Pooling and normalisation: ours and e2cnn's, which expects either memory."""
    space = parse_group("c8")
    kind = FieldType(space, shape[1] // 8 * [space.regular_repr])
    x = torch.randn(shape).bfloat16().requires_grad_()
    nhwc = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    pool = PointwiseAvgPoolAntialiased(kind, 0.66, stride=2).bfloat16()
    norm, ours = InnerBatchNorm(kind), FieldNorm(shape[1] // 8, 8)

    def e2cnn(layer: Callable[..., GeometricTensor]) -> Callable[..., torch.Tensor]:
        return lambda t: layer(GeometricTensor(t, kind)).tensor

    return {
        f"antialiased pooling {shape}": {
            "lensequiv": both_ways(AntialiasedPool(), x),
            "e2cnn": both_ways(e2cnn(pool), x),
            "e2cnn, channels last": both_ways(e2cnn(pool), nhwc),
        },
        f"field norm {shape}": {
            "lensequiv": both_ways(ours, x),
            "e2cnn": both_ways(e2cnn(norm), x),
            "e2cnn, channels last": both_ways(e2cnn(norm), nhwc),
        },
    }


def init_sides() -> dict[str, Side]:
    """Initialisation of one layer of the 2021 C4 network."""
    space = parse_group("c4")
    kind = FieldType(space, 48 * [space.regular_repr])
    conv = R2Conv(kind, kind, 5, padding=2, initialize=False)
    return {
        "lensequiv": lambda: he_init_std(conv.basisexpansion),
        "e2cnn": lambda: generalized_he_init(conv.weights.data, conv.basisexpansion),
    }


def main() -> None:
    """Measures, prints a table, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 repetitions, not 11")
    parser.add_argument("--json", type=check_output, help="file to write")
    args = parser.parse_args()
    repeats = 3 if args.quick else 11
    groups: dict[str, dict[str, Side]] = {}
    for shape in ((64, 64, 33, 33), (64, 96, 17, 17)):
        groups |= layer_sides(shape)
    groups["initialisation, 48 -> 48 fields of C4, 5 x 5"] = init_sides()
    results = {}
    for title, sides in groups.items():
        results[title] = medians(sides, repeats)
        first = next(iter(results[title].values()))
        print(title)
        for name, value in results[title].items():
            print(f"  {name:24s} {value:9.2f} ms   {value / first:7.2f} x")
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
