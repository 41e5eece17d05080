"""Images that are already in memory, as arrays or tensors."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from lensequiv.data.checks import MAX_CHANNELS, check_dtype, check_pixels
from lensequiv.data.errors import ImageError

_ARRAY_LAYOUTS = (
    "images of shape (H, W), (H, W, 1), (N, H, W) or (N, C, H, W)"
    f" with at most {MAX_CHANNELS} channels"
)


@runtime_checkable
class SupportsArray(Protocol):
    """Anything that NumPy can turn into an array by the `__array__` protocol."""

    def __array__(self) -> np.ndarray:
        """Return the object as an array."""


def as_images(x: Tensor | SupportsArray, *, name: str = "x") -> Tensor:
    """Bring one or more images in memory into the shape and type of the networks.

    With three axes, (H, W, 1) is assumed if the last axis has length 1 and the first
    has not, otherwise (N, H, W).

    Args:
        x: Tensor or array (NumPy, or anything with `__array__`) of shape (H, W),
            (H, W, 1), (N, H, W) or (N, C, H, W) with C at most 4; any integer or
            real type, byte order and strides; any flux unit.
        name: What to call `x` in error messages.

    Returns:
        Images, (N, C, H, W) float32 on the device of `x` (arrays: the CPU), in the
        unit of `x`. The memory is shared with `x` where no conversion is needed, and
        gradients flow back to a tensor.

    Raises:
        ImageError: `x` has another rank, no element, more than four channels, masked
            pixels, or a boolean, complex, string or object type; or one of the images
            is constant or holds pixels that are not finite in float32.
        TypeError: `x` is neither a tensor nor an array.
    """
    if isinstance(x, Tensor):
        tensor = _from_tensor(x, name)
    elif isinstance(x, SupportsArray):
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
    if tensor.ndim == 4 and shape[1] > MAX_CHANNELS:
        raise ImageError.because(
            name,
            f"is of shape {shape}, which means {shape[1]} channels",
            f"{_ARRAY_LAYOUTS} (channels last: pass x.movedim(-1, 1) or"
            " numpy.moveaxis(x, -1, 1))",
        )
    single = tensor.ndim == 2
    if tensor.ndim == 3 and shape[2] == 1 and shape[0] != 1:
        single, tensor = True, tensor[:, :, 0]
    if single:
        tensor = tensor[None]
    images = tensor if tensor.ndim == 4 else tensor[:, None]
    check_pixels(images, name, indexed=not single)
    return images


def _from_tensor(x: Tensor, name: str) -> Tensor:
    """Convert a tensor of real numbers to float32; its shape is not looked at."""
    plain = x.layout == torch.strided and not x.is_quantized
    if not plain or x.dtype.is_complex or x.dtype == torch.bool:
        found = x.dtype if plain else f"{x.dtype} in a sparse or quantized layout"
        raise ImageError.because(
            name,
            f"holds values of type {found}",
            "integers or real floating-point numbers in a dense tensor",
        )
    return x.to(torch.float32)


def _from_array(x: SupportsArray, name: str) -> Tensor:
    """Convert an array of real numbers to float32; its shape is not looked at."""
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise ImageError.because(
            name,
            f"holds {np.ma.getmaskarray(x).sum()} masked pixels",
            "an array without a mask: fill those pixels first",
        )
    array = np.asarray(x)
    check_dtype(array.dtype, name)
    if min(array.strides, default=0) < 0:  # PyTorch refuses these, even on axes of 1
        array = array.copy()
    with np.errstate(over="ignore"):  # overflow is found, and named, by the caller
        return torch.from_numpy(np.require(array, np.float32, ["C", "W"]))
