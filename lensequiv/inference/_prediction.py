"""What a model says of many images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor

from lensequiv.inference._columns import class_columns, written_path
from lensequiv.inference._frames import as_pandas, as_table
from lensequiv.inference._image_prediction import ImagePrediction, as_html, equal
from lensequiv.inference._map import SubstructureMap
from lensequiv.inference._positions import positions
from lensequiv.inference._quantities import Quantities, joined

if TYPE_CHECKING:
    import pandas as pd
    from astropy.table import QTable

__all__ = ["Prediction"]

_SHOWN_CLASSES = 6  # in a repr
_SHOWN_ROWS = 20  # in a notebook


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What a model says about N images.

    An index gives an `ImagePrediction`; a slice, a mask or a list of positions gives
    a `Prediction` of those images; iteration gives one `ImagePrediction` after the
    other. Two are equal (`==`, a bool) if all of their contents are, numbers to the
    last bit.

    Attributes:
        probabilities: (N, classes) float32 on the CPU; rows add up to 1. The softmax
            of the logits over the model's temperature.
        logits: (N, classes) float32 on the CPU, as the network returns them.
        labels: The likeliest class's name, for each image.
        paths: Where each image came from, or None for arrays. Images of a file that
            holds many are named by their index, as in `set.h5[17]`.
        classes: Class names in the order of the columns.
        notes: For each image, in what respects it is unlike the training images;
            empty where none was found.
        ood_score: (N,) float32 on the CPU, the distance from the training images
            (see `lensequiv.trust.Domain`); infinite for an image too far away for
            float32; None if the model has no `domain`.
        maps: Where the substructure of each image is; None unless `predict` was called
            with `maps=True`.
        quantities: What was measured of the lenses, with intervals; None unless
            `predict` was called with `quantities=True`.
    """

    probabilities: Tensor
    logits: Tensor
    labels: list[str]
    paths: list[str] | None
    classes: tuple[str, ...]
    notes: list[list[str]]
    ood_score: Tensor | None = None
    maps: list[SubstructureMap] | None = None
    quantities: Quantities | None = None

    @property
    def unlike_training(self) -> Tensor:
        """(N,) bool: whether there is a note, so that the label may mean nothing."""
        return torch.tensor([bool(note) for note in self.notes], dtype=torch.bool)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> ImagePrediction: ...

    @overload
    def __getitem__(self, index: slice | Sequence[Any] | Tensor) -> Prediction: ...

    def __getitem__(self, index: Any) -> ImagePrediction | Prediction:
        """One image by its position, or some by a slice, mask or list of positions.

        Args:
            index: An integer, negative ones counting from the end; a slice; a mask of
                N booleans; or a list, array or tensor of integers.

        Raises:
            IndexError: A position is not one of the N, or a mask has another length.
            TypeError: The index is something else.
        """
        chosen = positions(index, len(self))
        if isinstance(chosen, int):
            return ImagePrediction(
                label=self.labels[chosen],
                probabilities=self.probabilities[chosen],
                logits=self.logits[chosen],
                path=None if self.paths is None else self.paths[chosen],
                classes=self.classes,
                notes=self.notes[chosen],
                ood_score=None
                if self.ood_score is None
                else float(self.ood_score[chosen]),
                map=None if self.maps is None else self.maps[chosen],
                quantities=None
                if self.quantities is None
                else self.quantities.of(chosen),
            )
        rows = torch.tensor(chosen, dtype=torch.int64)
        return Prediction(
            probabilities=self.probabilities[rows],
            logits=self.logits[rows],
            labels=[self.labels[i] for i in chosen],
            paths=None if self.paths is None else [self.paths[i] for i in chosen],
            classes=self.classes,
            notes=[self.notes[i] for i in chosen],
            ood_score=None if self.ood_score is None else self.ood_score[rows],
            maps=None if self.maps is None else [self.maps[i] for i in chosen],
            quantities=None
            if self.quantities is None
            else Quantities(self.quantities.values[rows], self.quantities.spec),
        )

    def __iter__(self) -> Iterator[ImagePrediction]:
        """The images, one after the other."""
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Whether everything is equal, numbers to the last bit."""
        if not isinstance(other, Prediction):
            return NotImplemented
        return equal(self, other)

    def __hash__(self) -> int:
        """Equal for what is equal."""
        return hash((self.classes, tuple(self.labels)))

    def __repr__(self) -> str:
        """How many images of which class, and how many of them are flagged."""
        n = len(self)
        text = f"{n} image{'' if n == 1 else 's'}"
        found = Counter(self.labels)
        counts = [f"{found[name]} {name}" for name in self.classes if found[name]]
        if counts:
            text += f": {', '.join(counts[:_SHOWN_CLASSES])}"
        if len(counts) > _SHOWN_CLASSES:
            text += f" and {len(counts) - _SHOWN_CLASSES} more classes"
        if flagged := sum(map(bool, self.notes)):
            text += f"; {flagged} unlike training"
        return f"Prediction({text})"

    def _repr_html_(self) -> str:
        """A table for notebooks: the first rows, with what is unlike training."""
        page = as_html(repr(self), self.classes, self[:_SHOWN_ROWS])
        if len(self) > _SHOWN_ROWS:
            page += f"<p>and {len(self) - _SHOWN_ROWS} more</p>"
        return page

    @staticmethod
    def concatenate(parts: Sequence[Prediction]) -> Prediction:
        """Joins predictions, for instance those of `iter_predict`, in their order.

        Args:
            parts: At least one; of models with the same classes.

        Raises:
            ValueError: `parts` is empty, or their classes differ, or some have paths,
                scores, maps or quantities and others have not.
        """
        if not parts:
            raise ValueError("parts is empty; expected at least one prediction")
        first = parts[0]
        for other in parts[1:]:
            if other.classes != first.classes:
                raise ValueError(
                    f"predictions of the classes {list(first.classes)} and "
                    f"{list(other.classes)}; expected the same"
                )
            for name in ("paths", "ood_score", "maps", "quantities"):
                if (getattr(other, name) is None) != (getattr(first, name) is None):
                    raise ValueError(
                        f"some predictions have {name} and some have not; expected "
                        "all or none"
                    )
        scores = [part.ood_score for part in parts if part.ood_score is not None]
        told = [part.quantities for part in parts if part.quantities is not None]
        return Prediction(
            probabilities=torch.cat([part.probabilities for part in parts]),
            logits=torch.cat([part.logits for part in parts]),
            labels=[label for part in parts for label in part.labels],
            paths=None
            if first.paths is None
            else [path for part in parts for path in part.paths or []],
            classes=first.classes,
            notes=[note for part in parts for note in part.notes],
            ood_score=torch.cat(scores) if scores else None,
            maps=None
            if first.maps is None
            else [one for part in parts for one in part.maps or []],
            quantities=joined(told),
        )

    def _columns(self) -> dict[str, Any]:
        """The columns of `predict_to_file` as arrays and lists."""
        told: dict[str, Any] = {}
        if self.quantities is not None:
            columns = self.quantities.columns(self.labels)
            told = {name: value.numpy() for name, value in columns.items()}
        names = class_columns(self.classes, tuple(told))
        values = self.probabilities.numpy()
        n = len(self)
        return {
            "path": [None] * n
            if self.paths is None
            else [written_path(path) for path in self.paths],
            "label": list(self.labels),
            **{name: values[:, i].copy() for i, name in enumerate(names)},
            **told,
            "ood_score": np.full(n, np.nan, np.float32)
            if self.ood_score is None
            else self.ood_score.numpy().copy(),
            "unlike_training": self.unlike_training.numpy(),
            "notes": ["; ".join(notes) for notes in self.notes],
            "error": [None] * n,
        }

    def to_pandas(self) -> pd.DataFrame:
        """The columns of `lensequiv.predict_to_file`, a row for each image.

        Returns:
            A data frame. Probabilities, quantities and `ood_score` are float32 with the
            same bits as here; `ood_score` is NaN if the model has no `domain`, a
            quantity where it is not meant for the lens's label, `path` None for arrays,
            and `error` always None.

        Raises:
            ImportError: pandas is not installed.
        """
        return as_pandas(self._columns())

    def to_table(self) -> QTable:
        """The columns of `lensequiv.predict_to_file`, a row for each image.

        Returns:
            An astropy table. Probabilities, quantities and `ood_score` are float32
            with the same bits as here; what there is none of is masked: `ood_score` if
            the model has no `domain`, a quantity where it is not meant for the lens's
            label, `path` of arrays, and `error`. Quantities have their units.

        Raises:
            ImportError: astropy is not installed.
        """
        told = {} if self.quantities is None else self.quantities.units()
        scored = self.ood_score is not None
        return as_table(self._columns(), scored=scored, told=told)
