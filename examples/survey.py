"""Classify a survey's cut-outs on many cores or machines, with Ray Data.

    pip install 'lensequiv[ray]'
    python examples/survey.py cutouts/ --weights c8-modelF --out result

Takes image files and folders of them, or Parquet files (and folders of them) with a
column of images and a column of names. The input is cut into chunks. Actors, which
hold the network in its plain form, take one after the other, classify its images and
write their rows, those of `lensequiv.predict_to_file`, to `OUT/part-*.parquet`.

A killed worker is replaced and its chunk repeated. A killed run goes on when the same
command is given again. For many machines see docs/survey.md; it is one file, since Ray
sends the actors of a script to machines that have no copy of it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset
import pyarrow.parquet
import ray
import torch
from ray.data import ActorPoolStrategy, DataContext
from tqdm.auto import tqdm

import lensequiv
from lensequiv.data.parquet import count_cutouts, read_cutouts
from lensequiv.files import write_atomically
from lensequiv.inference import (
    Loaded,
    Options,
    PixelScales,
    Source,
    batches,
    network_of,
    parquet_schema,
    record_request,
    request_of,
    resolve_device,
    resolve_paths,
    rows_of,
    source_of,
)
from lensequiv.models import LensNetwork

DEFAULTS: dict[str, Any] = {
    "batch_size": 64,
    "precision": "fp32",
    "plane": None,
    "hdu": None,
    "pixel_scale": None,
    "resample": False,
    "device": "cpu",
    "image": "image",
    "name": "id",
}
ATTEMPTS = 4  # of a chunk whose worker dies, before the run ends


class Classifier:
    """An actor: makes the plain form once, then classifies chunk after chunk.

    Args:
        model: Reference to the `LensNetwork` in the object store, of which every node
            keeps one copy; in a list, since Ray replaces bare references.
        out: Folder of the parts.
        cpus: Cores that the actor has.
        options: `batch_size`, `precision`, `plane`, `hdu`, `pixel_scale`, `resample`,
            `device`, `image`, `name`; see `survey`.
    """

    def __init__(
        self, model: list[Any], out: Path, cpus: int, options: dict[str, Any]
    ) -> None:
        torch.set_num_threads(cpus)
        self.model: LensNetwork = ray.get(model[0])
        # Of the GPUs of a node Ray shows an actor its own alone.
        device = resolve_device(options["device"])
        self.network = network_of(self.model, options["precision"], device)
        self.out, self.options = out, options

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Classifies one chunk; returns how many images it has."""
        chunk = json.loads(rows["chunk"][0])
        part = self.out / chunk["part"]
        # An image that kills its worker must not do so for ever.
        attempts = self.out / f".{part.name}.attempts"
        with attempts.open("a") as file:
            file.write("x")
        if attempts.stat().st_size > ATTEMPTS:
            raise RuntimeError(f"{ATTEMPTS} workers died of the same chunk: {chunk}")
        found: list[dict[str, Any]] = []
        names = ("batch_size", "precision", "pixel_scale", "resample")
        how = Options(on_error="skip", **{name: self.options[name] for name in names})
        for batch in batches(self.model, self.source(chunk), how, network=self.network):
            found += rows_of(batch, self.model.classes)
        content = io.BytesIO()
        table = pyarrow.Table.from_pylist(found, parquet_schema(self.model.classes))
        pyarrow.parquet.write_table(table, content)
        write_atomically(part, content.getvalue())
        attempts.unlink(missing_ok=True)
        return {"images": np.array([len(found)])}

    def source(self, chunk: dict[str, Any]) -> Source:
        """The chunk's images, by name."""
        if "paths" in chunk:
            which = self.options["plane"], self.options["hdu"]
            return source_of(chunk["paths"], *which)
        columns = {key: self.options[key] for key in ("image", "name")}
        rows = read_cutouts(chunk["file"], chunk["start"], chunk["stop"], **columns)
        return Source(rows.names, lambda i: Loaded(torch.from_numpy(rows.read(i))))


