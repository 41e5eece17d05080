"""What is measured of a network: logits, embedding and the maps of its layers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lensequiv._devices import resolve_device
from lensequiv._neutral import without_tf32
from lensequiv.inference._source import ImagesOrPaths, source_of
from lensequiv.models import LensNetwork

if TYPE_CHECKING:
    from lensequiv._e2cnn import FieldType

__all__ = ["evaluate", "layer_types", "ready_input", "ready_network"]


def ready_network(
    model: nn.Module,
    dtype: torch.dtype | None,
    device: str | torch.device | None = None,
) -> nn.Module:
    """The network in evaluation mode: the model itself if it is so, else a copy.

    Raises:
        ValueError: There is no such device, or it knows no such type.
    """
    own = _like(model)
    wanted = dtype or own.dtype
    place = own.device if device is None else resolve_device(device)
    if place.type == "mps" and wanted == torch.float64:
        raise ValueError("MPS computes in float32, not in float64: device='cpu' does")
    if not model.training and (place, wanted) == (own.device, own.dtype):
        return model
    # Evaluation mode again after the cast, so that filters are expanded in it.
    return copy.deepcopy(model).to(place, wanted).eval()


def ready_input(
    network: nn.Module,
    images: ImagesOrPaths,
    plane: int | str | None = None,
    hdu: int | str | None = None,
) -> Tensor:
    """Preprocessed images on the device and in the dtype of the network."""
    like = _like(network)
    if isinstance(network, LensNetwork):
        source = source_of(images, plane, hdu)
        inputs = [network.preprocess(source.read(i)) for i in range(len(source.names))]
        sizes = {tuple(image.shape) for image in inputs}
        if len(sizes) > 1:
            shapes = " and ".join(map(str, sorted(sizes)))
            raise ValueError(f"images of shapes {shapes}; expected one shape for all")
        x = torch.stack(inputs)
    elif isinstance(images, Tensor):
        x = images
    else:
        raise ValueError(
            f"{type(network).__name__} is no lensequiv model, so its input has to be a "
            f"tensor (N, C, H, W); found {type(images).__name__}"
        )
    return x.to(like.device, like.dtype)


def _like(network: nn.Module) -> Tensor:
    """A tensor of the network's dtype and device."""
    return next(network.parameters(), torch.empty(0))


@without_tf32()
@torch.no_grad()
def evaluate(
    network: nn.Module,
    x: Tensor,
    layers: Mapping[str, FieldType | None],
    batch_size: int,
) -> dict[str, Tensor]:
    """The quantities of a network: logits, embedding and maps; or its output."""
    parts: list[dict[str, Tensor]] = []
    for batch in x.split(batch_size):
        if not isinstance(network, LensNetwork):
            parts.append({"output": _plain(network(batch))})
            continue
        with _recorded(network, layers) as maps:
            embedding = network.embed(batch)
        parts.append(
            {"logits": network.head(embedding), "embedding": embedding, **maps}
        )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@contextmanager
def _recorded(
    network: nn.Module, layers: Mapping[str, Any]
) -> Iterator[dict[str, Tensor]]:
    """Keeps what submodules return while the network runs."""
    maps: dict[str, Tensor] = {}

    def record(name: str) -> Any:
        # A copy: the next layer may be a ReLU in place.
        return lambda module, args, out: maps.__setitem__(name, _plain(out).clone())

    hooks = [
        network.get_submodule(name).register_forward_hook(record(name))
        for name in layers
    ]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def _plain(out: Any) -> Tensor:
    """The tensor of an e2cnn GeometricTensor, too."""
    return out if isinstance(out, Tensor) else out.tensor


def layer_types(
    model: LensNetwork, layers: Sequence[str] | None
) -> dict[str, FieldType | None]:
    """The field types of some layers, or of all that the model names."""
    types = model.field_types()
    if layers is None:
        return types
    if unknown := [name for name in layers if name not in types]:
        known = ", ".join(types) or "none"
        raise ValueError(f"{model.name}: layer {unknown[0]!r}; expected one of {known}")
    return {name: types[name] for name in layers}
