"""Images that are already in memory, as arrays or tensors."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from lensequiv.data.checks import MAX_CHANNELS, check_dtype, check_pixels
from lensequiv.data.errors import ImageError

_ARRAY_LAYOUTS = (
    "images of shape (H, W), (N, H, W), (N, C, H, W), (H, W, C) or (N, H, W, C)"
    f" with at most {MAX_CHANNELS} channels"
)


@runtime_checkable
class SupportsArray(Protocol):
    """Anything that NumPy can turn into an array by the `__array__` protocol."""

    def __array__(self) -> np.ndarray:
        """Return the object as an array."""


def as_images(x: Tensor | SupportsArray, *, name: str = "x") -> Tensor:
    """Bring one or more images in memory into the shape and type of the networks.

    The last axis is that of the channels, (H, W, C) or (N, H, W, C), if it has at most
    16 elements while height and width have more: no image is that narrow. Otherwise,
    three axes are (N, H, W), never (C, H, W), and four are (N, C, H, W).

    Args:
        x: Tensor or array (NumPy, or anything with `__array__`) of shape (H, W),
            (N, H, W), (N, C, H, W), (H, W, C) or (N, H, W, C) with C at most 16; any
            integer or real type, byte order and strides; any flux unit.
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
            that are not finite in float32.
        TypeError: `x` is neither a tensor nor an array.
    """
    if isinstance(x, Tensor):
        tensor = _from_tensor(x, name)
    elif _is_container(x) or isinstance(x, SupportsArray):
        tensor = _from_array(x, name)
    else:
        raise TypeError(
            f"{name} is of type {type(x).__name__}; expected a tensor or an array"
        )
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
    images = tensor if tensor.ndim == 4 else tensor[:, None]
    check_pixels(images, name, indexed=not single)
    return images


def _channels_last(shape: tuple[int, ...]) -> bool:
    """Whether the last three axes of a shape are (H, W, C)."""
    height, width, channels = shape[-3:]
    if channels == 1:
        return height != 1
    return channels <= MAX_CHANNELS < min(height, width)


def _from_tensor(x: Tensor, name: str) -> Tensor:
    """Convert a tensor of real numbers to float32; its shape is not looked at."""
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
    return x.to(torch.float32)


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
    """Convert an array of real numbers to float32; its shape is not looked at."""
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
    with np.errstate(over="ignore"):  # overflow is found, and named, by the caller
        return torch.from_numpy(np.require(array, np.float32, ["C", "W"]))
