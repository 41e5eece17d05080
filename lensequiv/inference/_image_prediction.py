"""What a model says of one image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from torch import Tensor

from lensequiv.inference._columns import written_path
from lensequiv.inference._map import SubstructureMap
from lensequiv.inference._quantities import Measured

__all__ = ["ImagePrediction", "as_html", "equal"]


@dataclass(frozen=True, eq=False, repr=False)
class ImagePrediction:
    """What a model says about one image: an element of a `Prediction`.

    Attributes:
        label: The likeliest class's name.
        probabilities: (classes,) float32 on the CPU, adding up to 1.
        logits: (classes,) float32 on the CPU, as the network returns them.
        path: Where the image came from, or None for arrays.
        classes: Class names in the order of the probabilities.
        notes: In what respects it is unlike the training images; empty if in none.
        ood_score: Distance from the training images; None if the model has no
            `domain`.
        map: Where its substructure is; None if no maps were asked for.
        quantities: What was measured of it, by name; None if none were asked for.
    """

    label: str
    probabilities: Tensor
    logits: Tensor
    path: str | None
    classes: tuple[str, ...]
    notes: list[str]
    ood_score: float | None = None
    map: SubstructureMap | None = None
    quantities: dict[str, Measured] | None = None

    @property
    def probability(self) -> float:
        """Of the label."""
        return float(self.probabilities[self.classes.index(self.label)])

    @property
    def unlike_training(self) -> bool:
        """Whether there is a note, so that the label may mean nothing."""
        return bool(self.notes)

    def __eq__(self, other: object) -> bool:
        """Whether everything is equal, numbers to the last bit."""
        if not isinstance(other, ImagePrediction):
            return NotImplemented
        return equal(self, other)

    def __hash__(self) -> int:
        """Equal for what is equal."""
        return hash((self.label, self.path, self.classes, self.ood_score))

    def __repr__(self) -> str:
        """Path, label and its probability, and what is to be known."""
        where = "" if self.path is None else f"{self.path}: "
        unlike = "; unlike training" if self.unlike_training else ""
        return f"ImagePrediction({where}{self.label} {self.probability:.4f}{unlike})"

    def _repr_html_(self) -> str:
        return as_html(repr(self), self.classes, [self])


def as_html(
    heading: str, classes: Sequence[str], images: Iterable[ImagePrediction]
) -> str:
    """As notebooks show images: a heading, and a table with a row for each.

    Args:
        heading: What stands above the table.
        classes: Class names in the order of the columns.
        images: What is said of each.
    """
    columns = ["", "label", *classes, "score", "unlike training"]
    lines = [f"<p>{escape(heading)}</p><table><thead><tr>"]
    lines += [f"<th>{escape(cell)}</th>" for cell in columns]
    lines.append("</tr></thead><tbody>")
    for i, one in enumerate(images):
        name = f"x[{i}]" if one.path is None else written_path(one.path)
        score = "" if one.ood_score is None else f"{one.ood_score:.3g}"
        cells = [name, one.label, *(f"{p:.4f}" for p in one.probabilities.tolist())]
        cells += [score, "; ".join(one.notes)]
        row = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        lines.append(f"<tr>{row}</tr>")
    lines.append("</tbody></table>")
    return "".join(lines)


def equal(a: Any, b: Any) -> bool:
    """Whether two of the same class have equal attributes."""
    for name in a.__dataclass_fields__:
        x, y = getattr(a, name), getattr(b, name)
        if isinstance(x, Tensor) and isinstance(y, Tensor):
            if not torch.equal(x, y):
                return False
        elif isinstance(x, Tensor) or isinstance(y, Tensor) or x != y:
            return False
    return True
