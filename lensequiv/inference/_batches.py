"""Images through the network: read ahead in threads, classified batch by batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Literal

import torch
from torch import Tensor

from lensequiv._checks import check_count
from lensequiv._neutral import neutral
from lensequiv._threads import map_in_threads
from lensequiv.domain import (
    image_features,
    image_statistics,
    statistics_out_of_range,
)
from lensequiv.inference._classifier import Classifier
from lensequiv.inference._scale import PixelScales
from lensequiv.inference._source import Loaded, Source
from lensequiv.plain import PlainModel

__all__ = ["Batch", "Options", "batches", "network_inputs", "network_of"]


@dataclass(frozen=True)
class Options:
    """How images go through a network; see `lensequiv.predict` for each.

    Attributes:
        batch_size: Images that go through the network at once.
        progress: Whether to show a progress bar.
        workers: Threads that read ahead; see `lensequiv.predict` for None.
        precision: Of the convolutions.
        pixel_scale: Of all images. *Unit*: arcsec/pixel.
        resample: Whether to bring images to the model's pixel scale.
        on_error: `"raise"`, or `"skip"` to note in the batch what cannot be used.
    """

    batch_size: int = 64
    progress: bool = False
    workers: int | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    pixel_scale: float | None = None
    resample: bool = False
    on_error: Literal["raise", "skip"] = "raise"

    def __post_init__(self) -> None:
        """Checks what does not depend on the model.

        Raises:
            ValueError: An option is out of range; the message names it.
        """
        check_count("batch_size", self.batch_size)
        if self.workers is not None:
            check_count("workers", self.workers)
        check_precision(self.precision)
        if self.on_error not in ("raise", "skip"):
            raise ValueError(f"on_error={self.on_error!r}: expected 'raise' or 'skip'")


def check_precision(precision: str) -> None:
    """Requires one of the two precisions.

    Raises:
        ValueError: It is neither `"fp32"` nor `"bf16"`.
    """
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision={precision!r}: expected 'fp32' or 'bf16'")


@dataclass(frozen=True)
class Prepared:
    """An image ready for the network.

    Attributes:
        image: (C, H, W), preprocessed.
        pixels: Its `lensequiv.domain.image_features`, if the model has a domain.
        notes: Of its file, on its pixel scale and on its statistics.
    """

    image: Tensor
    pixels: Tensor | None
    notes: list[str]


@dataclass(frozen=True)
class Batch:
    """Some images on their way through the network.

    Attributes:
        names: Of all images that were asked for.
        errors: Why one could not be used, or None, for each name.
        logits: (n, classes) float32 on the CPU, for the images without error.
        probabilities: Likewise.
        notes: For the images without error.
        scores: (n,) float32, for the images without error; None if the model has no
            `domain`.
    """

    names: list[str]
    errors: list[str | None]
    logits: Tensor
    probabilities: Tensor
    notes: list[list[str]]
    scores: Tensor | None


def batches(
    model: Classifier,
    source: Source,
    options: Options,
    *,
    start: int = 0,
    network: Classifier | PlainModel | None = None,
) -> Iterator[Batch]:
    """Reads ahead in threads, classifies in this one.

    What can be checked without an image is checked at the call; the rest happens while
    the batches are taken.

    Args:
        model: See `lensequiv.predict`.
        source: What to read.
        options: How.
        start: Index of the first image.
        network: What `network_of` made for an earlier call; made anew if None.

    Returns:
        The images in order, batch by batch.

    Raises:
        ImageError: See `lensequiv.predict`.
        NotImplementedError: See `network_of`.
        ValueError: See `lensequiv.predict`.
    """
    scales = _scales(model, source, options)
    if network is None:
        network = network_of(model, options.precision)
    return _run(model, source, options, scales, start, network)


def _run(
    model: Classifier,
    source: Source,
    options: Options,
    scales: PixelScales,
    start: int,
    network: Classifier | PlainModel,
) -> Iterator[Batch]:
    from tqdm.auto import tqdm

    size, workers = options.batch_size, options.workers
    workers = min(torch.get_num_threads(), 4) if workers is None else workers
    device = next(model.parameters()).device
    ranges = _ranges(model)

    def prepare(i: int) -> Prepared | Exception:
        try:
            return _prepare(model, scales, ranges, source.names[i], source.load(i))
        except (OSError, ValueError) as error:
            if options.on_error == "raise":
                raise
            return error

    total = len(source.names)
    bar = tqdm(
        total=total, initial=start, unit="img", delay=2, disable=not options.progress
    )
    # While one batch is in the network, the two after it are read.
    ready = map_in_threads(prepare, range(start, total), workers, 2 * size + 1)
    with bar, closing(ready):
        for first in range(start, total, size):
            batch = list(islice(ready, size))
            good = [item for item in batch if not isinstance(item, Exception)]
            logits, embeddings = _classify(network, good, device, model)
            notes, scores = [item.notes for item in good], None
            if model.domain is not None:
                pixels = [item.pixels for item in good if item.pixels is not None]
                more, scores = model.domain.judge(pixels, embeddings)
                notes = [a + b for a, b in zip(notes, more, strict=True)]
            yield Batch(
                names=list(source.names[first : first + size]),
                errors=[str(i) if isinstance(i, Exception) else None for i in batch],
                logits=logits,
                probabilities=(logits / model.temperature).softmax(1),
                notes=notes,
                scores=scores,
            )
            bar.update(len(batch))


def _prepare(
    model: Classifier,
    scales: PixelScales,
    ranges: Mapping[str, list[float]],
    name: str,
    loaded: Loaded,
) -> Prepared:
    """Resamples if wanted, preprocesses, and compares with the training images.

    Raises:
        ValueError: The image does not fit the model; the message names it.
    """
    channels = loaded.image.shape[0]
    if channels != model.in_channels:
        several = name.startswith("x[") and channels == 1
        raise ValueError(
            f"{name} has {channels} channels; {model.name} expects {model.in_channels}"
            + ("; three axes are (N, H, W): give x[None] for one image" * several)
        )
    image, notes = scales.apply(loaded, name)
    try:
        image = model.preprocess(image)
    except ValueError as error:
        raise ValueError(f"{name}: {error}{scales.before(loaded)}") from None
    found = image_statistics(image[None])
    pixels = None if model.domain is None else image_features(image[None], found)[0]
    return Prepared(
        image, pixels, [*loaded.notes, *notes, *statistics_out_of_range(found, ranges)]
    )


def network_inputs(
    model: Classifier, source: Source, options: Options
) -> Iterator[Tensor]:
    """What the network sees of each image, for drawing.

    Args:
        model: See `lensequiv.predict`.
        source: What to read.
        options: How.

    Yields:
        (C, H, W) each, resampled if so wanted and preprocessed.

    Raises:
        ImageError: See `lensequiv.predict`.
        ValueError: See `lensequiv.predict`.
    """
    scales, ranges = _scales(model, source, options), _ranges(model)
    for i, name in enumerate(source.names):
        yield _prepare(model, scales, ranges, name, source.load(i)).image


def _ranges(model: Classifier) -> Mapping[str, list[float]]:
    """Those of the training images' statistics, looked up once for all images."""
    found: Mapping[str, list[float]] = model.weights_info.get("image_statistics", {})
    return found


