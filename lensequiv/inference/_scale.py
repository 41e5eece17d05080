"""The pixel scale of images beside that of the training images."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from torch import Tensor

from lensequiv._checks import check_positive
from lensequiv.inference._source import Loaded
from lensequiv.spec import Network
from lensequiv.transforms import resample
from lensequiv.transforms._resample import resampled_side

__all__ = ["SCALE_TOLERANCE", "PixelScales"]

SCALE_TOLERANCE = 0.01
"""How far the ratio of two pixel scales may be from 1 without a word.

Accuracy of `c8-modelJ@1` on 600 lenses, 0.983 at its own 0.05 arcsec: 0.968 to 0.978 up
to 3 % away, which is about the chance of these images; 0.953 at 0.0525, 0.852 at 0.055.
"""


@dataclass(frozen=True)
class PixelScales:
    """What is done about the pixel scale of each image.

    Attributes:
        model: Name of the model, for messages.
        wanted: Of the training images; None if it is not known. *Unit*: arcsec/pixel.
        given: Of all images, by the caller, before what headers say.
            *Unit*: arcsec/pixel.
        resample: Whether to bring images to `wanted`.
    """

    model: str
    wanted: float | None
    given: float | None
    resample: bool

    @classmethod
    def of(
        cls, model: Network, given: float | None, resample: bool, *, headers: bool
    ) -> PixelScales:
        """Checks what can be checked before an image is read.

        Args:
            model: Whose training images they are compared with.
            given: See `lensequiv.predict`.
            resample: See `lensequiv.predict`.
            headers: Whether images may know their scale themselves.

        Raises:
            ValueError: `given` is not a positive number, or images are to be resampled
                and one of the scales cannot be known.
        """
        if given is not None:
            given = check_positive("pixel_scale", given)
        wanted = model.pixel_scale
        if resample and wanted is None:
            raise ValueError(
                f"resample=True, but the pixel scale of the images that {model.name} "
                "was trained on is not known: set model.pixel_scale (arcsec/pixel) "
                "first"
            )
        if resample and given is None and not headers:
            raise ValueError(
                "resample=True, but the pixel scale of the images is not known: give "
                "pixel_scale= (arcsec/pixel)"
            )
        if given is not None and wanted is None:
            warnings.warn(
                f"pixel_scale={given:g} is compared with nothing, since the pixel "
                f"scale of the images that {model.name} was trained on is not known: "
                "set model.pixel_scale (arcsec/pixel)",
                stacklevel=4,
            )
        return cls(model.name, wanted, given, resample)

    def apply(self, loaded: Loaded, name: str) -> tuple[Tensor, list[str]]:
        """Resamples an image if that is wanted, else compares the scales.

        Args:
            loaded: The image.
            name: What to call it.

        Returns:
            The image, (C, H, W), and a note if its scale is not the training images'.

        Raises:
            ValueError: It is to be resampled, and its scale is not known.
        """
        scale = loaded.pixel_scale if self.given is None else self.given
        if self.wanted is None or (scale is None and not self.resample):
            return loaded.image, []
        if scale is None:
            raise ValueError(
                f"{name}: nothing says its pixel scale, so it cannot be resampled; "
                "give pixel_scale= (arcsec/pixel) or a header with a scale"
            )
        if abs(scale / self.wanted - 1) <= SCALE_TOLERANCE + 1e-9:  # of rounding
            return loaded.image, []
        if not self.resample:
            note = (
                f"pixel scale {scale:.4g} arcsec (training {self.wanted:.4g}: "
                "resample=True brings the image to it)"
            )
            return loaded.image, [note]
        try:
            return resample(loaded.image, scale, self.wanted), []
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

    def is_guessed(self, loaded: Loaded) -> bool:
        """Whether nothing tells an image's scale, so that the wanted one is assumed."""
        untold = self.given is None and loaded.pixel_scale is None
        return self.wanted is not None and untold

    def pixel(self, loaded: Loaded) -> tuple[float, float | None]:
        """The network's pixels in those of an image.

        Args:
            loaded: The image, which `apply` takes.

        Returns:
            The side of a pixel after `apply` in pixels before it, and in arcsec; the
            latter None if no scale is known.
        """
        scale = loaded.pixel_scale if self.given is None else self.given
        if scale is None:
            return 1.0, self.wanted
        if self.wanted is None or not self.resample:
            return 1.0, scale
        if abs(scale / self.wanted - 1) <= SCALE_TOLERANCE + 1e-9:
            return 1.0, scale
        return self.wanted / scale, self.wanted

    def before(self, loaded: Loaded) -> str:
        """For messages about a resampled image's size: what it was before."""
        scale = loaded.pixel_scale if self.given is None else self.given
        if not self.resample or scale is None or self.wanted is None:
            return ""
        height, width = loaded.image.shape[-2:]
        sides = [resampled_side(s, scale, self.wanted) for s in (height, width)]
        if sides == [height, width]:
            return ""
        return (
            f" (resampled from {height} x {width} pixels of {scale:.4g} arcsec to "
            f"{sides[0]} x {sides[1]} of {self.wanted:.4g})"
        )
