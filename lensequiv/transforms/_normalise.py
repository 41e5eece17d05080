"""Preprocessing of the zoo: crop and scale, the same for any telescope's units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from lensequiv._checks import check_count, check_number
from lensequiv.data.arrays import SupportsArray
from lensequiv.transforms._order import order_statistics

__all__ = ["CropAndScale", "as_tensor"]

_CACHED = 160_000  # pixels in double precision that are at work at once


class CropAndScale(nn.Module):
    """Centre crop, then sky to 0 and peak to 1, image by image and channel by channel.

    Sky and peak are order statistics of the cropped pixels, so the result does not
    change when an image is multiplied by a gain or shifted by a constant, nor when its
    pixels are turned or flipped, and a few hot pixels do not matter.

    Args:
        size: Side of the result in pixels.
        keep: Sizes that are taken as they are, besides `size` (a network accepts
            several).
        sky: Quantile of the pixels taken as sky level.
        peak: Quantile taken as peak; 0.999 is the 17th brightest of 129 x 129.

    Attributes:
        sides: The sides that the network takes which this belongs to, ascending: for
            messages alone. A `LensNetwork` sets them.

    Raises:
        ValueError: A parameter is out of range.
    """

    name = "crop-and-scale"
    sides: Sequence[int] = ()

    def __init__(
        self,
        size: int = 129,
        keep: tuple[int, ...] = (),
        sky: float = 0.25,
        peak: float = 0.999,
    ) -> None:
        super().__init__()
        check_count("size", size)
        if not isinstance(keep, list | tuple):
            raise ValueError(f"keep={keep!r}: expected a list of sides in pixels")
        for side in keep:
            check_count("keep", side)
        check_number("sky", sky, -1e308, 1e308)
        check_number("peak", peak, -1e308, 1e308)
        if not 0 <= sky < peak <= 1:
            raise ValueError(f"sky={sky}, peak={peak}: expected 0 <= sky < peak <= 1")
        self.size, self.keep = size, tuple(keep)
        self.sky, self.peak = sky, peak

    def crop(self, images: Tensor, name: str = "image") -> Tensor:
        """Centre crop of (..., H, W); images of a size in `keep` are left alone.

        Raises:
            ValueError: The image is smaller than the network needs, or not square and
                too small along one axis.
        """
        if images.ndim < 2:
            raise ValueError(
                f"{name} is of shape {tuple(images.shape)}; expected (..., H, W)"
            )
        height, width = images.shape[-2:]
        if self._whole(height, width):
            return images
        if min(height, width) < self.size:
            accepted = ", ".join(str(s) for s in sorted({self.size, *self.keep}))
            raise ValueError(
                f"{name} has {height} x {width} pixels; expected at least "
                f"{self.size} x {self.size}, or square with a side of {accepted}"
                + self._advice(images.shape)
            )
        top, left = self.offset(height, width)
        return images[..., top : top + self.size, left : left + self.size]

    def _advice(self, shape: Sequence[int]) -> str:
        """What to do about images of a shape that are too small for the crop."""
        height, width = shape[-2:]
        if len(shape) > 2 and width <= 4 and min(shape[-3:-1]) >= self.size:
            return "; channels stand before rows and columns: x.movedim(-1, -3)"
        if not self.sides:
            return ""
        fitting = [side for side in self.sides if side <= min(height, width)]
        if fitting:
            return (
                "; for images of this size call model.set_input_size"
                f"({fitting[-1]}) first (lensequiv predict and evaluate: --input-size "
                f"{fitting[-1]}), best before training"
            )
        return f"; the smallest this network can take has a side of {self.sides[0]}"

    def _whole(self, height: int, width: int) -> bool:
        return height == width and height in (self.size, *self.keep)

    def offset(self, height: int, width: int) -> tuple[int, int]:
        """Row and column of an image at which its crop begins."""
        if self._whole(height, width):
            return 0, 0
        return (height - self.size) // 2, (width - self.size) // 2

    def scale(self, images: Tensor) -> Tensor:
        """Maps (..., H, W) of any unit to float32 with sky 0 and peak 1.

        Raises:
            ValueError: An image's peak is not above its sky, a pixel is NaN or
                infinite, or the pixels are no real numbers.
        """
        scaled, usable = self.attempt(images)
        if not bool(usable.all()):
            self._refuse(images)
        return scaled

    def attempt(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """As `scale`, but says which images it would refuse instead of raising.

        On a GPU nothing waits for the result.

        Args:
            images: (..., H, W) real numbers, on any device.

        Returns:
            The scaled images, float32 on the device of `images`, and (...) bool, true
            where `scale` would return them.

        Raises:
            ValueError: The pixels are no real numbers.
        """
        if images.is_complex() or images.dtype == torch.bool:
            raise ValueError(f"images of type {images.dtype}; expected real numbers")
        if not images.is_floating_point():
            images = images.double()
        pixels = images.flatten(-2)
        sky, peak = self._sky_and_peak(pixels)
        # In double precision: a small signal on a large constant keeps its digits.
        sky, height = sky.double(), peak.double() - sky.double()
        scaled = _linear(pixels, sky, height)
        low, high = scaled.detach().amin(-1), scaled.detach().amax(-1)
        # Whatever is not finite in an image shows in one of these.
        usable = (height > 0).squeeze(-1) & low.isfinite() & high.isfinite()
        return scaled.reshape(images.shape), usable

    def _sky_and_peak(self, pixels: Tensor) -> list[Tensor]:
        last = pixels.shape[-1] - 1
        places = (round(self.sky * last), round(self.peak * last))
        return order_statistics(pixels, places)

    def _refuse(self, images: Tensor) -> NoReturn:
        """Says what is wrong with images of which `attempt` could not use some."""
        images = images if images.is_floating_point() else images.double()
        if not bool(torch.stack(torch.aminmax(images)).isfinite().all()):
            raise ValueError("images hold NaN or infinite pixels; expected none")
        sky, peak = self._sky_and_peak(images.flatten(-2))
        flat = ~(peak > sky)
        if bool(flat.any()):
            bad = int(flat.flatten().nonzero()[0])
            if images.ndim == 4:
                bad //= images.shape[1]
            raise ValueError(
                f"image {bad}: its {self.peak} quantile is not above its {self.sky} "
                "quantile after the crop, so there is nothing to scale to; expected "
                "an image with a source in its centre"
            )
        raise ValueError(
            f"a pixel lies so far beyond its image's {self.peak} quantile that "
            "float32 cannot hold it after scaling; expected an image without such "
            "outliers"
        )

    def forward(self, images: Tensor | SupportsArray | Sequence[Any]) -> Tensor:
        """Maps (..., H, W) to (..., size, size) float32; see `crop` and `scale`.

        Args:
            images: Tensor, array or (nested) list of real numbers.

        Raises:
            TypeError: It is something else.
            ValueError: As `crop` and `scale`; or an array holds other values than real
                numbers, or has masked pixels.
        """
        return self.scale(self.crop(as_tensor(images)))

    def to_config(self) -> dict[str, Any]:
        """The parameters as a JSON-able dictionary."""
        return {
            "name": self.name,
            "size": self.size,
            "keep": list(self.keep),
            "sky": self.sky,
            "peak": self.peak,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> CropAndScale:
        """Inverse of `to_config`.

        Raises:
            ValueError: A parameter is missing, unknown or out of range.
        """
        wanted = {"name", "size", "keep", "sky", "peak"}
        if differing := sorted(wanted ^ set(config)):
            raise ValueError(
                f"{cls.name}: parameter {differing[0]!r} is missing or unknown; "
                f"expected {', '.join(sorted(wanted))}"
            )
        parameters = {k: v for k, v in config.items() if k != "name"}
        return cls(**parameters)

    def extra_repr(self) -> str:
        """The parameters, for printing."""
        parts = (f"{k}={v}" for k, v in self.to_config().items() if k != "name")
        return ", ".join(parts)


def _linear(pixels: Tensor, sky: Tensor, height: Tensor) -> Tensor:
    """(pixels - sky) / height in float32: (..., N) and (..., 1) float64."""
    if pixels.ndim < 2 or pixels.requires_grad or not pixels.is_cpu:
        return ((pixels - sky) / height).float()
    scaled = torch.empty_like(pixels, dtype=torch.float32)
    # A few images at a time stay in the processor's cache.
    few = max(1, _CACHED * len(pixels) // max(1, pixels.numel()))
    parts = (tensor.split(few) for tensor in (pixels, sky, height, scaled))
    for image, low, scale, out in zip(*parts, strict=True):
        torch.div(image - low, scale, out=out)
    return scaled


def as_tensor(images: Tensor | SupportsArray | Sequence[Any]) -> Tensor:
    """Images in a form that torch computes with, in their own unit and shape.

    Args:
        images: Tensor, array (NumPy, or anything with `__array__`) or list of real
            numbers, or of arrays or tensors of one shape.

    Returns:
        A tensor as it is; else a new one, float64 for integers and float64, float32 for
        other real numbers.

    Raises:
        TypeError: It is something else, such as a path.
        ValueError: The values are no real numbers, an array has masked pixels, or the
            items of a list differ in shape.
    """
    if isinstance(images, Tensor):
        if torch.masked.is_masked_tensor(images):
            masked = int((~images.get_mask()).sum())
            if masked:
                raise ValueError(
                    f"images with {masked} masked pixels; expected none: fill those "
                    "pixels first"
                )
            data: Tensor = images.get_data()
            return data
        return images
    if isinstance(images, list | tuple):
        parts = [
            as_tensor(item) for item in images if not isinstance(item, int | float)
        ]
        if parts and len(parts) == len(images):
            shapes = sorted({tuple(part.shape) for part in parts})
            if len(shapes) > 1:
                raise ValueError(
                    f"a list of images of the shapes {', '.join(map(str, shapes))}; "
                    "expected one shape: preprocess them one by one"
                )
            return torch.stack(parts)
    elif not isinstance(images, SupportsArray):
        raise TypeError(
            f"images of type {type(images).__name__}; expected a tensor or an array "
            "(lensequiv.data.read_image reads a file)"
        )
    mask = getattr(images, "mask", None)  # of NumPy's and astropy's arrays
    if mask is not None and not callable(mask) and np.any(mask):
        raise ValueError(
            f"images with {np.count_nonzero(mask)} masked pixels; expected none: fill "
            "those pixels first"
        )
    array = np.asarray(images)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"images of type {array.dtype}; expected real numbers")
    wide = array.dtype.kind in "iu" or array.dtype.itemsize >= 8
    return torch.from_numpy(array.astype(np.float64 if wide else np.float32))