def _scales(model: Classifier, source: Source, options: Options) -> PixelScales:
    return PixelScales.of(
        model, options.pixel_scale, options.resample, headers=source.has_headers
    )


def network_of(model: Classifier, precision: str) -> Classifier | PlainModel:
    """The plain form where there is one, else the model's copy in evaluation mode.

    Raises:
        NotImplementedError: There is no plain form, and `precision` asks for one.
        ValueError: `precision` is neither `"fp32"` nor `"bf16"`.
    """
    check_precision(precision)
    try:
        plain = model.to_torch()
    except NotImplementedError:
        if precision == "bf16":
            raise
        return copy.deepcopy(model).eval() if model.training else model
    return plain.bfloat16_convolutions() if precision == "bf16" else plain


@neutral()
@torch.no_grad()
def _classify(
    network: Classifier | PlainModel,
    good: list[Prepared],
    device: torch.device,
    model: Classifier,
) -> tuple[Tensor, list[Tensor]]:
    """Logits (n, classes) float32 and embeddings, on the CPU."""
    logits, embeddings = [torch.empty(0, model.num_classes)], []
    images = [item.image for item in good]
    # Images of several valid sizes may follow each other.
    for _, group in groupby(images, key=lambda image: image.shape):
        batch = torch.stack(list(group)).to(device)
        model.check_input(batch)
        found, embedding = network.logits_and_embedding(batch)
        logits.append(found.float().cpu())
        embeddings += list(embedding.float().cpu())
    together = torch.cat(logits)
    if not bool(torch.isfinite(together).all()):
        raise ValueError(
            f"{model.name}: a logit is NaN or infinite, so the weights are useless: "
            "their training diverged, or they were changed"
        )
    return together, embeddings
