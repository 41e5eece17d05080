"""Random positions and orientations for training, on whole batches."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["RandomPose"]


class RandomPose(nn.Module):
    """Crops each image at a random shift, turn and flip.

    Every image gets a turn by a multiple of 90 degrees and, half the time, a mirror
    image; both move pixels without changing them. A share of the images is turned by
    any angle besides, with bilinear interpolation. That smooths noise by up to a factor
    of two, which is why not all are. Pixels from beyond the frame are reflected into
    it, so they carry the sky and its noise.

    Randomness comes from torch's global generator.

    Args:
        size: Side of the result in pixels, odd.
        shift: Largest shift along either axis in pixels; shifts are whole numbers.
        rotate: Share of the images that are turned off the pixel grid.

    Raises:
        ValueError: `size` is even, `shift` negative, or `rotate` is not within [0, 1].
    """

    def __init__(self, size: int = 129, shift: int = 6, rotate: float = 0.5) -> None:
        super().__init__()
        if size < 1 or size % 2 == 0:
            raise ValueError(f"size={size}: expected an odd number of pixels")
        if shift < 0:
            raise ValueError(f"shift={shift}: expected 0 or more pixels")
        if not 0 <= rotate <= 1:
            raise ValueError(f"rotate={rotate}: expected a share between 0 and 1")
        self.size, self.shift, self.rotate = size, shift, rotate

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N, C, H, W) of any real dtype to (N, C, size, size) float32."""
        n, height, width = images.shape[0], images.shape[-2], images.shape[-1]
        turns = torch.randint(4, (n,)) * (math.pi / 2)
        off_grid = (torch.rand(n) < self.rotate) * torch.rand(n) * (math.pi / 2)
        flips = torch.randint(2, (n,)) * 2.0 - 1.0
        shifts = torch.randint(-self.shift, self.shift + 1, (2, n, 1)).float()
        cos, sin = (
            torch.cos(turns + off_grid)[:, None],
            torch.sin(turns + off_grid)[:, None],
        )
        steps = torch.arange(self.size) - float(self.size // 2)
        x, y = steps + shifts[0], steps + shifts[1]
        # grid_sample counts from -1 to 1 between the outer edges of the frame. The
        # centre is a pixel, so that turns by 90 degrees hit pixels.
        centre_x, centre_y = (width - 1) // 2 + 0.5, (height - 1) // 2 + 0.5
        scale_x, scale_y = flips[:, None] * (2 / width), 2 / height
        # Sums of a row and a column, so nothing of full size is made but the grid.
        grid = torch.empty(n, self.size, self.size, 2)
        row, column = cos * x * scale_x + (centre_x * 2 / width - 1), -sin * y * scale_x
        torch.add(row[:, None, :], column[:, :, None], out=grid[..., 0])
        row, column = sin * x * scale_y + (centre_y * 2 / height - 1), cos * y * scale_y
        torch.add(row[:, None, :], column[:, :, None], out=grid[..., 1])
        return F.grid_sample(
            images.float(),
            grid.to(images.device),
            padding_mode="reflection",
            align_corners=False,
        )

    def extra_repr(self) -> str:
        """The parameters, for printing."""
        return f"size={self.size}, shift={self.shift}, rotate={self.rotate}"
