"""Images a second on a GPU, in training and predicting, and the memory they take.

    python benchmarks/gpu.py [--device auto] [--quick] [--minutes 2] [--json FILE]
    python benchmarks/gpu.py --profile [--model c8] [--batch-size 1024] [--json FILE]

A training step is forward, backward and fused AdamW on images in memory. Rates are
medians; the memory is the most that was allocated, weights and optimiser included. What
matters most comes first, and what is not begun within the minutes is left out; a
configuration that runs out of memory, does not compile or takes too long is skipped,
and the table says why. `--device cpu --quick` runs anywhere.

Launches: `eager`; `graphs`: forward and backward as CUDA graphs
(`torch.cuda.make_graphed_callables`); `one graph`: the whole step as one; `compile`:
`torch.compile`, by itself or with the step as one graph. Memory formats: `NCHW`, and
`NHWC` (`channels_last`).
"""

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from device_timing import Clock, Side, at_most, describe, find_device, precision
from gpu_profile import profile
from torch import Tensor, nn

import lensequiv
from lensequiv.data import read_image, sample_paths
from lensequiv.files import check_output
from lensequiv.simulation import LensStream

NEWER = "c8 newer"  # finer stem, GELU, isotropic kernels
COMPILED = "compile, one graph"
OPTIONS = {
    NEWER: {"stem_stride": 2, "activation": "gelu", "isotropic": True},
}


@dataclass(frozen=True)
class Case:
    """What is measured.

    `task` is `train`, `predict` (the plain form, from memory), `files` (from files to
    probabilities) or `simulate` (`model` is then a recipe, `batch` a chunk of a
    `LensStream`).
    """

    task: str
    model: str
    batch: int
    precision: str = "bf16"
    launch: str = "eager"
    memory: str = "NCHW"


def cases(quick: bool) -> list[Case]:
    """All that is measured on an accelerator.

    First comes what no GPU has measured yet: predicting, and other networks than `c8`.
    """
    if quick:
        return [
            Case("train", "c8", 4),
            Case("train", "c8", 4, memory="NHWC"),
            Case("train", NEWER, 4, "fp32"),
            Case("predict", "c8", 4, "fp32"),
            Case("predict", "c8", 4),
            Case("files", "c8-modelF", 4),
            Case("simulate", "modelF", 24, "fp32"),
        ]
    training = [
        Case("train", "c8", n, launch=how)
        for n in (256, 1024)
        for how in ("eager", "graphs", "one graph")
    ]
    training += [
        Case("train", "c8", 1024, memory="NHWC"),
        Case("train", "c8", 1024, launch="one graph", memory="NHWC"),
        Case("train", NEWER, 1024),
        Case("train", NEWER, 1024, launch="one graph"),
    ]
    predicting = [
        Case("predict", "c8", 1024, how, memory=memory)
        for how in ("fp32", "tf32", "bf16")
        for memory in ("NCHW", "NHWC")
    ]
    files = [Case("files", "c8-modelF", 1024, how) for how in ("fp32", "bf16")]
    newer = [
        Case("train", NEWER, n, launch="one graph", memory="NHWC") for n in (256, 1024)
    ]
    others = [
        case
        for model, batch in (("d8", 1024), ("resnet18", 1024), ("singh2021-c8", 64))
        for case in (
            Case("train", model, batch),
            Case("train", model, batch, launch="one graph"),
            Case("train", model, batch, memory="NHWC"),
            Case("predict", model, batch),
            Case("predict", model, batch, "tf32"),
        )
    ]
    return [
        *predicting,
        *files,
        *newer,
        *others,
        *training,
        *(Case("train", "c8", 1024, how) for how in ("tf32", "fp32")),
        *(Case("predict", model, 1024, "fp32") for model in ("d8", "resnet18")),
        Case("predict", NEWER, 1024),
        Case("predict", "c8", 1024, launch="compile"),
        Case("predict", "c8", 1024, launch="compile", memory="NHWC"),
        Case("train", "c8", 1024, launch=COMPILED),
        *(Case("simulate", recipe, 3072, "fp32") for recipe in ("modelF", "modelJ")),
        *(Case("predict", "c8", n) for n in (64, 256, 4096)),
        *(Case("train", "c8", n, launch="one graph") for n in (64, 4096)),
        Case("train", NEWER, 1024, launch=COMPILED),
        Case("train", "c8", 1024, launch="compile"),
        Case("train", "singh2021-c8", 256),
        Case("predict", "singh2021-c8", 256),
    ]


def on_processor(quick: bool) -> list[Case]:
    """What the same machine's processor is asked, beside an accelerator."""
    if quick:
        return []
    return [
        *(Case("train", "c8", 64, how) for how in ("bf16", "fp32")),
        *(Case("predict", "c8", 256, how) for how in ("bf16", "fp32")),
        *(Case(task, "resnet18", 64) for task in ("train", "predict")),
        Case("files", "c8-modelF", 256, "fp32"),
        Case("predict", "singh2021-c8", 2),
    ]


def build(name: str, device: torch.device) -> nn.Module:
    """An untrained network on the device."""
    options = OPTIONS.get(name, {})
    return lensequiv.create_model(name.split()[0], **options).to(device)


def batch_for(case: Case, device: torch.device) -> Tensor:
    """Preprocessed images in memory."""
    side = 129 if case.model.startswith("singh2021") else 97
    x = torch.rand(case.batch, 1, side, side, device=device)
    return x.to(memory_format=formats(case))


def formats(case: Case) -> torch.memory_format:
    """How the maps of a case lie in memory."""
    wide = case.memory == "NHWC"
    return torch.channels_last if wide else torch.contiguous_format


