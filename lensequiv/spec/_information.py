"""What is known about weights besides what the network computes with.

`model.weights_info` and `info` in `config.json` are a dictionary. The keys that
lensequiv itself writes have a type, given here; everything else in it is the user's own
and is kept as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import UnionType
from typing import (
    Any,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

__all__ = [
    "Adapted",
    "Converted",
    "Cost",
    "FineTuned",
    "ImageSet",
    "Information",
    "MapScores",
    "MapTraining",
    "Metrics",
    "Scores",
    "TrainedOn",
    "Training",
    "read_information",
]


class Scores(TypedDict, total=False):
    """Of one set of images; see `lensequiv.evaluation.Evaluation.summary`."""

    images: int
    auc_micro: float
    auc: dict[str, float]
    accuracy: float
    calibration_error: float
    confusion: list[list[int]]


class MapScores(TypedDict, total=False):
    """Of a map of the substructure, on lenses like those that it was trained on.

    `below_interval`, `within_interval` and `above_interval`: how often the true
    convergence lies there, seen from the central 68 % interval. `presence_error` is the
    expected calibration error of the presence, `accuracy` that of classes that were
    trained along.
    """

    lenses: int
    below_interval: float
    within_interval: float
    above_interval: float
    presence_error: float
    smooth_lenses: int
    accuracy: float


class QuantityScore(TypedDict):
    """How well a quantity is told; see `lensequiv.evaluation.quantities`."""

    name: str
    lenses: int
    error: float
    error_of_mean: float
    coverage_68: float
    coverage_95: float


class QuantityScores(TypedDict, total=False):
    """How well quantities are told of held-out lenses.

    `joint_deviation` is the largest distance of the coverage of all quantities together
    from its credibility, on `joint_lenses` lenses; `accuracy` that of the classes.
    """

    scores: list[QuantityScore]
    joint_deviation: float
    joint_lenses: int
    accuracy: float


class Metrics(TypedDict, total=False):
    """Scores on test images, as they are and each rotated by a random angle."""

    test: Scores
    test_rotated: Scores
    grid_invariance: float
    map: MapScores
    quantities: QuantityScores


class ImageSet(TypedDict, total=False):
    """Simulated images: how many, from which seed, and where they lay."""

    images: int
    seed: int
    fresh: bool
    file: str


class TrainedOn(TypedDict, total=False):
    """The recipe of the training images, and the sets made after it."""

    recipe: str
    train: ImageSet
    val: ImageSet
    test: ImageSet
    simulated_with: dict[str, str]


class Training(TypedDict, total=False):
    """A run of `examples/train.py`; `before` is the run whose weights it began with."""

    command: str
    images_seen: int
    minutes: float
    started_from: str | None
    before: Training | None
    machine: str
    date: str
    validation: list[dict[str, Any]]
    trained_on: TrainedOn


class MapTraining(TypedDict, total=False):
    """A run of `examples/map_head.py`, on a body that stayed as it was."""

    command: str
    started_from: str
    recipes: list[str]
    images_seen: int
    steps: int
    minutes: float
    seed: int
    date: str


class QuantitiesTraining(TypedDict, total=False):
    """A run of `examples/quantities.py`."""

    command: str
    started_from: str
    recipes: list[str]
    images_seen: int
    minutes: float
    seed: int
    machine: str
    date: str
    validation: list[dict[str, Any]]


FineTuned = TypedDict(
    "FineTuned",
    {
        "from": str | None,
        "images": int,
        "steps": int,
        "best_step": int,
        "seed": int,
        "linear_check": float,
        "command": str,
        "date": str,
        "history": list[dict[str, float]],
        "validation": Scores,
        "test": Scores,
    },
    total=False,
)
FineTuned.__doc__ = "A run of `examples/finetune.py`."


Adapted = TypedDict(
    "Adapted",
    {
        "from": str | None,
        "images": int,
        "chosen": str,
        "criterion": str,
        "said_to_be_balanced": bool,
        "estimated_parts": dict[str, float],
        "labelled_images": int,
        "scores": dict[str, float],
    },
    total=False,
)
Adapted.__doc__ = "What `lensequiv.adaptation.adapt` did."


class Cost(TypedDict, total=False):
    """Parameters, and multiply-adds for one image."""

    parameters: int
    multiply_adds: int


class StartedFrom(TypedDict):
    """The weights that were loaded before they were changed."""

    weights: str
    sha256: str


class Converted(TypedDict):
    """What `convert_checkpoint` read and checked."""

    file: str
    sha256: str
    group: str
    recipe: str
    checked: list[str]
    taken_on_trust: list[str]
    unknown: list[str]


@dataclass(frozen=True)
class Information:
    """An `info` dictionary, divided into what has a known meaning and the rest.

    Attributes:
        trained_on: The training images.
        training: The training runs.
        map_training: The run that trained the map of the substructure.
        quantities_training: The run that trained the head which tells quantities.
        fine_tuned: The fine-tuning run.
        adapted: To which images without labels, and how.
        metrics: Scores on test images.
        cost: Of the network.
        image_statistics: Smallest and largest value of each of
            `lensequiv.domain.image_statistics` among images like the training ones.
        licence: Of the weights.
        versions: Of the software they were made with.
        started_from: What was loaded before the weights were changed.
        converted: The checkpoint of 2021 that they are from.
        user: Everything else, and what has a known key but another form.
    """

    trained_on: TrainedOn | None = None
    training: Training | None = None
    map_training: MapTraining | None = None
    quantities_training: QuantitiesTraining | None = None
    fine_tuned: FineTuned | None = None
    adapted: Adapted | None = None
    metrics: Metrics | None = None
    cost: Cost | None = None
    image_statistics: dict[str, list[float]] | None = None
    licence: str | None = None
    versions: dict[str, str] | None = None
    started_from: StartedFrom | None = None
    converted: Converted | None = None
    user: dict[str, Any] = field(default_factory=dict)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of a type; dictionaries may hold further keys."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inner)
    if is_typeddict(kind):
        return (
            isinstance(value, dict)
            and kind.__required_keys__ <= value.keys()
            and all(_fits(v, _hints(kind).get(k, Any)) for k, v in value.items())
        )
    if origin is dict:
        return isinstance(value, dict) and all(
            _fits(v, inner[1]) for v in value.values()
        )
    if origin is list:
        return isinstance(value, list) and all(_fits(v, inner[0]) for v in value)
    if kind is float:
        return type(value) in (int, float)
    return kind is Any or type(value) is kind


def read_information(info: Mapping[str, Any]) -> Information:
    """Divides an `info` dictionary; nothing in it can make this fail.

    Args:
        info: JSON-able.
    """
    hints = {k: v for k, v in _hints(Information).items() if k != "user"}
    try:
        known = {k: v for k, v in info.items() if k in hints and _fits(v, hints[k])}
    except RecursionError:
        known = {}
    user = {key: value for key, value in info.items() if key not in known}
    return Information(**known, user=user)
