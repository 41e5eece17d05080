"""Checks of arguments that may come from a file as well as from a caller."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

__all__ = [
    "check_class_names",
    "check_count",
    "check_flag",
    "check_number",
    "check_positive",
    "check_same_classes",
    "ordered_names",
]


def check_count(name: str, value: Any, low: int = 1, high: int | None = None) -> int:
    """Requires a whole number within bounds.

    Args:
        name: Of the argument, for the message.
        value: Anything; NumPy's integers are counts, `True` and 3.0 are none.
        low: Smallest that is accepted.
        high: Largest that is accepted, or None.

    Returns:
        The value.

    Raises:
        ValueError: It is something else; the message names the argument.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        expected = "a positive integer" if low == 1 else f"an integer from {low}"
        if high is not None:
            expected += f", {high} at most"
        raise ValueError(f"{name}={_short(value)}: expected {expected}")
    return int(value)


def check_flag(name: str, value: Any) -> bool:
    """Requires true or false.

    Args:
        name: Of the argument, for the message.
        value: Anything; words and numbers are none.

    Returns:
        The value.

    Raises:
        ValueError: It is something else; the message names the argument.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name}={_short(value)}: expected True or False")
    return value


def check_number(name: str, value: Any, low: float, high: float) -> float:
    """Requires a number within bounds.

    Args:
        name: Of the argument, for the message.
        value: Anything; NaN and `True` are refused.
        low: Smallest that is accepted, finite.
        high: Largest that is accepted, finite.

    Returns:
        The value.

    Raises:
        ValueError: It is something else; the message names the argument.
    """
    plain = isinstance(value, Real) and not isinstance(value, bool)
    if not plain or not low <= value <= high:
        raise ValueError(
            f"{name}={_short(value)}: expected a number from {low:g} to {high:g}"
        )
    return float(value)


def check_positive(name: str, value: Any) -> float:
    """Requires a positive finite number; those of NumPy are taken, too.

    Args:
        name: Of the argument, for the message.
        value: Anything; NaN, `True` and quantities with a unit are refused.

    Returns:
        The value.

    Raises:
        ValueError: It is something else; the message names the argument.
    """
    plain = isinstance(value, Real) and not isinstance(value, bool)
    if not plain or not 0 < float(value) < math.inf:
        raise ValueError(f"{name}={_short(value)}: expected a positive number")
    return float(value)


def check_class_names(names: Sequence[Any], count: int) -> tuple[str, ...]:
    """Requires as many different names as there are classes.

    Args:
        names: Anything; text in a list, a tuple or an array has an order.
        count: How many are expected.

    Returns:
        The names.

    Raises:
        ValueError: They are one text or have no order, their number is another, one is
            empty or no text, or two are equal.
    """
    names = ordered_names(names)
    if len(names) != count:
        raise ValueError(f"{len(names)} class names; expected {count} names")
    for name in names:
        if not isinstance(name, str) or not name:
            raise ValueError(f"class name {_short(name)}; expected a text")
    if len(set(names)) < count:
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"class name {_short(twice)} stands there twice")
    return names


def ordered_names(names: Any) -> tuple[Any, ...]:
    """Requires what has an order and is not a single text, whose letters are no names.

    Args:
        names: A list, a tuple, an array, the keys of a dictionary, or anything.

    Returns:
        The names, those of NumPy as Python's own text.

    Raises:
        ValueError: It is something else.
    """
    unordered = isinstance(names, str | bytes | set | frozenset)
    if unordered or not hasattr(names, "__iter__"):
        raise ValueError(f"class names {_short(names)}; expected a list of texts")
    return tuple(str(name) if isinstance(name, str) else name for name in names)


def check_same_classes(
    model: Sequence[str], data: Sequence[str], where: str
) -> tuple[int, ...]:
    """Requires that every class of labelled images is one that a model knows.

    Args:
        model: The model's classes, in the order of its logits.
        data: The data set's classes, in the order of its labels; may be fewer.
        where: What the data set is called, for the message.

    Returns:
        For each class of the data its place among the model's, which turns the data's
        labels into the model's.

    Raises:
        ValueError: A name is not the model's.
    """
    if strange := [name for name in data if name not in model]:
        nameless = all(name == f"class{i}" for i, name in enumerate(model))
        advice = (
            "the model's names stand for classes that nobody has named: set "
            "model.classes to the names in the order of its training labels"
            if nameless
            else "for a new head load it with from_pretrained(..., "
            f"classes={list(data)!r:.200}); if only the names differ, set "
            f"model.classes to the data's names, in the order of {', '.join(model)}"
        )
        raise ValueError(
            f"{where} has the class {strange[0]!r}, among {', '.join(data)}; the "
            f"model's classes are {', '.join(model)}; {advice}"
        )
    return tuple(list(model).index(name) for name in data)


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= 10**30:
        return "an integer of more than 30 digits"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]}...{text[-15:]}"
