"""The preprocessing of the 2021 study, reproduced to the last grey level.

The authors' code (``dataset.py`` and ``main.py`` of the project
``Equivariant_Neural_Networks_for_DeepLense_Apoorva_Singh`` in the GitHub repository
ML4SCI/DeepLense) gave 8-bit Pillow images to torchvision's transforms, and so does this
module: no pixel differs. On tensors the same transforms come out 0.3 to 0.4 grey levels
brighter. A training image takes 3 to 6 ms on one core.

**Known deviations from 2021.**

- The authors made three equal colour channels and turned them to grey after
  ``ToTensor``, with weights that add up to 0.9999; this factor is left out.
- Negative pixels become 0; NumPy's cast to ``uint8`` leaves them undefined (they
  usually turn bright). The simulated counts of 2021 were never negative.
- At test time the authors cropped at random; `Singh2021Eval` crops the centre.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from lensequiv._checks import check_count, check_number
from lensequiv.data.arrays import SupportsArray
from lensequiv.transforms._normalise import as_tensor

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Singh2021Eval", "Singh2021Train"]

_LARGEST = 8192  # pixels along a side, enlarged to be rotated or not

# torchvision takes half a second to import: it is imported where it is needed.


class MaxToUint8(nn.Module):
    """Divide an image by its maximum and cut 255 times that off to 8 bits.

    Computed in float64, as NumPy did with the float64 files of 2021.
    """

    def forward(self, image: Tensor) -> list[Image]:
        """(C, H, W) of any real dtype with a positive maximum to C grey pictures."""
        from torchvision.transforms.v2.functional import to_pil_image

        counts = image.double()
        levels = (255 * (counts / counts.max())).clamp(min=0).to(torch.uint8)
        return [to_pil_image(channel, mode="L") for channel in levels]


class Uint8ToUnit(nn.Module):
    """Grey levels 0 to 255 to float32 in [0, 1], as torchvision's ``ToTensor``."""

    def forward(self, channels: list[Image]) -> Tensor:
        """C grey pictures to (C, H, W)."""
        from torchvision.transforms.v2.functional import pil_to_tensor

        return torch.cat([pil_to_tensor(one) for one in channels]).float() / 255


class _Singh2021(nn.Module):
    """What training and evaluation share: input checks, the loop, configuration."""

    name: ClassVar[str]
    parameter_names: ClassVar[tuple[str, ...]] = ("size", "padded")
    generator: torch.Generator | None = None

    def __init__(self, size: int, padded: int) -> None:
        super().__init__()
        check_count("size", size)
        check_count("padded", padded, size, _LARGEST)
        self.size, self.padded = size, padded

    @property
    def steps(self) -> nn.Sequential:
        """The steps, for one image; made, and torchvision imported, on first use."""
        if "_steps" not in self._modules:
            self._steps = self._build()
        return self._steps

    def _build(self) -> nn.Sequential:
        raise NotImplementedError

    def __repr__(self) -> str:
        """All steps in their order, with their parameters."""
        return f"{type(self).__name__}({self.steps!r})"

    def forward(self, image: Tensor | SupportsArray | Sequence[Any]) -> Tensor:
        """Apply all steps to one image or, independently, to each of several.

        Args:
            image: Tensor, array or list, (H, W), (C, H, W) or (N, C, H, W), floating
                or integer, in any flux unit, H and W at least `size`. Three dimensions
                are one image: its
                channels share maximum, crop and angle.

        Returns:
            float32 in [0, 1] of as many dimensions, the last two (padded, padded).

        Raises:
            TypeError: If `image` is neither a tensor nor an array nor a list of these.
            ValueError: If the shape, dtype or pixel values are not as above, an image
                holds NaN or infinity, or its maximum is not positive.
        """
        image = as_tensor(image)
        self._check(image)
        channels = image.shape[-3] if image.ndim > 2 else 1
        images = image.cpu().reshape(-1, channels, *image.shape[-2:])
        for index, one in enumerate(images):
            if not torch.isfinite(one).all():
                msg = f"expected finite pixels, found NaN or infinity in image {index}"
                raise ValueError(msg)
            if (peak := float(one.double().max())) <= 0:
                msg = f"expected a maximum above 0, found {peak} in image {index}"
                raise ValueError(msg)
        # torchvision draws from torch's global generator: lend it the state of ours.
        with torch.random.fork_rng(devices=[], enabled=self.generator is not None):
            if self.generator is not None:
                torch.set_rng_state(self.generator.get_state())
            result = torch.stack([self.steps(one) for one in images])
            if self.generator is not None:
                self.generator.set_state(torch.get_rng_state())
        return result.reshape(*image.shape[:-2], *result.shape[-2:]).to(image.device)

    def _check(self, image: Tensor) -> None:
        found = f"found shape {tuple(image.shape)}"
        if image.ndim not in (2, 3, 4):
            raise ValueError(f"expected (H, W), (C, H, W) or (N, C, H, W), {found}")
        if image.numel() == 0:
            raise ValueError(f"expected at least one pixel, {found}")
        if min(image.shape[-2:]) < self.size:
            msg = f"expected images of at least {self.size} x {self.size} pixels, "
            raise ValueError(f"{msg}found {image.shape[-2]} x {image.shape[-1]}")
        if image.dtype == torch.bool or image.is_complex():
            msg = f"expected a floating or integer dtype, found {image.dtype}"
            raise ValueError(msg)

    def to_config(self) -> dict[str, Any]:
        """The name and all parameters, ready for JSON; without the generator."""
        return {key: getattr(self, key) for key in ("name", *self.parameter_names)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **keywords: Any) -> Self:
        """Build from what `to_config` returned.

        Args:
            config: Name and parameters; one left out takes the value of 2021.
            keywords: ``generator``, where the transform takes one.

        Raises:
            ValueError: If the name is another's or a key is unknown.
        """
        parameters = dict(config)
        if (name := parameters.pop("name", None)) != cls.name:
            raise ValueError(f"expected name {cls.name!r}, found {name!r}")
        if unknown := sorted(set(parameters) - set(cls.parameter_names)):
            msg = f"{cls.name} knows {list(cls.parameter_names)}, found also {unknown}"
            raise ValueError(msg)
        return cls(**parameters, **keywords)


