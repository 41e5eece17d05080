"""From images in any form to probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import torch

from lensequiv.domain import OutOfDomainWarning
from lensequiv.inference._batch import Batch
from lensequiv.inference._batches import batches
from lensequiv.inference._classifier import Classifier
from lensequiv.inference._options import Options, Precision
from lensequiv.inference._prediction import Prediction
from lensequiv.inference._source import ImagesOrPaths, Source, source_of

__all__ = ["iter_predict", "predict"]


def predict(
    model: Classifier,
    x: ImagesOrPaths,
    batch_size: int = 64,
    *,
    plane: int | str | None = None,
    hdu: int | str | None = None,
    pixel_scale: float | None = None,
    resample: bool = False,
    progress: bool = False,
    workers: int | None = None,
    precision: Precision = "fp32",
    device: str | torch.device | None = None,
    maps: bool = False,
    quantities: bool = False,
) -> Prediction:
    """Reads, preprocesses and classifies images, batch by batch.

    A classifier says which of its classes an image resembles; on anything that is not
    a lens like those it was trained on, the answer means nothing. Where an image's
    pixel scale, its statistics or its embedding lie outside those of the training
    images, an `OutOfDomainWarning` says so; no warning is no proof of the contrary.
    See `docs/trust.md`.

    For more images than results fit in memory see `iter_predict` and
    `predict_to_file`.

    Args:
        model: Any lensequiv model; its mode is kept.
        x: Array or tensor (H, W), (N, H, W) or (N, C, H, W) in any flux unit, a path,
            a folder, or a list of paths and folders. A file that holds many images
            counts as that many. Of images larger than the network's input it sees the
            centre. Smaller ones, down to the smallest side it takes (33 pixels for the
            steerable networks), get more of their edge pixels, and a note. A margin of
            NaN in a file is cut away, with a note; see `lensequiv.data.read_stored`.
        batch_size: Images that go through the network at once; fewer, after a warning,
            where the device has too little memory for so many.
        plane: Which image, where a file has several: the name of an array (NPZ) or
            data set (HDF5); in FITS number, name, or name and version of an HDU; see
            `lensequiv.data.read_image`.
        hdu: The same for FITS files, in their own word.
        pixel_scale: Of the images. *Unit*: arcsec/pixel. By default what their headers
            say; what is given here goes before that. It is compared with that of the
            training images; a difference of more than 1 % is noted. At 0.055 instead
            of 0.05 arcsec 15 to 20 % of the labels are wrong (docs/trust.md).
        resample: Whether to bring images of another pixel scale to the model's, by
            `lensequiv.transforms.resample`, instead of noting the difference. Every
            scale has to be known then.
        progress: Whether to show a progress bar once it takes two seconds.
        workers: Threads that read and preprocess ahead of the network; one for each of
            torch's threads, at most 4, if None.
        precision: `"bf16"` lets the convolutions compute in bf16: 1.7 times as fast on
            processors that have it. Probabilities then change by up to 0.07 and the
            micro AUC by 1e-4 (`c8-modelF` on 4,500 images), which is why it is not
            the default. On CUDA `"fp32"` means all 24 bits, whatever torch's settings;
            `"tf32"` lets products drop all but eleven of them, which is faster.
        device: Where to compute: `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"` or `"auto"`
            (CUDA if there is any, else MPS, else the CPU); where the model is if None.
            The model itself stays there, and results are on the CPU.
        maps: Whether to map the substructure, too; for weights that can
            (`list_pretrained(maps=True)`). See `docs/maps.md` for what a map means.
        quantities: Whether to tell quantities of the lenses, too, with intervals; for
            weights that can. See `docs/quantities.md` for what they mean.

    Returns:
        Probabilities, logits, labels, paths, notes and scores, in the order of the
        input; and maps and quantities, if they are wanted.

    Raises:
        FileNotFoundError: A path does not exist.
        ImageError: An image cannot be read or is not usable; the message names it.
        MemoryError: The device has too little memory for a single image.
        ValueError: An image does not fit the model, or its pixel scale is not known
            but needed, the device is not there, the network draws no maps or tells no
            quantities, or another argument is out of range.
    """
    options = Options(
        batch_size=batch_size,
        progress=progress,
        workers=workers,
        precision=precision,
        pixel_scale=pixel_scale,
        resample=resample,
        device=device,
        maps=maps,
        quantities=quantities,
    )
    source = source_of(x, plane, hdu)
    parts = list(batches(model, source, options))
    whole = Prediction.concatenate([_prediction(model, source, p) for p in parts])
    share = 0.0 if model.domain is None else model.domain.false_alarms
    guessed = 0 if source.paths is None else sum(part.guessed for part in parts)
    _warn(source.names, whole.notes, share, guessed)
    return whole


def iter_predict(
    model: Classifier,
    x: ImagesOrPaths,
    batch_size: int = 64,
    *,
    plane: int | str | None = None,
    hdu: int | str | None = None,
    pixel_scale: float | None = None,
    resample: bool = False,
    progress: bool = False,
    workers: int | None = None,
    precision: Precision = "fp32",
    device: str | torch.device | None = None,
    maps: bool = False,
    quantities: bool = False,
    start: int = 0,
) -> Iterator[Prediction]:
    """The same, one `Prediction` a batch, so memory does not grow with the images.

    Arguments are checked at the call, images are read while batches are taken.

    Args:
        model: See `predict`.
        x: See `predict`.
        batch_size: See `predict`.
        plane: See `predict`.
        hdu: See `predict`.
        pixel_scale: See `predict`.
        resample: See `predict`.
        progress: See `predict`.
        workers: See `predict`.
        precision: See `predict`.
        device: See `predict`.
        maps: See `predict`.
        quantities: See `predict`.
        start: Index of the first image, for going on where a run ended.

    Returns:
        Predictions for at most `batch_size` images each, in order. What is unlike the
        training images stands in their notes; no warning is given.

    Raises:
        FileNotFoundError: See `predict`.
        ImageError: See `predict`.
        MemoryError: See `predict`.
        ValueError: See `predict`.
    """
    options = Options(
        batch_size=batch_size,
        progress=progress,
        workers=workers,
        precision=precision,
        pixel_scale=pixel_scale,
        resample=resample,
        device=device,
        maps=maps,
        quantities=quantities,
    )
    source = source_of(x, plane, hdu)
    if not 0 <= start <= len(source.names):
        raise ValueError(f"start={start}: expected from 0 to {len(source.names)}")
    parts = batches(model, source, options, start=start)
    return (_prediction(model, source, part) for part in parts)


def _prediction(model: Classifier, source: Source, batch: Batch) -> Prediction:
    return Prediction(
        probabilities=batch.probabilities,
        logits=batch.logits,
        labels=[model.classes[i] for i in batch.logits.argmax(1).tolist()],
        paths=None if source.paths is None else batch.names,
        classes=model.classes,
        notes=batch.notes,
        ood_score=batch.scores,
        maps=batch.maps,
        quantities=batch.quantities,
    )


def _warn(
    names: Sequence[str], notes: list[list[str]], share: float, guessed: int
) -> None:
    odd = [(name, note) for name, note in zip(names, notes, strict=True) if note]
    if not odd:
        return
    shown = "\n".join(f"  {name}: {'; '.join(note)}" for name, note in odd[:5])
    more = f"\n  and {len(odd) - 5} more" if len(odd) > 5 else ""
    chance = ""
    if share:
        chance = f" ({100 * share:.3g} % of images like the training ones are, too)"
    if guessed:
        more += (
            f"\nNo header tells the pixel scale of {guessed} of them all, which were "
            "taken to have that of the training images: pixel_scale= (--pixel-scale) "
            "tells it"
        )
    warnings.warn(
        f"{len(odd)} of {len(names)} images are unlike the training images, so "
        f"their labels may mean nothing{chance}:\n{shown}{more}",
        OutOfDomainWarning,
        stacklevel=4,  # _warn, predict, LensNetwork.predict, the caller
    )
