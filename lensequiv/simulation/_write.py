"""Write a simulated set: class folders of `.npy`, or one HDF5 file."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv._version import __version__
from lensequiv.files import write_atomically
from lensequiv.simulation._blocks import iter_blocks
from lensequiv.simulation._physics import check_extra
from lensequiv.simulation._rerender import Arrays
from lensequiv.simulation._simulate import checked_request, class_counts
from lensequiv.simulation.recipes import Recipe, get_recipe

__all__ = ["write_class_folders", "write_hdf5"]

_SUMS = "SHA256SUMS"
_MANIFEST = "manifest.json"
_LOCK = ".lock"


def stored_form(images: Tensor, recipe: Recipe) -> NDArray[np.float32]:
    """Images as the set's authors stored them: counts, or each scaled to [0, 1].

    Args:
        images: (N, pixels, pixels) counts.
        recipe: Its `stored` decides.

    Returns:
        (N, pixels, pixels) float32.
    """
    if recipe.stored == "minmax":
        low = images.amin((1, 2), keepdim=True)
        images = (images - low) / (images.amax((1, 2), keepdim=True) - low)
    return images.numpy()


def write_class_folders(
    recipe: str | Recipe,
    n: int,
    out: str | Path,
    *,
    seed: int,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Simulates n lenses into `out/<class>/<i>.npy`.

    Beside the class folders stand `manifest.json` (recipe, seed, versions) and
    `SHA256SUMS`, which `sha256sum -c` checks. Everything is written to a hidden folder
    beside `out`, which gets its name when all is done, so `out` is complete or absent.
    The same call goes on where a killed one ended, to the same bytes.

    Args:
        recipe: Name or recipe.
        n: Number of images over all classes.
        out: Folder to make.
        seed: From 0 to 2**32 - 1.
        workers: Threads; as many as torch uses if None.
        progress: Whether to show a progress bar.

    Returns:
        `out`.

    Raises:
        FileExistsError: `out` exists, or an unfinished set of other images is in its
            place, or another process is writing it.
        ImportError: The extra `sim` is not installed.
        ValueError: Unknown recipe, or n or seed out of range.
    """
    recipe, out = get_recipe(recipe), Path(out)
    with _unfinished(recipe, n, seed, out) as (folder, manifest):
        done = _whole_lines(folder / _SUMS)
        with (folder / _SUMS).open("a") as sums:
            for label, start, images, _ in _blocks(
                recipe, manifest, len(done), workers, progress
            ):
                name = recipe.classes[label]
                (folder / name).mkdir(exist_ok=True)
                lines = []
                for i, image in enumerate(stored_form(images, recipe), start):
                    content = io.BytesIO()
                    np.save(content, image)
                    (folder / name / f"{i}.npy").write_bytes(content.getbuffer())
                    digest = hashlib.sha256(content.getbuffer()).hexdigest()
                    lines.append(f"{digest}  {name}/{i}.npy\n")
                sums.writelines(lines)
                sums.flush()
        total = hashlib.sha256((folder / _SUMS).read_bytes()).hexdigest()
        _write_json(folder / _MANIFEST, manifest | {"checksums": {_SUMS: total}})
        (folder / _LOCK).unlink()
        folder.rename(out)
    return out