class Singh2021Train(_Singh2021):
    """The random preprocessing with which the networks of 2021 were trained.

    The study trained its steerable networks with it; its ResNet-18 saw images neither
    resized nor rotated, as in `Singh2021Eval` but cropped at random. Images are
    processed one by one, on the CPU. Each draws the row of its crop, the column (where
    there is a choice) and the angle; `steps`, called directly, ignores `generator`.

    Args:
        size: Pixels along each side of the crop, at most `padded`.
        padded: Pixels along each side after zeros are added below and to the right.
        upsample: Factor, at least 1, by which the image is enlarged to be rotated.
        degrees: The angle is uniform in [-degrees, degrees]; at most 180.
        generator: Source of randomness, on the CPU; by default torch's global one, as
            is best in a DataLoader (its workers would all begin from the same copy) and
            in threads (during a call the global one takes on the state of this one).
    """

    name = "singh2021-train"
    parameter_names = ("size", "padded", "upsample", "degrees")

    def __init__(
        self,
        size: int = 128,
        padded: int = 129,
        upsample: int = 3,
        degrees: float = 180.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(size, padded)
        check_count("upsample", upsample, high=_LARGEST // padded)
        check_number("degrees", degrees, 0, 180)
        self.upsample = upsample
        self.degrees = float(degrees)
        self.generator = generator

    def _build(self) -> nn.Sequential:
        from torchvision.transforms import v2

        missing = self.padded - self.size
        return nn.Sequential(
            MaxToUint8(),
            v2.RandomCrop(self.size),
            v2.Pad([0, 0, missing, missing]),
            v2.Resize([self.upsample * self.padded] * 2),
            v2.RandomRotation(self.degrees, v2.InterpolationMode.BILINEAR),
            v2.Resize([self.padded] * 2),
            Uint8ToUnit(),
        )


class Singh2021Eval(_Singh2021):
    """The deterministic preprocessing for networks trained as in 2021.

    As in the study, images to be tested are neither rotated nor resized, and so a
    little sharper and noisier than those of training: on rings with Poisson noise (peak
    800 counts, sky 10 to 30) `Singh2021Train` at 0 degrees differs by 0.5 to 0.9 grey
    levels on average, by up to 22 at single pixels and by less than 0.03 in the mean.

    Args:
        size: Pixels along each side of the central crop, at most `padded`.
        padded: Pixels along each side after zeros are added below and to the right.
    """

    name = "singh2021-eval"

    def __init__(self, size: int = 128, padded: int = 129) -> None:
        super().__init__(size, padded)

    def offset(self, height: int, width: int) -> tuple[int, int]:
        """Row and column of an image at which its crop begins."""
        # CenterCrop rounds halves to even.
        return round((height - self.size) / 2), round((width - self.size) / 2)

    def _build(self) -> nn.Sequential:
        from torchvision.transforms import v2

        missing = self.padded - self.size
        return nn.Sequential(
            MaxToUint8(),
            v2.CenterCrop(self.size),
            v2.Pad([0, 0, missing, missing]),
            Uint8ToUnit(),
        )
