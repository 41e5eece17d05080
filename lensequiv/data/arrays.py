"""Images that are already in memory, as arrays or tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from lensequiv.data.checks import MAX_CHANNELS, check_dtype, check_pixels
from lensequiv.data.errors import ImageError
from lensequiv.data.narrowing import check_float32

_ARRAY_LAYOUTS = (
    "images of shape (H, W), (N, H, W), (N, C, H, W), (H, W, C) or (N, H, W, C)"
    f" with at most {MAX_CHANNELS} channels"
)


@runtime_checkable
class SupportsArray(Protocol):
    """Anything that NumPy can turn into an array by the `__array__` protocol."""

    def __array__(self) -> np.ndarray:
        """Return the object as an array."""


def as_images(
    x: Tensor | SupportsArray | Sequence[Tensor | SupportsArray], *, name: str = "x"
) -> Tensor:
    """Bring one or more images in memory into the shape and type of the networks.

    The last axis is that of the channels, (H, W, C) or (N, H, W, C), if it has at most
    16 elements while height and width have more: no image is that narrow. Otherwise,
    three axes are (N, H, W), never (C, H, W), and four are (N, C, H, W).

    Args:
        x: Tensor or array (NumPy, or anything with `__array__`) of shape (H, W),
            (N, H, W), (N, C, H, W), (H, W, C) or (N, H, W, C) with C at most 16; any
            integer or real type, byte order and strides; any flux unit. A list of
            these that have one shape is stacked along a new first axis.
        name: What to call `x` in error messages.

    Returns:
        Images, (N, C, H, W) float32 on the device of `x` (arrays: the CPU), in the
        unit of `x`. The memory is shared with `x` where no conversion is needed, and
        gradients flow back to a tensor.

    Raises:
        ImageError: `x` has another rank, no element, more than 16 channels, masked
            pixels (in a masked array of NumPy, a masked tensor, or anything with a
            `mask`, as astropy's CCDData, NDData and Masked), or a boolean, complex,
            string or object type; or one of the images is constant or holds pixels
            that are not finite in float32, or its light is so faint on a constant, or
            so small in its unit, that float32 spoils it.
        TypeError: `x` is neither a tensor nor an array, nor a list of these.
    """
    tensor = _from_list(x, name) if isinstance(x, list | tuple) else _from_any(x, name)
    shape = tuple(tensor.shape)
    if tensor.ndim not in (2, 3, 4):
        raise ImageError.because(
            name, f"is a {tensor.ndim}-D array of shape {shape}", _ARRAY_LAYOUTS
        )
    if tensor.numel() == 0:
        raise ImageError.because(name, f"is empty, of shape {shape}", _ARRAY_LAYOUTS)
    if tensor.ndim == 4 and shape[1] > MAX_CHANNELS and not _channels_last(shape):
        raise ImageError.because(
            name,
            f"is of shape {shape}, which means {shape[1]} channels",
            _ARRAY_LAYOUTS,
        )
    single = tensor.ndim == 2
    if tensor.ndim == 3 and _channels_last(shape):
        single, tensor = True, tensor.movedim(-1, 0)[None]
    elif tensor.ndim == 4 and _channels_last(shape):
        tensor = tensor.movedim(-1, 1)
    elif single:
        tensor = tensor[None]
    wide = tensor if tensor.ndim == 4 else tensor[:, None]
    images = wide.to(torch.float32)
    check_pixels(images, name, indexed=not single)
    if wide.dtype != torch.float32:
        pairs = zip(wide.detach().cpu().numpy(), images.detach().cpu(), strict=True)
        for i, (stored, image) in enumerate(pairs):
            check_float32(stored, image.numpy(), name if single else f"{name}[{i}]")
    return images


def _channels_last(shape: tuple[int, ...]) -> bool:
    """Whether the last three axes of a shape are (H, W, C)."""
    height, width, channels = shape[-3:]
    if channels == 1:
        return height != 1
    return channels <= MAX_CHANNELS < min(height, width)


def _from_any(x: Any, name: str) -> Tensor:
    """Convert a tensor, an array or a container of one to float32 or float64."""
    if isinstance(x, Tensor):
        return _from_tensor(x, name)
    if _is_container(x) or isinstance(x, SupportsArray):
        return _from_array(x, name)
    if isinstance(getattr(x, "data", None), SupportsArray):  # Cutout2D, an HDU
        advice = f": give its array, {name}.data"
    elif isinstance(x, list | tuple):  # within a list, or an HDUList
        advice = ", such as the data of one of its items"
    else:
        advice = ", a list of these, or paths of files"
    raise TypeError(
        f"{name} is of type {type(x).__name__}; expected a tensor or an array{advice}"
    )


def _from_list(x: Sequence[Any], name: str) -> Tensor:
    """Convert a list of tensors and arrays of one shape to one tensor."""
    if type(x) not in (list, tuple) or not x or isinstance(x[0], list | tuple):
        return _from_any(x, name)
    parts = [_from_any(item, f"{name}[{i}]") for i, item in enumerate(x)]
    shapes = {tuple(part.shape): i for i, part in reversed([*enumerate(parts)])}
    if len(shapes) > 1:
        (first, i), (other, k) = sorted(shapes.items(), key=lambda found: found[1])[:2]
        raise ImageError.because(
            name,
            f"is a list of arrays of several shapes ({name}[{i}]: {first}, "
            f"{name}[{k}]: {other})",
            "arrays of one shape; others go one by one, or as files",
        )
    return torch.stack(parts)


def _from_tensor(x: Tensor, name: str) -> Tensor:
    """Convert a tensor of real numbers to float32, or float64 if that says more."""
    if torch.masked.is_masked_tensor(x):
        _refuse_masked(int((~x.get_mask()).sum()), name)
        x = x.get_data()
    plain = x.layout == torch.strided and not x.is_quantized
    if not plain or x.dtype.is_complex or x.dtype == torch.bool:
        found = x.dtype if plain else f"{x.dtype} in a sparse or quantized layout"
        raise ImageError.because(
            name,
            f"holds values of type {found}",
            "integers or real floating-point numbers in a dense tensor",
        )
    narrow = x.dtype.itemsize < 4 or x.dtype == torch.float32
    return x.to(torch.float32 if narrow else torch.float64)


def _refuse_masked(count: int, name: str) -> None:
    """Refuse images of which some pixels are masked."""
    if count:
        pixels = "pixel" if count == 1 else "pixels"
        raise ImageError.because(
            name,
            f"holds {count} masked {pixels}",
            "an array without a mask: fill those pixels first",
        )


def _unmasked(x: Any) -> Any:
    """The pixels of a container that does not turn into an array by itself."""
    if isinstance(x, SupportsArray):
        return getattr(x, "unmasked", x)  # astropy's Masked
    return x.data  # NDData


def _is_container(x: Any) -> bool:
    """Whether `x` holds an array in `data` beside a `mask`, as NDData does."""
    return hasattr(x, "mask") and isinstance(getattr(x, "data", None), SupportsArray)


def _from_array(x: SupportsArray, name: str) -> Tensor:
    """Convert an array of real numbers to float32, or float64 if that says more."""
    mask = getattr(x, "mask", None)  # of numpy.ma, CCDData, NDData, Masked, NDCube
    array = np.asarray(_unmasked(x))
    if mask is not None and not callable(mask):  # of pandas, it is a method
        masked = np.asarray(mask, bool)
        if masked.shape not in ((), array.shape):
            raise ImageError.because(
                name, f"has a mask of shape {masked.shape}", f"shape {array.shape}"
            )
        _refuse_masked(int(np.broadcast_to(masked, array.shape).sum()), name)
    check_dtype(array.dtype, name)
    if min(array.strides, default=0) < 0:  # PyTorch refuses these, even on axes of 1
        array = array.copy()
    narrow = (
        array.dtype.itemsize < 4 or array.dtype.kind + str(array.dtype.itemsize) == "f4"
    )
    with np.errstate(over="ignore"):  # overflow is found, and named, by the caller
        dtype = np.float32 if narrow else np.float64
        return torch.from_numpy(np.require(array, dtype, ["C", "W"]))