def cut(
    inputs: Sequence[str | Path], size: int, image: str, name: str
) -> list[dict[str, Any]]:
    """Cuts the input into chunks, the same in every run.

    Args:
        inputs: See `survey`.
        size: Images in a chunk; fewer in the last one of the input or a Parquet file.
        image: See `survey`.
        name: See `survey`.

    Returns:
        For each chunk its `part` (the file to write), its number of `images`, and
        either their `paths` or `file`, `start` and `stop`.
    """
    given = [Path(path).absolute() for path in inputs]
    found = [
        list(path.rglob("*.parquet")) if path.is_dir() else [path] for path in given
    ]
    tables = [p for some in found for p in sorted(some) if p.suffix == ".parquet"]
    if tables and len(tables) != sum(max(1, len(some)) for some in found):
        raise ValueError("Parquet files beside other input: give one or the other")
    chunks: list[dict[str, Any]] = []
    for table in tables:
        rows = count_cutouts(table, image, name)
        for i in range(0, rows, size):
            j = min(i + size, rows)
            chunks.append({"file": str(table), "start": i, "stop": j, "images": j - i})
    if not tables:
        paths = resolve_paths(given)
        parts = [paths[i : i + size] for i in range(0, len(paths), size)]
        chunks = [{"paths": part, "images": len(part)} for part in parts]
    if not chunks:
        raise ValueError("the input holds no images")
    return [{"part": f"part-{i:07d}.parquet", **c} for i, c in enumerate(chunks)]


def survey(
    model: LensNetwork,
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    actors: int | None = None,
    cpus: int = 1,
    gpus: float | None = None,
    chunk: int = 1024,
    progress: bool = False,
    **options: Any,
) -> Path:
    """Classifies the input on the Ray cluster this process is connected to.

    Args:
        model: Any lensequiv model.
        inputs: Image files and folders, or Parquet files and folders of them.
        out: Folder for the parts, which all nodes see; see the module.
        actors: How many; as many as the cluster has cores and GPUs for if None.
        cpus: Cores for each.
        gpus: GPUs for each, also a share of one, 0.5 for two actors on each; if None
            one where `device` is that of a GPU, else none.
        chunk: Images that are written together, a multiple of the batch size.
        progress: Whether to show a progress bar.
        options: `batch_size` (64), `precision` ("fp32"), `device` ("cpu"), `plane`
            and `hdu` (None), `pixel_scale` (None, arcsec/pixel) and `resample` (False)
            as for `lensequiv.predict`; for Parquet the columns `image` and `name`
            ("id").

    Returns:
        `out`, with its parts in the order of the input and `_manifest.json`.

    Raises:
        FileExistsError: `out` holds something else, or parts made from other images,
            weights or options.
        FileNotFoundError: A path does not exist.
        ImageError: A folder holds no images, or a Parquet file not these columns.
        ValueError: A number is out of range, `out` is in the input, or kinds are mixed.
    """
    options = {**DEFAULTS, **options}
    if unknown := sorted(set(options) - set(DEFAULTS)):
        raise ValueError(f"unknown option {unknown[0]!r}; known: {', '.join(DEFAULTS)}")
    size, out = options["batch_size"], Path(out).absolute()
    if min(size, chunk) < 1 or chunk % size:
        raise ValueError(f"chunk={chunk}: expected a multiple of batch_size={size}")
    if any(out.is_relative_to(Path(path).absolute()) for path in inputs):
        raise ValueError(f"{out} is within the input: choose another place")
    options["device"], gpus = _placed(options["device"], gpus)
    chunks = cut(inputs, chunk, options["image"], options["name"])
    # Refused here, not by every actor: what can be told without reading an image.
    headers = any("paths" in item for item in chunks)
    PixelScales.of(model, options["pixel_scale"], options["resample"], headers=headers)
    listed = [json.dumps(item) for item in chunks]
    _claim(out, model, {"chunk": chunk, **options}, listed)
    done = {path.name for path in out.glob("part-*.parquet")}
    todo = [i for i, item in enumerate(chunks) if item["part"] not in done]
    total = sum(item["images"] for item in chunks)
    rest = sum(chunks[i]["images"] for i in todo)
    bar = tqdm(total=total, initial=total - rest, unit="img", disable=not progress)
    DataContext.get_current().enable_progress_bars = False
    if todo:
        stored = ray.put(model)  # held by this name: an actor may have to be restarted
        results = ray.data.from_items(
            [{"chunk": listed[i]} for i in todo], override_num_blocks=len(todo)
        ).map_batches(
            Classifier,
            batch_size=1,  # one chunk
            fn_constructor_args=([stored], out, cpus, options),
            # One chunk at work and one waiting. By default Ray Data replaces a dead
            # actor and repeats its chunks, as often as it takes.
            compute=ActorPoolStrategy(
                size=min(actors or _actors(cpus, gpus), len(todo)),
                max_tasks_in_flight_per_actor=2,
            ),
            num_cpus=cpus,
            num_gpus=gpus,
        )
        for result in results.iter_batches(batch_size=None):
            bar.update(int(result["images"].sum()))
    bar.close()
    finish(out, [item["part"] for item in chunks], total)
    return out


