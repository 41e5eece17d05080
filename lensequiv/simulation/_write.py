"""Write a simulated set as the class folders that `lensequiv.data` reads."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import lensequiv
from lensequiv.simulation._simulate import (
    checked_request,
    class_counts,
    iter_blocks,
)
from lensequiv.simulation.recipes import Recipe, get_recipe

__all__ = ["write_class_folders"]


def stored_form(images: Tensor, recipe: Recipe) -> Tensor:
    """Images as the set's authors stored them: counts, or each scaled to [0, 1].

    Args:
        images: (N, pixels, pixels) counts.
        recipe: Its `stored` decides.

    Returns:
        (N, pixels, pixels) float32.
    """
    if recipe.stored == "counts":
        return images
    low = images.amin((1, 2), keepdim=True)
    return (images - low) / (images.amax((1, 2), keepdim=True) - low)


def write_class_folders(
    recipe: str | Recipe,
    n: int,
    out: str | Path,
    *,
    seed: int,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Simulates n lenses into `out/<class>/<i>.npy`, with a `manifest.json`.

    Everything is written to a folder beside `out`, which gets its name when all is
    done: `out` is either complete or absent.

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
        FileExistsError: `out` exists.
        ValueError: Unknown recipe, or n or seed out of range.
    """
    recipe, out = get_recipe(recipe), Path(out)
    n, seed = checked_request(n, seed, at_least=len(recipe.classes))
    if out.exists() or out.is_symlink():
        raise FileExistsError(f"{out} exists: name a new folder, or remove it first")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        _fill(partial, recipe, n, seed, workers, progress)
        partial.chmod(0o755)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return out


def _fill(
    folder: Path,
    recipe: Recipe,
    n: int,
    seed: int,
    workers: int | None,
    progress: bool,
) -> None:
    from tqdm.auto import tqdm

    with tqdm(total=n, desc=recipe.name, unit="img", disable=not progress) as bar:
        for label, count in enumerate(class_counts(recipe, n)):
            class_folder = folder / recipe.classes[label]
            class_folder.mkdir()
            blocks = iter_blocks(recipe, label, count, seed=seed, workers=workers)
            for start, images, _ in blocks:
                for i, image in enumerate(stored_form(images, recipe).numpy(), start):
                    np.save(class_folder / f"{i}.npy", image)
                bar.update(len(images))
    manifest = {
        "recipe": asdict(recipe),
        "images": n,
        "seed": seed,
        "versions": {
            "lensequiv": lensequiv.__version__,
            "numpy": np.__version__,
            "torch": torch.__version__,
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
