"""Images on their way to the network: read, cropped, scaled, measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from lensequiv.domain import image_features, image_statistics
from lensequiv.inference._classifier import Classifier
from lensequiv.inference._cropping import Cropped, crop_to_fit
from lensequiv.inference._options import Options
from lensequiv.inference._scale import PixelScales
from lensequiv.inference._source import Loaded, Source
from lensequiv.transforms import CropAndScale

__all__ = [
    "AT_ONCE",
    "Failed",
    "Preparation",
    "Prepared",
    "View",
    "features_of",
    "kind",
]

AT_ONCE = 16
"""Images that are prepared together: few enough for a processor's cache, and enough
that the calls cost less than the pixels."""


class View(NamedTuple):
    """Where the network's pixels lie in an image as it was stored.

    Attributes:
        left: Column of the image, from 0, of the centre of the first pixel.
        top: Row of the image, likewise.
        pixel: Side of a pixel, in pixels of the image.
        scale: Side of a pixel; None if it is not known. *Unit*: arcsec.
    """

    left: float
    top: float
    pixel: float
    scale: float | None


@dataclass(frozen=True)
class Prepared:
    """An image ready to be classified.

    Attributes:
        image: (C, H, W): preprocessed; or, if the device is to scale it, cropped.
        features: What `features_of` returns for it; None if the device is to measure.
        notes: Of its file and on its pixel scale.
        name: Of the image.
        before: For messages on its size: what it was before it was resampled.
        view: Where it lies in the stored image; None if preprocessing does not say.
        guessed: Whether nothing tells its pixel scale.
    """

    image: Tensor
    features: Tensor | None
    notes: list[str]
    name: str
    before: str = ""
    view: View | None = None
    guessed: bool = False


Failed = OSError | ValueError
"""Why an image could not be prepared."""


def kind(item: Prepared) -> tuple[torch.Size, torch.dtype, torch.device]:
    """What images have to share to be stacked."""
    return item.image.shape, item.image.dtype, item.image.device


def features_of(model: Classifier, images: Tensor) -> Tensor:
    """What of preprocessed images is compared with the training images.

    Args:
        model: Any; one without `domain` needs the first five numbers alone.
        images: (N, C, H, W) on any device.

    Returns:
        (N, 16), the `lensequiv.domain.image_features`, or (N, 5), the
        `lensequiv.domain.image_statistics`, which are the first of those.
    """
    if model.domain is not None:
        return image_features(images)
    return torch.stack(list(image_statistics(images).values()), 1)


class Preparation:
    """Reads and prepares images, a few at a time, in any thread.

    Args:
        model: Whose preprocessing and pixel scale count.
        source: What to read.
        options: How.
        scales: What is done about pixel scales.
        crop_only: Whether another device scales and measures the images; possible with
            `CropAndScale` alone.
    """

    def __init__(
        self,
        model: Classifier,
        source: Source,
        options: Options,
        scales: PixelScales,
        *,
        crop_only: bool = False,
    ) -> None:
        self.model, self.source, self.options = model, source, options
        self.scales, self.crop_only = scales, crop_only
        self.preprocess = model.preprocess

    @torch.no_grad()
    def __call__(self, positions: Sequence[int]) -> list[Prepared | Failed]:
        """The images at some positions, or why one could not be used."""
        read = [self._read(i) for i in positions]
        if self.crop_only:
            return read
        done: list[Prepared | Failed] = []
        for item in _groups(read):
            done += self._scaled(item) if isinstance(item, list) else [item]
        return done

    def alone(self, item: Prepared) -> Prepared | Failed:
        """Preprocesses and measures one image, or says why it cannot be used."""
        preprocess = self.preprocess
        try:
            if isinstance(preprocess, CropAndScale):
                image = preprocess.scale(item.image)  # it was cropped
            else:
                image = self.model.preprocess(item.image)
        except ValueError as error:
            return _named(error, item.name, item.before)
        features = features_of(self.model, image[None])[0]
        return replace(item, image=image, features=features)

    def reason(self, item: Prepared) -> Failed:
        """Why a device could not scale an image that was only cropped."""
        found = self.alone(item)
        if isinstance(found, Exception):
            return found
        return ValueError(f"{item.name}: its pixels cannot be scaled to sky and peak")

    def _read(self, position: int) -> Prepared | Failed:
        """One image, cropped if all that follows can be done to many at once."""
        name = self.source.names[position]
        try:
            loaded = self._grey(self.source.load(position))
            self._check_channels(name, loaded)
            image, notes = self.scales.apply(loaded, name)
        except (OSError, ValueError) as error:
            return error
        before = self.scales.before(loaded)
        view = None
        if isinstance(self.preprocess, CropAndScale):
            pixels = image.numel()
            try:
                cropped = crop_to_fit(
                    self.preprocess, image, enlarge=self.options.enlarge
                )
            except ValueError as error:
                return _named(error, name, before)
            view = self._view(loaded, image, cropped)
            image, notes = cropped.image, [*notes, *cropped.notes]
            if image.numel() < pixels // 4:
                image = image.clone()  # so that the rest need not stay in memory
        guessed = self.scales.is_guessed(loaded)
        notes = [*loaded.notes, *notes]
        return Prepared(image, None, notes, name, before, view, guessed)

    def _view(self, loaded: Loaded, image: Tensor, cropped: Cropped) -> View:
        """Where the crop of an image lies in it as it was stored."""
        pixel, scale = self.scales.pixel(loaded)
        (height, width), (rows, columns) = loaded.image.shape[-2:], image.shape[-2:]
        above, before = loaded.corner
        # Resampling keeps the centre.
        return View(
            before + (width - 1) / 2 + (cropped.left - (columns - 1) / 2) * pixel,
            above + (height - 1) / 2 + (cropped.top - (rows - 1) / 2) * pixel,
            pixel,
            scale,
        )

    def _grey(self, loaded: Loaded) -> Loaded:
        """A picture with three equal channels as the one that it is."""
        image = loaded.image
        if self.model.in_channels != 1 or len(image) != 3:
            return loaded
        grey = torch.equal(image[0], image[1]) and torch.equal(image[0], image[2])
        return replace(loaded, image=image[:1]) if grey else loaded

    def _check_channels(self, name: str, loaded: Loaded) -> None:
        channels, model = loaded.image.shape[0], self.model
        if channels != model.in_channels:
            advice = ""
            if name.startswith("x[") and channels == 1:
                advice = "; three axes are (N, H, W): give x[None] for one image"
            elif model.in_channels == 1:
                stack = "; if these are images, pass the array itself"
                advice = (
                    "; give one of them (read_image reads them all), or fine-tune a "
                    f"network for all: from_pretrained(..., in_channels={channels})"
                    f"{'' if name.startswith('x[') else stack}"
                )
            raise ValueError(
                f"{name} has {channels} channels; {model.name} expects "
                f"{model.in_channels}{advice}"
            )

    def _scaled(self, group: list[Prepared]) -> list[Prepared | Failed]:
        """Preprocesses and measures images of one kind."""
        if not isinstance(self.preprocess, CropAndScale):
            return [self.alone(item) for item in group]
        together = torch.stack([item.image for item in group])
        images, usable = self.preprocess.attempt(together)
        features = features_of(self.model, images)
        rows = zip(group, images, features, usable.all(1).tolist(), strict=True)
        return [
            replace(item, image=image, features=row) if fine else self.alone(item)
            for item, image, row, fine in rows
        ]


def _groups(
    items: Sequence[Prepared | Failed],
) -> Iterator[list[Prepared] | Failed]:
    """Images of one kind that follow each other, and errors."""
    good: list[Prepared] = []
    for item in items:
        fits = isinstance(item, Prepared) and (not good or kind(good[0]) == kind(item))
        if good and not fits:
            yield good
            good = []
        if isinstance(item, Prepared):
            good.append(item)
        else:
            yield item
    if good:
        yield good


def _named(error: ValueError, name: str, before: str) -> ValueError:
    """An error of preprocessing that says which image is meant."""
    named = ValueError(f"{name}: {error}{before}")
    named.__suppress_context__ = True
    return named