def _claim(
    out: Path, model: LensNetwork, options: dict[str, Any], chunks: list[str]
) -> None:
    """Makes the folder of the parts, or finds the unfinished one of the same call.

    Raises:
        FileExistsError: It holds something else, or parts of another call.
    """
    record = out / "_request.json"  # readers of Parquet folders leave out _*
    if out.exists() and not record.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty: choose a new name")
    images = hashlib.sha256("\0".join(chunks).encode()).hexdigest()
    recorded = {k: v for k, v in options.items() if k != "device"}
    request = request_of(model, {"images": images, **recorded})
    record_request(record, out, request, "choose a new name")
    # Attempts and half-written parts of killed workers.
    for path in out.glob(".part-*"):
        path.unlink(missing_ok=True)


def _placed(device: str, gpus: float | None) -> tuple[str, float]:
    """Device and GPUs of each actor.

    Raises:
        ValueError: The cluster has too few GPUs, or they do not go with the device.
    """
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise ValueError(
            f"device={device!r}: expected 'auto', 'cpu', 'mps' or 'cuda', of which Ray "
            "chooses the number"
        )
    if gpus is None and device != "auto":
        gpus = float(device == "cuda")
    if gpus is not None and not 0 <= gpus < float("inf"):
        raise ValueError(f"gpus={gpus}: expected a number from 0")
    if device != "auto" and (device == "cuda") != bool(gpus):
        raise ValueError(f"gpus={gpus:g} do not go with device={device!r}")
    if gpus == 0:
        return device.replace("auto", "cpu"), 0.0
    there = ray.cluster_resources().get("GPU", 0.0)
    if gpus is None:
        return ("cuda", 1.0) if there else ("cpu", 0.0)
    if gpus > there:
        raise ValueError(f"gpus={gpus:g} for each actor, but the cluster has {there:g}")
    return "cuda", gpus


def _actors(cpus: int, gpus: float) -> int:
    """As many as the cluster has cores and GPUs for."""
    there = ray.cluster_resources()
    count = int(there["CPU"]) // cpus
    if gpus:
        count = min(count, int(there["GPU"] / gpus))
    return max(1, count)


def finish(out: Path, parts: list[str], total: int) -> None:
    """Counts the rows of all parts, then writes `_manifest.json`."""
    rows = pyarrow.dataset.dataset([str(out / part) for part in parts])
    if (found := rows.count_rows()) != total:
        raise RuntimeError(f"{out} holds {found} rows; expected {total}")
    bad = rows.count_rows(filter=pyarrow.dataset.field("error").is_valid())
    manifest = {"images": total, "errors": bad, "parts": parts}
    write_atomically(out / "_manifest.json", json.dumps(manifest, indent=1).encode())


def main() -> None:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("inputs", nargs="+", metavar="PATH")
    p.add_argument("--weights", required=True, help="name or folder")
    p.add_argument("--out", required=True, type=Path, help="folder to make")
    p.add_argument("--address", default="local", help="of a Ray cluster, or auto")
    p.add_argument("--actors", type=int, help="default: as many as there are cores for")
    p.add_argument("--cpus", type=int, default=1, help="cores for each actor")
    p.add_argument("--batch-size", type=int, default=64)
    p.add_argument("--chunk", type=int, default=1024, help="images written together")
    p.add_argument("--precision", choices=("fp32", "tf32", "bf16"), default="fp32")
    p.add_argument("--device", default="auto", help="cpu, cuda or auto (default)")
    p.add_argument("--gpus", type=float, help="for each actor, also 0.5 (default: 1)")
    p.add_argument("--plane", help="which image, where files have several: its name")
    p.add_argument("--hdu", help="the same, for FITS files alone")
    p.add_argument("--pixel-scale", type=float, help="of the images, arcsec/pixel")
    p.add_argument("--resample", action="store_true", help="to the weights' scale")
    p.add_argument("--image", default="image", help="Parquet column of images")
    p.add_argument("--name", default="id", help="Parquet column of names")
    options = vars(p.parse_args())
    model = lensequiv.from_pretrained(options.pop("weights"))
    ray.init(address=options.pop("address"), include_dashboard=False)
    out = survey(model, options.pop("inputs"), progress=True, **options)
    print(f"written to {out}")


if __name__ == "__main__":
    main()