def training_step(case: Case, device: torch.device) -> Side:
    """Forward, backward and optimiser, launched as the case says."""
    model = build(case.model, device).train()
    model.to(memory_format=formats(case))
    x = batch_for(case, device)
    labels = torch.arange(case.batch, device=device) % 3
    one_graph = case.launch.endswith("one graph")
    optimizer = torch.optim.AdamW(
        model.parameters(), fused=device.type != "mps", capturable=one_graph
    )
    network: Callable[[Tensor], Tensor] = model
    if case.launch.startswith("compile"):
        network = torch.compile(model, dynamic=False)
    elif case.launch == "graphs":
        with precision(case.precision, device):
            network = torch.cuda.make_graphed_callables(model, (x,))

    def step() -> None:
        optimizer.zero_grad()
        with precision(case.precision, device):
            logits = network(x)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    return captured(step, device) if one_graph else step


def captured(step: Side, device: torch.device) -> Side:
    """A step as one CUDA graph."""
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def prediction(case: Case, device: torch.device) -> Side:
    """The plain form on a batch in memory; bf16 in its convolutions alone."""
    plain = build(case.model, device).eval().to_torch()
    if case.precision == "bf16":
        plain.bfloat16_convolutions()
    network = plain.to(memory_format=formats(case))
    if case.launch == "compile":
        network = torch.compile(plain, dynamic=False)
    x = batch_for(case, device)
    tf32 = "fp32" if case.precision == "fp32" else "tf32"

    def step() -> None:
        with torch.inference_mode(), precision(tf32, device):
            network(x)

    return step


def images_a_second(case: Case, device: torch.device, clock: Clock) -> float:
    """What the case asks for."""
    if case.task == "files":
        return from_files(case, device, clock)
    if case.task == "simulate":
        stream = LensStream(case.model, seed=1, chunk=case.batch, device=device)
        with closing(stream.chunks()) as chunks:
            return case.batch / clock.median(lambda: next(chunks))
    make = training_step if case.task == "train" else prediction
    return case.batch / clock.median(make(case, device))


def from_files(case: Case, device: torch.device, clock: Clock) -> float:
    """From `.npy` files to probabilities and scores, of a bundled network."""
    model = lensequiv.from_pretrained(case.model).to(device)
    images = [read_image(path)[0] for path in sample_paths("modelF")]
    count = 4 * case.batch
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.npy" for i in range(count)]
        for i, path in enumerate(paths):
            np.save(path, images[i % len(images)])

        def run(chosen: list[Path] = paths) -> None:
            model.predict(
                chosen,
                batch_size=case.batch,
                precision="bf16" if case.precision == "bf16" else "fp32",
            )

        run(paths[: case.batch])  # whatever happens at a first use
        return count / clock.once(run)


def measured(case: Case, device: torch.device, clock: Clock, seconds: float) -> dict:
    """A row of the table; with `skipped`, the reason, in place of a rate."""
    row: dict[str, object] = {"device": device.type, **asdict(case)}
    try:
        with at_most(seconds), clock.peak() as memory:
            row["images/s"] = images_a_second(case, device, clock)
        row |= memory
    except Exception as error:  # one configuration must not end the others
        reason = str(error).strip().partition("\n")[0]
        row["skipped"] = f"{type(error).__name__}: {reason}"[:150]
    torch._dynamo.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return row


def show(row: dict) -> None:
    """A line of the table."""
    found = (
        f"skipped: {row['skipped']}"
        if "skipped" in row
        else (
            f"{row['images/s']:10,.0f}"
            + (f"  {row['GiB']:6.2f}" if "GiB" in row else "")
        )
    )
    print(
        f"{row['device']:5s} {row['task']:8s} {row['model']:13s} {row['batch']:5d} "
        f"{row['precision']:5s} {row['launch']:18s} {row['memory']:5s} {found}",
        flush=True,
    )


def main() -> None:
    """Measures, prints the table as it grows, writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:N, mps, cpu")
    parser.add_argument("--quick", action="store_true", help="few and small batches")
    parser.add_argument("--minutes", type=float, default=2.0, help="begin none later")
    parser.add_argument(
        "--profile", action="store_true", help="where a step's time goes"
    )
    parser.add_argument("--model", default="c8", help="of the profile")
    parser.add_argument("--batch-size", type=int, default=1024, help="of the profile")
    parser.add_argument("--json", type=check_output, help="file to write")
    args = parser.parse_args()
    device = find_device(args.device)
    print(describe(device), flush=True)
    results: dict[str, object] = {"device": describe(device)}
    if args.profile:
        batch = 8 if args.quick else args.batch_size
        case = Case("train", args.model, batch)
        results |= profile(
            build(case.model, device), batch_for(case, device), args.quick
        )
    else:
        results["processor"] = describe(torch.device("cpu"))
        results["rows"] = table(
            device, args.quick, time.monotonic() + 60 * args.minutes
        )
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


def table(device: torch.device, quick: bool, end: float) -> list[dict]:
    """All rows that can be begun before `end`, the processor's before the least."""
    print(
        f"{'':5s} {'':8s} {'network':13s} batch {'':5s} {'launch':18s} {'':5s} "
        f"{'images/s':>10s}  {'GiB':>6s}"
    )
    wanted = [(case, device) for case in cases(quick)]
    if device.type != "cpu":
        processor = torch.device("cpu")
        wanted[20:20] = [(case, processor) for case in on_processor(quick)]
    rows = []
    for case, place in wanted:
        left = end - time.monotonic()
        if left <= 0:
            row = {"device": place.type, **asdict(case), "skipped": "no time left"}
        else:
            few = quick or place.type == "cpu"
            clock = Clock(place, most=3) if few else Clock(place)
            row = measured(case, place, clock, min(60.0, left + 10))
        rows.append(row)
        show(row)
    return rows


if __name__ == "__main__":
    main()
