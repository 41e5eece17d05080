"""A labelled data set as a source of images, its labels in a model's order."""

from __future__ import annotations

import os

import numpy as np
import torch
from numpy.typing import NDArray

from lensequiv._checks import check_same_classes
from lensequiv.data import LabelledImages, open_dataset
from lensequiv.inference._source import Loaded, PathLike, Source
from lensequiv.models import LensNetwork

__all__ = ["first_of_each", "labels_for", "open_labelled", "source_of_set"]


def open_labelled(
    data: PathLike | LabelledImages,
    plane: int | str | None,
    hdu: int | str | None,
) -> LabelledImages:
    """The data set, opened if it is a path.

    Raises:
        TypeError: It is neither a path nor a data set.
        ValueError: It is open already, and `plane` or `hdu` is given, or it has a
            transform.
    """
    if isinstance(data, str | os.PathLike):
        return open_dataset(data, plane=plane, hdu=hdu)
    if not hasattr(data, "usual_pixel_scale"):
        raise TypeError(
            f"data is a {type(data).__name__}; expected a path, or a data set of "
            "lensequiv.data.open_dataset"
        )
    for keyword, value in (("plane", plane), ("hdu", hdu)):
        if value is not None:
            raise ValueError(
                f"{keyword}={value!r}, but the data set is open already; give "
                f"{keyword}= where it is opened"
            )
    if data.transform is not None:
        raise ValueError(
            f"{data.place} was opened with a transform; expected none, since the "
            "model's own preprocessing is applied"
        )
    return data


def source_of_set(dataset: LabelledImages, positions: list[int]) -> Source:
    """Some images of a data set with what is known of their pixel scale."""
    usual = dataset.usual_pixel_scale()

    def load(i: int) -> Loaded:
        stored = dataset.stored(positions[i])
        scale = usual if stored.pixel_scale is None else stored.pixel_scale
        return Loaded(torch.from_numpy(stored.image), scale, stored.notes)

    return Source([dataset.name_of(i) for i in positions], load)


def labels_for(
    model: LensNetwork, dataset: LabelledImages, where: str
) -> NDArray[np.int64]:
    """The data set's labels in the order of the model's classes, (N,)."""
    order = np.array(check_same_classes(model.classes, dataset.classes, where))
    labels: NDArray[np.int64] = order[dataset.labels.numpy()]
    if len(found := np.unique(labels)) < 2:
        raise ValueError(
            f"{where} has images of {model.classes[int(found[0])]} alone; expected two "
            "classes at least, since ROC AUCs compare one with another (predict tells "
            "how often each answer is given)"
        )
    return labels


def first_of_each(labels: NDArray[np.int64], limit: int | None) -> NDArray[np.int64]:
    """Positions of at most `limit` images: the first of each class in equal parts."""
    if limit is None:
        return np.arange(len(labels))
    classes = np.unique(labels)
    if limit < len(classes):
        raise ValueError(f"limit={limit}: expected at least one image a class")
    place = np.empty(len(labels), np.int64)  # within the class
    for c in classes:
        members = np.flatnonzero(labels == c)
        place[members] = np.arange(len(members))
    return np.sort(np.lexsort((labels, place))[:limit])
