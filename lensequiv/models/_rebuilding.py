"""Whether a network can be built again from its record alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lensequiv._checks import check_class_names
from lensequiv.models._recorded import check_sides
from lensequiv.models.registry import create_model
from lensequiv.transforms import preprocessing_from_config

if TYPE_CHECKING:
    from lensequiv.models.base import LensModel

__all__ = ["check_rebuildable"]


def check_rebuildable(model: LensModel) -> None:
    """Builds a twin from the record, and compares names and shapes of the tensors.

    Raises:
        ValueError: As `LensModel.check_rebuildable`.
    """
    kind = type(model).__name__
    if model.recipe is None:
        raise ValueError(
            f"{kind} is not registered, so from_pretrained could not build it again: "
            f'decorate it with @lensequiv.register_model("a-name"), where it can be '
            "imported before loading"
        )
    config = model.spec.to_config()
    check_class_names(model.classes, model.num_classes)
    check_sides(model, model.preprocess)
    preprocessing_from_config(config["preprocess"])
    options = json.loads(json.dumps(config["options"]))
    try:
        twin = create_model(model.recipe, **options, initialize=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"create_model({model.recipe!r}, ...) does not take the options that "
            f"{kind} was built with, {options}: {error}"
        ) from error
    if type(twin) is not type(model):
        raise ValueError(
            f"create_model({model.recipe!r}) builds a {type(twin).__name__}, not this "
            f"{kind}: register {kind} under a name of its own"
        )
    ours, theirs = (
        {name: tuple(tensor.shape) for name, tensor in one.tensors().items()}
        for one in (model, twin)
    )
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise ValueError(
                f"tensor {name!r} has the shape {ours.get(name)}, but {model.name} is "
                f"built with {theirs.get(name)}: a layer was replaced by hand; for "
                "another head use create_model or from_pretrained with num_classes"
            )
