"""Checkpoints of the 2021 study to weights that `from_pretrained` reads."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lensequiv.models import LensNetwork, create_model
from lensequiv.pretrained import _study2021 as study
from lensequiv.weights._format import sha256
from lensequiv.weights._saving import save_pretrained
from lensequiv.weights._tensors import check_all_values, check_tensors
from lensequiv.weights._torch_file import read_state_dict

__all__ = ["Conversion", "convert_checkpoint"]

_RECIPES = ("modelF", "modelJ")
_UNKNOWN = (
    "training images and their seed",
    "number of epochs",
    "scores of this checkpoint",
    "licence of the weights",
)


@dataclass(frozen=True)
class Conversion:
    """What `convert_checkpoint` read, checked and wrote; `str()` of it is a report.

    Attributes:
        directory: What was written.
        info: As recorded under `converted` in the config's `info`.
        filter_difference: Between stored and recomputed filters, relative to the
            largest value of a layer; None if the file holds no filters.
    """

    directory: Path
    info: dict[str, Any]
    filter_difference: float | None

    def __str__(self) -> str:
        """A line for each check, then what could not be checked."""
        lines = [f"{self.info['file']} (sha256 {self.info['sha256']})"]
        lines += [f"  {what}" for what in self.info["checked"]]
        lines.append(f"  taken on trust: {'; '.join(self.info['taken_on_trust'])}")
        lines.append(f"  unknown: {'; '.join(self.info['unknown'])}")
        return "\n".join([*lines, f"weights in {self.directory}"])


def convert_checkpoint(
    path: str | Path,
    group: str,
    recipe: str,
    directory: str | Path,
    *,
    fields: Sequence[int] | None = None,
) -> Conversion:
    """Converts a state dict that the 2021 study's code saved under e2cnn 0.1.7.

    Nothing in the file is run: it is read with `torch.load(weights_only=True)`. Every
    tensor must have the name, shape and type of the network's; whatever follows from
    the architecture (bases, mask, pooling filters, indices) must have its values; the
    filters, if the file holds them, must be those that the weights give. The result has
    the study's preprocessing for evaluation, `lensequiv.transforms.Singh2021Eval`, and
    its order of classes.

    Args:
        path: For instance `best-model-parameters.pt`; saved in evaluation or training
            mode, on any device, by any torch, with or without `DataParallel`.
        group: `"c4"`, `"c8"`, `"d4"` or `"d8"`. It is compared with the file's.
        recipe: `"modelF"` or `"modelJ"`, the training images; no file tells.
        directory: Must not exist or be empty. It appears once it is complete.
        fields: Regular fields of the six blocks if they are not the study's.

    Returns:
        The report.

    Raises:
        FileExistsError: `directory` holds something.
        OSError: A file cannot be read or written.
        ValueError: Unknown group or recipe.
        WeightsError: The file is not such a checkpoint; the message says what it is or
            which tensor is wrong.
    """
    path, directory = Path(path), Path(directory)
    group = group.lower()
    if group not in study.GROUPS:
        known = ", ".join(study.GROUPS)
        raise ValueError(f"group {group!r}: the 2021 study had {known}")
    if recipe not in _RECIPES:
        raise ValueError(f"recipe {recipe!r}: expected {' or '.join(_RECIPES)}")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileExistsError(f"{directory} exists; expected a new or empty folder")
    checksum = sha256(path)
    model, checked, difference = _read(path, group, fields)
    info = {
        "file": path.name,
        "sha256": checksum,
        "group": group,
        "recipe": recipe,
        "checked": checked,
        "taken_on_trust": [
            f"trained on {recipe}, as said when converting",
            f"classes in the order {', '.join(model.classes)}, the study's",
        ],
        "unknown": list(_UNKNOWN),
    }
    _write(model, directory, {"converted": info})
    return Conversion(directory, info, difference)


def _read(
    path: Path, group: str, fields: Sequence[int] | None
) -> tuple[LensNetwork, list[str], float | None]:
    state, notes = read_state_dict(path)
    study.tell_apart(state, group, path)
    options = {} if fields is None else {"fields": list(fields)}
    model = create_model(f"singh2021-{group}", **options, initialize=False).train()
    learned, fixed = study.study_tensors(model)
    filters, rest = study.split_filters(state)
    check_tensors(rest, {**learned, **fixed}, path)
    check_all_values({name: rest[name] for name in learned}, path)
    fixed_difference = study.check_fixed(rest, fixed, path)
    model.load_tensors({name: rest[study.study_name(name)] for name in model.tensors()})
    model.eval()
    mode = "evaluation" if filters else "training"
    checked = [
        *notes,
        f"{len(state)} tensors, of {model.name}'s names, shapes and types; saved in "
        f"{mode} mode",
        f"{len(learned)} learned tensors: finite; variances not negative",
        f"{len(fixed)} fixed tensors (bases, mask, pooling, indices): equal to this "
        f"network's to {fixed_difference:.1e} (limit {study.FIXED_TOLERANCE:.0e})",
    ]
    if not filters:
        checked.append("no expanded filters in the file: they follow from the weights")
        return model, checked, None
    difference = study.check_filters(filters, model, path)
    checked.append(
        f"{len(filters)} expanded filters: equal to those the weights give to "
        f"{difference:.1e} (limit {study.FILTER_TOLERANCE:.0e})"
    )
    return model, checked, difference


def _write(model: LensNetwork, directory: Path, info: dict[str, Any]) -> None:
    """Writes beside the directory first: it is there complete or not at all."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(
        tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}.")
    )
    try:
        save_pretrained(model, temporary, info=info)
        temporary.chmod(0o755)
        temporary.replace(directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
