"""A network built again from its record: by pickles and copies, and as a check."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.random import fork_rng

from lensequiv._checks import check_class_names
from lensequiv._neutral import neutral
from lensequiv.models._builders import build
from lensequiv.models._by_hand import replaced_layer
from lensequiv.models._call import Call
from lensequiv.models._fitting import check_sides
from lensequiv.models._heads import attach_heads
from lensequiv.models._recorded import Recorded
from lensequiv.plain import QuantityHead
from lensequiv.spec import Origin, QuantitiesSpec, Quantity, Spec
from lensequiv.transforms import preprocessing_from_config

__all__ = [
    "check_rebuildable",
    "rebuild",
    "with_map",
    "with_options",
    "with_quantities",
]


def check_rebuildable(model: Recorded) -> None:
    """Builds a twin from the record, and compares names and shapes of the tensors.

    Raises:
        ValueError: As `LensNetwork.check_rebuildable`.
    """
    kind = type(model).__name__
    if model.recipe is None:
        raise ValueError(
            f"{kind} is not registered, so from_pretrained could not build it again: "
            f'decorate it with @lensequiv.register_model("a-name"), where it can be '
            "imported before loading"
        )
    if replaced := replaced_layer(model):
        raise ValueError(
            f"{model.name} could not be built again: {replaced}; for another head use "
            "create_model or from_pretrained with num_classes or classes"
        )
    config = model.spec.to_config()
    check_class_names(model.classes, model.num_classes)
    check_sides(model.name, model.input_sizes, model.preprocess)
    preprocessing_from_config(config["preprocess"])
    options = json.loads(json.dumps(config["options"]))
    try:
        twin = build(model.recipe, **options, initialize=False)
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
    attach_heads(twin, model.spec)
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


@neutral()
def rebuild(
    recipe: str | type[Recorded],
    call: Call,
    spec: Spec,
    origin: Origin | None,
    tensors: dict[str, Tensor],
    marks: dict[str, Any],
    requires_grad: dict[str, bool],
    training: bool,
) -> Recorded:
    """Inverse of `LensNetwork.__reduce__`; also serves `copy.deepcopy`.

    Args:
        recipe: Name of a registered model, or a class that is not registered.
        call: Arguments of the class.
        spec: The record.
        origin: Of the weights.
        tensors: The state dict without the record.
        marks: Attributes.
        requires_grad: Of each parameter.
        training: The mode.

    Raises:
        TypeError: The tensors are not those of the network that `recipe` builds: its
            layers were replaced by hand.
    """
    if isinstance(recipe, str):
        model = build(recipe, **spec.options, initialize=False)
    else:
        network: Callable[..., Recorded] = recipe
        lazy = {"initialize": False} if call.takes_initialize else {}
        with fork_rng(devices=[]):
            model = network(*call.args, **call.kwargs, **lazy)
    attach_heads(model, spec)
    first = next(iter(tensors.values()))
    model.to(first.device)
    for key, value in model.tensors().items():
        if key in tensors and value.dtype != tensors[key].dtype:
            model.to(tensors[key].dtype)
            break
    try:
        model.load_tensors(tensors)
    except RuntimeError as error:
        raise TypeError(
            f"{spec.model} cannot be copied or pickled: its layers are no longer those "
            f"that it was built with ({error}); for another head use create_model or "
            "from_pretrained with num_classes or classes"
        ) from error
    for key, parameter in model.named_parameters():
        parameter.requires_grad_(requires_grad[key])
    vars(model).update(marks, _spec=spec, _origin=origin)
    return model.train(training)


def with_options(
    model: Recorded,
    fresh: str | None = None,
    record: Mapping[str, Any] | None = None,
    **changed: Any,
) -> Recorded:
    """A network with the same tensors and record, and other options.

    Args:
        model: Whose tensors and record they are.
        fresh: Start of the names of tensors that are new, as the options make them.
        record: Fields of the record that change with the options.
        **changed: Options of its class.

    Returns:
        A new network, in evaluation mode, on the device of `model`.

    Raises:
        TypeError: The class is not registered.
        ValueError: An option is out of range.
    """
    if model.recipe is None:
        raise TypeError(
            f"{type(model).__name__} is not registered, so it cannot be built with "
            f"{', '.join(f'{name}={value}' for name, value in changed.items())}"
        )
    made = build(model.recipe, **{**model.config, **changed})
    attach_heads(made, model.spec)
    first = next(model.parameters())
    made.to(first.device, first.dtype)
    kept = model.tensors()
    made.load_tensors(
        {
            name: value if fresh and name.startswith(fresh) else kept[name]
            for name, value in made.tensors().items()
        }
    )
    made.spec = replace(model.spec, options=made.spec.options, **(record or {}))
    made.origin = model.origin
    return made.eval()


def with_map(model: Recorded, fields: int) -> Recorded:
    """See `LensNetwork.with_map`."""
    # Of an architecture that never has a map there is no such option.
    none = fields == 0 and "map_fields" not in model.config
    changed = {} if none else {"map_fields": fields}
    return with_options(model, "map_head.", {"map": None}, **changed)


def with_quantities(
    model: Recorded,
    quantities: Sequence[Quantity],
    inputs: int,
    hidden: int,
    components: int,
) -> Recorded:
    """See `LensNetwork.with_quantities`.

    Args:
        model: Any.
        quantities: Of the new head.
        inputs: Length of the embedding.
        hidden: Width of the head.
        components: Gaussians.
    """
    if model.recipe is None:
        raise TypeError(
            f"{type(model).__name__} is not registered, so it cannot be built with "
            "another head"
        )
    told = None
    if quantities:
        told = QuantitiesSpec(inputs, hidden, components, tuple(quantities))
    made = build(model.recipe, **model.config, initialize=False)
    first = next(model.parameters())
    made.to(first.device, first.dtype)
    attach_heads(made, replace(model.spec, quantities=None))
    kept = {
        name: value
        for name, value in model.tensors().items()
        if not name.startswith("quantity_head.")
    }
    made.load_tensors(kept)
    if told is not None:
        with neutral():
            made.quantity_head = QuantityHead(*told.shape).to(first.device, first.dtype)
    made.spec = replace(model.spec, options=made.spec.options, quantities=told)
    made.origin = model.origin
    return made.eval()
