"""Classifying images: our networks beside e2cnn's modules, the 2021 one and ResNet-18.

    python benchmarks/predict.py [--quick] [--json FILE]

Networks take turns on the same preprocessed batch (the 2021 network on a smaller one
of its own, larger size); rates are medians. "e2cnn" is the same network, with the same
weights, made of e2cnn's own modules in evaluation mode; before timing, its logits are
compared with ours. The last lines time whole predictions, from files to probabilities.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import lensequiv
from lensequiv._e2cnn import (
    FieldType,
    GeometricTensor,
    GroupPooling,
    InnerBatchNorm,
    PointwiseAvgPoolAntialiased,
    R2Conv,
)
from lensequiv.data import read_image, sample_paths
from lensequiv.files import check_output
from lensequiv.models.layers import AntialiasedPool
from lensequiv.models.steerable import SteerableCNN
from lensequiv.plain import map_statistics

BATCH = 64  # images that go through a network at once


class OfE2cnnModules(nn.Module):
    """A zoo network rebuilt from e2cnn's modules, with its weights."""

    def __init__(self, model: SteerableCNN) -> None:
        super().__init__()
        self.contrast, self.head = model.contrast, model.head
        self.statistics = model.statistics
        kind: FieldType = model.stem.conv.in_type
        self.in_type = kind
        self.steps = nn.ModuleList()
        self.shortcuts: list[bool] = []
        for block in [model.stem, *model.blocks]:
            if isinstance(block, AntialiasedPool):
                pool = PointwiseAvgPoolAntialiased(kind, 0.66, stride=2)
                self.steps.append(nn.ModuleList([pool]))
                self.shortcuts.append(False)
                continue
            old, kind = block.conv, block.conv.out_type
            conv = R2Conv(
                old.in_type,
                kind,
                old.kernel_size,
                padding=old.padding,
                stride=old.stride,
                bias=False,
                initialize=False,
            )
            conv.load_state_dict(old.state_dict())
            norm = InnerBatchNorm(kind)
            next(iter(norm.children())).load_state_dict(block.norm.state_dict())
            self.steps.append(nn.ModuleList([conv, norm]))
            self.shortcuts.append(block.shortcut)
        self.pool = GroupPooling(kind)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits of preprocessed images."""
        field = GeometricTensor(self.contrast(x), self.in_type)
        for modules, shortcut in zip(self.steps, self.shortcuts, strict=True):
            before = field
            for module in modules:
                field = module(field)
            if shortcut:
                field = field + before
            if len(modules) == 2:
                field = GeometricTensor(torch.relu(field.tensor), field.type)
        maps = self.pool(field).tensor.flatten(2)
        return self.head(map_statistics(maps, self.statistics))


def rates(sides: dict[str, tuple[Callable[[], object], int]], repeats: int) -> dict:
    """Images per second of each side, which come in turns."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(repeats + 1):
        for name, (side, images) in sides.items():
            start = time.perf_counter()
            side()
            if i > 0:  # the first one warms up
                times[name].append(images / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def network_sides(weights: str, quick: bool) -> dict:
    """Forward passes on batches that all sides share."""
    model = lensequiv.from_pretrained(weights)
    group = weights.split("-")[0]
    rebuilt = OfE2cnnModules(model)
    study = lensequiv.create_model(f"singh2021-{group}").eval()
    resnet = lensequiv.create_model("resnet18").eval()
    images = [torch.from_numpy(read_image(p)) for p in sample_paths()]
    x = torch.stack([model.preprocess(image) for image in images])
    with torch.inference_mode():
        difference = (rebuilt(x) - model(x)).abs().max() / model(x).abs().max()
    if difference > 1e-5:
        raise RuntimeError(f"the rebuilt network differs by {difference:.1e}")
    few = torch.stack([study.preprocess(i) for i in images[: 2 if quick else 4]])
    batch = x.repeat(6, 1, 1, 1)[:BATCH]
    networks = {
        f"{group}, e2cnn modules": (rebuilt, batch),
        f"{group}, lensequiv": (model, batch),
        f"{group}, plain": (model.to_torch(), batch),
        f"{group}, plain, bf16": (model.to_torch().bfloat16_convolutions(), batch),
        f"singh2021-{group}, e2cnn modules": (study, few),
        f"singh2021-{group}, plain": (study.to_torch(), few),
        "resnet18": (resnet, batch),
        "resnet18, plain, bf16": (resnet.to_torch().bfloat16_convolutions(), batch),
    }

    def forward(network: nn.Module, x: Tensor) -> Callable[[], object]:
        def run() -> object:
            with torch.inference_mode():
                return network(x)

        return run

    return {n: (forward(net, x), len(x)) for n, (net, x) in networks.items()}


def file_sides(weights: str, folder: Path, copies: int) -> dict:
    """Whole predictions from files."""
    model = lensequiv.from_pretrained(weights)
    for i in range(copies):
        for path in sample_paths():
            np.save(folder / f"{i}-{path.name}", np.load(path))
    count = len(list(folder.iterdir()))
    precisions = ("fp32", "bf16")
    return {
        f"{weights} from .npy files, {precision}": (
            lambda precision=precision: model.predict(folder, precision=precision),
            count,
        )
        for precision in precisions
    }


def main() -> None:
    """Measures, prints a table, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 repetitions, not 7")
    parser.add_argument("--weights", default="c8-modelF@1")
    parser.add_argument("--json", type=check_output, help="file to write")
    args = parser.parse_args()
    results = rates(network_sides(args.weights, args.quick), 3 if args.quick else 7)
    with tempfile.TemporaryDirectory() as name:
        sides = file_sides(args.weights, Path(name), 10 if args.quick else 60)
        results |= rates(sides, 1 if args.quick else 3)
    group = args.weights.split("-")[0]
    first = results[f"{group}, e2cnn modules"]
    for name, rate in results.items():
        print(f"{name:36s} {rate:8.2f} images/s   {rate / first:8.4f} x")
    fast = results[f"{group}, plain"]
    print(
        f"plain / singh2021: {fast / results[f'singh2021-{group}, e2cnn modules']:.0f}"
    )
    test = lensequiv.pretrained_info(args.weights)["info"]["metrics"]["test"]
    print(
        f"{args.weights}, by its card: test AUC {test['auc_micro']:.4f}, accuracy "
        f"{test['accuracy']:.4f}; singh2021 and resnet18 have random weights here"
    )
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
