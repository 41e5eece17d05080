"""Random positions and orientations for training, on whole batches."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lensequiv._neutral import neutral

__all__ = ["RandomPose", "resample", "rotate"]


class RandomPose(nn.Module):
    """Crops each image at a random shift, turn and flip.

    Every image gets a turn by a multiple of 90 degrees and, half the time, a mirror
    image; both move pixels without changing them. A share of the images is turned by
    any angle besides, with bilinear interpolation. That smooths noise by up to a factor
    of two, which is why not all are. The frames have at least `size` pixels; what a
    shift or a turn takes from beyond them is reflected into them, so it carries the
    sky and its noise.

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

    @neutral()
    def forward(self, images: Tensor) -> Tensor:
        """Maps (N, C, H, W) of any real dtype to (N, C, size, size) float32.

        Raises:
            TypeError: The images are no tensor.
            ValueError: They have another number of axes, or H or W is below `size`.
        """
        check_frames(images, self.size)
        return self.apply_drawn(images, *self.draw(len(images)))

    @neutral()
    def apply_drawn(
        self, images: Tensor, angle: Tensor, flips: Tensor, shifts: Tensor
    ) -> Tensor:
        """As `forward`, with what `draw` returned: for labels that move along.

        Args:
            images: (N, C, H, W) of any real dtype.
            angle: (N,) by which the sampled pixels are turned, in radians.
            flips: (N,) -1 for a mirror image along x, else 1.
            shifts: (2, N, 1) of the sampled pixels along x and y, in pixels.

        Returns:
            (N, C, size, size) float32.

        Raises:
            TypeError: As `forward`.
            ValueError: As `forward`.
        """
        check_frames(images, self.size)
        return resample(images, angle, flips, shifts, self.size)

    def draw(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """The `angle`, `flips` and `shifts` for n images; see `apply_drawn`."""
        turns = torch.randint(4, (n,)) * (math.pi / 2)
        off_grid = (torch.rand(n) < self.rotate) * torch.rand(n) * (math.pi / 2)
        flips = torch.randint(2, (n,)) * 2.0 - 1.0
        shifts = torch.randint(-self.shift, self.shift + 1, (2, n, 1)).float()
        return turns + off_grid, flips, shifts

    def extra_repr(self) -> str:
        """The parameters, for printing."""
        return f"size={self.size}, shift={self.shift}, rotate={self.rotate}"


@neutral()
def rotate(images: Tensor, degrees: Tensor | float, size: int = 129) -> Tensor:
    """Turns images about their central pixel and crops them, on whole batches.

    With bilinear interpolation: nearer to a lens rendered at that angle than the 2021
    chain (up three times, bilinear turn, down three times), and no farther than bicubic
    interpolation (`benchmarks/transforms.py`).

    Args:
        images: (N, C, H, W) of any real dtype.
        degrees: Anticlockwise where row 0 is at the bottom, like the `rotation` of
            `lensequiv.simulation.simulate`; one for all or (N,).
        size: Side of the result in pixels, odd.

    Returns:
        (N, C, size, size) float32. Pixels from beyond the frame are reflected into it.

    Raises:
        TypeError: The images are no tensor.
        ValueError: `size` is even, or the images have another number of axes or fewer
            pixels along one of them.
    """
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size={size}: expected an odd number of pixels")
    check_frames(images, size)
    n = len(images)
    angle = -torch.deg2rad(torch.as_tensor(degrees, dtype=torch.float32))
    return resample(images, angle.expand(n), torch.ones(n), torch.zeros(2, n, 1), size)


def check_frames(images: Tensor, size: int) -> None:
    """Requires frames that a crop fits into: the rest of it would be mirror images.

    Args:
        images: (N, C, H, W).
        size: Side of the crop in pixels.

    Raises:
        TypeError: The images are no tensor.
        ValueError: They have another number of axes, or H or W is below `size`.
    """
    if not isinstance(images, Tensor):
        raise TypeError(
            f"images of type {type(images).__name__}; expected a tensor (N, C, H, W): "
            "torch.as_tensor(images)"
        )
    if images.ndim != 4:
        raise ValueError(
            f"images of shape {tuple(images.shape)}; expected (N, C, H, W)"
        )
    height, width = images.shape[-2:]
    if min(height, width) >= size:
        return
    fits = largest_zoo_size(min(height, width))
    advice = (
        f"a network for smaller images: model.set_input_size({fits}), and size={fits} "
        "here"
        if fits
        else "larger images: no network of the zoo takes fewer than 33 x 33"
    )
    raise ValueError(
        f"images of {height} x {width} pixels, of which size={size} would make "
        f"{size} x {size} by mirroring; expected at least {size} x {size} pixels, or "
        f"{advice}"
    )


def largest_zoo_size(side: int) -> int | None:
    """The largest input of the zoo's networks that fits into a frame.

    They take sides of 16 k + 1 pixels from 33 on; see
    `lensequiv.models.LensNetwork.input_sizes`.

    Args:
        side: Shorter side of the frame, in pixels.

    Returns:
        The side, or None if even the smallest one is larger than the frame.
    """
    return (side - 1) // 16 * 16 + 1 if side >= 33 else None


def resample(
    images: Tensor,
    angle: Tensor,
    flips: Tensor,
    shifts: Tensor,
    size: int,
) -> Tensor:
    """Samples images at turned, mirrored and shifted pixels.

    Args:
        images: (N, C, H, W).
        angle: (N,) of the pixels sampled, in radians. Where this and the next two are,
            the grid is computed.
        flips: (N,) -1 for a mirror image along x, else 1.
        shifts: (2, N, 1) of the pixels sampled, along x and y.
        size: Side of the result.

    Returns:
        (N, C, size, size) float32.
    """
    height, width = images.shape[-2:]
    cos, sin = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
    steps = torch.arange(size, device=angle.device) - float(size // 2)
    x, y = steps + shifts[0], steps + shifts[1]
    # grid_sample counts from -1 to 1 between the outer edges of the frame. The centre
    # is a pixel, so that turns by 90 degrees hit pixels.
    centre_x, centre_y = (width - 1) // 2 + 0.5, (height - 1) // 2 + 0.5
    scale_x, scale_y = flips[:, None] * (2 / width), 2 / height
    # Sums of a row and a column, so nothing of full size is made but the grid.
    grid = torch.empty(len(images), size, size, 2, device=angle.device)
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