def write_hdf5(
    recipe: str | Recipe,
    n: int,
    out: str | Path,
    *,
    seed: int,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Simulates n lenses into one HDF5 file (extra `hdf5`).

    It holds `images` (n, pixels, pixels) float32, `labels` (n,) int64, the group
    `parameters` (see `Simulation.parameters`), and the attributes `classes` and
    `manifest` (JSON: recipe, seed, versions and the sha256 of each data set's bytes).
    The file is complete or absent, and the same call goes on where a killed one ended,
    to the same bytes; until then the parts wait in a hidden folder beside it and need
    as much space again.

    Args:
        recipe: Name or recipe.
        n: Number of images over all classes.
        out: File to make.
        seed: From 0 to 2**32 - 1.
        workers: Threads; as many as torch uses if None.
        progress: Whether to show a progress bar.

    Returns:
        `out`.

    Raises:
        FileExistsError: `out` exists, or an unfinished set of other images is in its
            place, or another process is writing it.
        ImportError: h5py or the extra `sim` is not installed.
        ValueError: Unknown recipe, or n or seed out of range.
    """
    try:
        import h5py  # noqa: F401 (before hours of work, not after)
    except ImportError as error:
        raise ImportError(
            "writing HDF5 needs h5py: pip install 'lensequiv[hdf5]'"
        ) from error

    recipe, out = get_recipe(recipe), Path(out)
    with _unfinished(recipe, n, seed, out) as (folder, manifest):
        parts = sorted(folder.glob("*.npz"))
        done = sum(int(part.stem.split("-")[1]) for part in parts)
        for label, start, images, parameters in _blocks(
            recipe, manifest, done, workers, progress
        ):
            position = sum(class_counts(recipe, n)[:label]) + start
            temporary = folder / "part.tmp"
            with temporary.open("wb") as stream:
                arrays: dict[str, Any] = {
                    "images": stored_form(images, recipe),
                    "labels": np.full(len(images), label),
                    **parameters,
                }
                np.savez(stream, **arrays)
            temporary.rename(folder / f"{position:010d}-{len(images)}.npz")
        _join(folder, manifest)
        (folder / "joined.h5").rename(out)
        shutil.rmtree(folder)
    return out


def _join(folder: Path, manifest: dict[str, Any]) -> None:
    """Makes `joined.h5` of the parts in a folder."""
    import h5py

    parts = sorted(folder.glob("*.npz"))
    shapes: dict[str, tuple[int, ...]] = {}
    types: dict[str, np.dtype[Any]] = {}
    for part in parts:
        with np.load(part) as arrays:
            for name, array in arrays.items():
                widest = np.maximum(shapes.get(name, array.shape), array.shape)
                shapes[name] = (manifest["images"], *widest[1:].tolist())
                types[name] = array.dtype
    with h5py.File(folder / "joined.h5", "w") as file:
        digests = {}
        for name, shape in shapes.items():
            place = name if name in ("images", "labels") else f"parameters/{name}"
            data = file.create_dataset(place, shape, types[name])
            digest, position = hashlib.sha256(), 0
            for part in parts:
                with np.load(part) as arrays:
                    array = arrays[name]
                pad = [
                    (0, 0),
                    *(
                        (0, w - a)
                        for w, a in zip(shape[1:], array.shape[1:], strict=True)
                    ),
                ]
                array = np.pad(array, pad)
                data[position : position + len(array)] = array
                digest.update(array.tobytes())
                position += len(array)
            digests[place] = digest.hexdigest()
        file.attrs["classes"] = list(manifest["recipe"]["substructure"])
        file.attrs["manifest"] = json.dumps(manifest | {"checksums": digests})


def _blocks(
    recipe: Recipe,
    manifest: dict[str, Any],
    done: int,
    workers: int | None,
    progress: bool,
) -> Iterator[tuple[int, int, Tensor, Arrays]]:
    """Label, first index, images and parameters, without the first `done` images."""
    from tqdm.auto import tqdm

    n, seed = manifest["images"], manifest["seed"]
    with tqdm(
        total=n, initial=done, desc=recipe.name, unit="img", disable=not progress
    ) as bar:
        for label, count in enumerate(class_counts(recipe, n)):
            start, done = min(done, count), max(done - count, 0)
            for first, images, parameters in iter_blocks(
                recipe, label, count, seed=seed, start=start, workers=workers
            ):
                yield label, first, images, parameters
                bar.update(len(images))


@contextmanager
def _unfinished(
    recipe: Recipe, n: int, seed: int, out: Path
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The hidden folder in which a set grows, and the manifest in it.

    Raises:
        FileExistsError: See `write_class_folders`.
        ValueError: n or seed is out of range.
    """
    from filelock import FileLock, Timeout

    n, seed = checked_request(n, seed, at_least=len(recipe.classes))
    check_extra()
    manifest = {
        "recipe": recipe.describe(),
        "images": n,
        "seed": seed,
        "versions": {
            "lensequiv": __version__,
            "numpy": np.__version__,
            "torch": str(torch.__version__),
        },
    }
    # As it will be read back: tuples become lists.
    manifest = json.loads(json.dumps(manifest))
    folder = out.parent / f".{out.name}.unfinished"
    if out.exists() or out.is_symlink():
        raise FileExistsError(f"{out} exists: choose a new name, or remove it first")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        with lock:
            if (folder / _MANIFEST).exists():
                found = json.loads((folder / _MANIFEST).read_text())
                found.pop("checksums", None)
                if found != manifest:
                    different = [k for k in manifest if found.get(k) != manifest[k]]
                    raise FileExistsError(
                        f"{folder} holds an unfinished set with another "
                        f"{', '.join(different)}: repeat that call to finish it, or "
                        "remove the folder"
                    )
            else:
                _write_json(folder / _MANIFEST, manifest)
            yield folder, manifest
    except Timeout as error:
        raise FileExistsError(f"another process is writing {out}") from error


def _whole_lines(path: Path) -> list[str]:
    """Lines of a file, after cutting off one that was not finished."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        with path.open("r+") as stream:
            stream.truncate(len(whole))
    return whole.splitlines()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
