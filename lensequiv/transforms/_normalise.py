"""Preprocessing of the zoo: crop and scale, the same for any telescope's units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lensequiv._checks import check_count, check_number

__all__ = ["CropAndScale", "order_statistics"]


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

    Raises:
        ValueError: A parameter is out of range.
    """

    name = "crop-and-scale"

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
        height, width = images.shape[-2:]
        if self._whole(height, width):
            return images
        if min(height, width) < self.size:
            accepted = ", ".join(str(s) for s in sorted({self.size, *self.keep}))
            raise ValueError(
                f"{name} has {height} x {width} pixels; expected at least "
                f"{self.size} x {self.size}, or square with a side of {accepted}"
            )
        top, left = self.offset(height, width)
        return images[..., top : top + self.size, left : left + self.size]

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
            ValueError: An image's peak is not above its sky, or a pixel is NaN or
                infinite.
        """
        if not images.is_floating_point():
            images = images.double()
        if not bool(torch.stack(torch.aminmax(images)).isfinite().all()):
            raise ValueError("images hold NaN or infinite pixels; expected none")
        pixels = images.flatten(-2)
        last = pixels.shape[-1] - 1
        places = (round(self.sky * last), round(self.peak * last))
        sky, peak = order_statistics(pixels, places)
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
        # In double precision: a small signal on a large constant keeps its digits.
        sky, height = sky.double(), peak.double() - sky.double()
        if pixels.ndim < 2 or pixels.requires_grad:
            scaled = ((pixels - sky) / height).float()
        else:
            scaled = torch.empty_like(pixels, dtype=torch.float32)
            # Image by image, which stays in the processor's cache.
            for image, low, scale, out in zip(pixels, sky, height, scaled, strict=True):
                torch.div(image - low, scale, out=out)
        if not bool(torch.stack(torch.aminmax(scaled.detach())).isfinite().all()):
            raise ValueError(
                f"a pixel lies so far beyond its image's {self.peak} quantile that "
                "float32 cannot hold it after scaling; expected an image without such "
                "outliers"
            )
        return scaled.reshape(images.shape)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (..., H, W) to (..., size, size) float32; see `crop` and `scale`."""
        return self.scale(self.crop(images))

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


def order_statistics(pixels: Tensor, places: Sequence[int]) -> list[Tensor]:
    """The pixels that stand at some places in the order of their values.

    On the CPU by NumPy's partition, which finds all at once in a tenth of the time of
    torch's selection.

    Args:
        pixels: (..., N) finite numbers.
        places: From 0 to N - 1.

    Returns:
        (..., 1) each, in the dtype of the pixels.
    """
    if pixels.is_cpu and not pixels.requires_grad and pixels.dtype != torch.bfloat16:
        ordered = torch.from_numpy(np.partition(pixels.numpy(), places, axis=-1))
        return [ordered[..., place : place + 1] for place in places]
    return [pixels.kthvalue(place + 1, -1, keepdim=True).values for place in places]
