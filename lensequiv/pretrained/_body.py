"""A trained body in a network with another head, or for other channels."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch

from lensequiv._checks import check_class_names
from lensequiv.models import LensNetwork, create_model
from lensequiv.models._fitting import neutral_classes

__all__ = ["with_body_of"]


def with_body_of(
    model: LensNetwork,
    num_classes: int | None,
    classes: list[str] | tuple[str, ...] | None,
    in_channels: int | None,
) -> LensNetwork:
    """The trained body with a new head, other input channels, or both.

    Args:
        model: The trained network.
        num_classes: As `from_pretrained`.
        classes: As `from_pretrained`.
        in_channels: As `from_pretrained`.

    Returns:
        `model` itself if it is as wanted, else a new network.

    Raises:
        ValueError: As `from_pretrained`.
    """
    if classes is not None and num_classes not in (None, len(classes)):
        raise ValueError(f"num_classes={num_classes}, but {len(classes)} class names")
    new_head = num_classes is not None or not (
        classes is None or tuple(classes) == model.classes
    )
    if not new_head and in_channels in (None, model.in_channels):
        return model
    if num_classes is None and classes and set(classes) == set(model.classes):
        warnings.warn(
            f"classes={list(classes)} are those of the weight in another order: they "
            "get a new head, which is untrained. To keep the trained one leave "
            f"classes= out: its order is {list(model.classes)}",
            stacklevel=5,
        )
    count = num_classes if classes is None else len(classes)
    options = dict(model.config)
    if new_head:
        options["num_classes"] = count
    if in_channels is not None:
        options["in_channels"] = in_channels
    if model.map_head is not None:
        options["map_fields"] = 0
    fresh = create_model(model.name, **options)
    state = {k: v for k, v in model.tensors().items() if k in fresh.tensors()}
    if fresh.in_channels != model.in_channels:
        name = model.input_weight
        state[name] = _shared_out(state[name], model.in_channels, fresh)
    if new_head:
        head = fresh.tensors()
        state.update({k: v for k, v in head.items() if k.startswith("head.")})
        state = {k: state[k] for k in head}
    with torch.no_grad():
        fresh.load_tensors(state)
    if not new_head:
        names = model.classes
    elif classes is not None:
        names = check_class_names(classes, fresh.num_classes)
    else:
        names = neutral_classes(fresh.num_classes)
    # What was fitted to the old classes or images stays behind.
    fresh.spec = replace(
        fresh.spec,
        classes=names,
        input_size=model.input_size,
        preprocess=model.preprocess,
        pixel_scale=model.pixel_scale,
    )
    fresh.origin = model.origin
    return fresh


def _shared_out(
    weight: torch.Tensor, channels: int, fresh: LensNetwork
) -> torch.Tensor:
    """A first layer's weights for the channels of `fresh`.

    Both kinds of layers order them by output, input channel, and the rest: pixels of a
    filter, or coefficients of e2cnn's basis (in one dimension, with as many outputs as
    there are fields).
    """
    wanted = fresh.get_parameter(fresh.input_weight)
    layer = fresh.get_submodule(fresh.input_weight.rpartition(".")[0])
    fields = getattr(layer, "out_type", None)
    outputs = len(weight) if fields is None else len(fields.representations)
    parts = weight.reshape(outputs, channels, -1).sum(1, keepdim=True)
    spread = parts.expand(-1, fresh.in_channels, -1) / fresh.in_channels
    return spread.reshape(wanted.shape).clone()
