"""What the page asks for: an image read and classified, turned, explained."""

from __future__ import annotations

import copy
import csv
import io
import json
import math
import secrets
import tempfile
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lensequiv._suggestions import did_you_mean
from lensequiv.app._pictures import diverging, picture, shares
from lensequiv.data import open_stack, read_stored
from lensequiv.data.readers import extension_of
from lensequiv.domain import OutOfDomainWarning
from lensequiv.inference import Prediction
from lensequiv.inference._map import LAYERS
from lensequiv.inference._rows import CsvRows, rows_of_prediction
from lensequiv.models import LensNetwork
from lensequiv.transforms import resample, rotate

__all__ = ["FORMATS", "Opened", "Viewer"]

FORMATS = (
    *(".fits", ".fit", ".fts", ".fits.gz", ".fit.gz", ".fits.fz", ".fz"),
    *(".npy", ".npz", ".png", ".jpg", ".jpeg", ".tif", ".tiff"),
)
"""Endings of the files that the page takes; HDF5 is left to the command line."""

_KEPT = 8  # images in memory; the oldest one goes
_LONGEST_NAME = 120
_PRESENCE = LAYERS.index("presence")


@dataclass
class Opened:
    """An image that was dropped into the page.

    Attributes:
        name: Of the file, without folders.
        weights: Name of the weights.
        model: The weights, for the size of this image.
        image: (C, H, W) float32, at the weights' pixel scale if it was resampled.
        pixel_scale: *Unit*: arcsec/pixel. None if unknown.
        notes: In what respects it is unlike the training images.
        rows: What was found, a row for each angle.
        embedding: (D,) of the image as it is.
    """

    name: str
    weights: str
    model: LensNetwork
    image: Tensor
    pixel_scale: float | None
    notes: list[str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    embedding: Tensor | None = None


class Viewer:
    """Answers the page, one request at a time.

    Files are written to a folder of their own under a name that is not the user's,
    read by `lensequiv.data`, which executes nothing, and removed.

    Args:
        weights: Names or folders of the weights to choose from; the first one is shown.
        load: Makes a network of one of them.

    Raises:
        ValueError: There are no weights, or one is named twice.
    """

    def __init__(
        self, weights: Sequence[str], load: Callable[[str], LensNetwork]
    ) -> None:
        # A folder's path is nobody's business but the server's.
        self._places = {Path(place).name: place for place in weights}
        if not weights or len(self._places) < len(weights):
            raise ValueError(
                f"weights are {', '.join(weights) or 'none'}; expected at least one, "
                "with different names"
            )
        self._load = load
        self._models: dict[tuple[str, int | None], LensNetwork] = {}
        self._opened: OrderedDict[str, Opened] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def weights(self) -> list[str]:
        """Names of the weights to choose from."""
        return list(self._places)

    def open(
        self,
        name: str,
        content: bytes,
        *,
        weights: str | None = None,
        hdu: str | None = None,
        pixel_scale: float | None = None,
        resampled: bool = False,
    ) -> dict[str, Any]:
        """Reads and classifies an image.

        Args:
            name: Of the file; its ending says what it is.
            content: Of the file.
            weights: Which; the first ones if None.
            hdu: Which image of the file: `plane` of `lensequiv.predict`.
            pixel_scale: Before what the header says. *Unit*: arcsec/pixel.
            resampled: Whether to bring the image to the weights' pixel scale.

        Returns:
            What the page shows, JSON-able, with the `token` of the image.

        Raises:
            ImageError: The file cannot be read.
            ValueError: It does not fit the weights; or another kind of file.
        """
        shown = Path(name.replace("\\", "/")).name[-_LONGEST_NAME:] or "image"
        with self._lock:
            image, scale, notes = _read(shown, content, hdu)
            model = self._model(weights or self.weights[0])
            scale = pixel_scale or scale
            if resampled:
                if not scale or not model.pixel_scale:
                    raise ValueError(
                        f"{shown}: to be resampled, it needs a pixel scale; give it in "
                        "arcsec"
                    )
                image = resample(image, scale, model.pixel_scale)
                scale = model.pixel_scale
            model, more = self._fitting(weights or self.weights[0], image)
            opened = Opened(
                *(shown, weights or self.weights[0], model, image, scale),
                notes=[*notes, *more],
            )
            found = self._classified(opened)
            token = secrets.token_urlsafe(16)
            self._opened[token] = opened
            while len(self._opened) > _KEPT:
                self._opened.popitem(last=False)
        return {"token": token, **found}

    def turn(self, token: str, degrees: float) -> dict[str, Any]:
        """Turns an image about its centre and classifies it.

        Args:
            token: What `open` returned.
            degrees: Anticlockwise, by bilinear interpolation; multiples of 90 degrees
                move pixels without changing them.

        Returns:
            Probabilities, logits, embedding, the picture, and the map of the weights
            that draw one, JSON-able.

        Raises:
            KeyError: There is no such image any more.
            ValueError: `degrees` is no number.
        """
        if not math.isfinite(degrees):
            raise ValueError(f"degrees={degrees}: expected a number")
        with self._lock:
            opened = self._opened[token]
            found = _answer(opened, degrees % 360)
        return found

    def saliency(self, token: str) -> dict[str, Any]:
        """What each pixel contributes to the likeliest class, by integrated gradients.

        Args:
            token: What `open` returned.

        Returns:
            The picture, the class, and the largest value shown. *Unit*: logits a pixel.

        Raises:
            ImportError: The extra `saliency` is not installed.
            KeyError: There is no such image any more.
        """
        from lensequiv.saliency import integrated_gradients, smooth_maps

        with self._lock:
            opened = self._opened[token]
            found = integrated_gradients(opened.model, opened.image[None])
        smooth = smooth_maps(found.maps, 1.0)[0]
        limit = float(smooth.abs().quantile(0.995))
        return {
            "picture": diverging(smooth, limit),
            "limit": limit,
            "label": opened.model.classes[int(found.target[0])],
        }

    def numbers(self, token: str, form: str) -> tuple[str, str]:
        """All that was found about an image, for a file.

        Args:
            token: What `open` returned.
            form: `"csv"`, with the columns of `lensequiv predict` after one of angles,
                or `"json"`, which has embeddings, too.

        Returns:
            A name for the file, and its content.

        Raises:
            KeyError: There is no such image any more, or no such form.
        """
        with self._lock:
            opened = self._opened[token]
            rows = copy.deepcopy(opened.rows)
        stem = opened.name.split(".")[0] or "image"
        if form == "csv":
            return f"{stem}.csv", _as_csv(opened, rows)
        if form != "json":
            raise KeyError(form)
        origin = opened.model.origin
        content = {
            "file": opened.name,
            "weights": opened.weights,
            "sha256": None if origin is None else origin.sha256,
            "classes": list(opened.model.classes),
            "pixel_scale": opened.pixel_scale,
            "notes": opened.notes,
            "rows": rows,
        }
        return f"{stem}.json", json.dumps(content, indent=2) + "\n"

    def _model(self, name: str, size: int | None = None) -> LensNetwork:
        """Weights, loaded once, for another input size if wanted."""
        if name not in self._places:
            raise ValueError(
                f"unknown weights {name!r:.60}; {did_you_mean(name, self._places)}"
                f"there are {', '.join(self._places)}"
            )
        if (name, size) not in self._models:
            if size is None:
                made = self._load(self._places[name]).eval()
            else:
                made = copy.deepcopy(self._model(name)).set_input_size(size)
            self._models[name, size] = made
        return self._models[name, size]

    def _fitting(self, name: str, image: Tensor) -> tuple[LensNetwork, list[str]]:
        """The weights for an image, which may be smaller than their training images."""
        model, side = self._model(name), min(image.shape[-2:])
        if side >= model.input_size:
            return model, []
        sizes = [s for s in model.input_sizes.range if s % 2 and s <= side]
        if not sizes:
            return model, []  # `predict` says what is wrong
        note = (
            f"an image of {side} pixels, of which the network takes {sizes[-1]}; it "
            f"was trained on {model.input_size}"
        )
        return self._model(name, sizes[-1]), [note]

    def _classified(self, opened: Opened) -> dict[str, Any]:
        """What `predict` says about a new image, which is noted in it."""
        model = opened.model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OutOfDomainWarning)  # the notes have it
            try:
                found = model.predict(
                    opened.image[None], pixel_scale=opened.pixel_scale
                )
            except ValueError as error:
                raise ValueError(str(error).replace("x[0]", opened.name)) from None
        opened.notes += found.notes[0]
        found = Prediction(
            probabilities=found.probabilities,
            logits=found.logits,
            labels=found.labels,
            paths=[opened.name],
            classes=found.classes,
            notes=[opened.notes],
            ood_score=found.ood_score,
        )
        row = rows_of_prediction(found)[0]
        del row["error"]
        first = _answer(opened, 0.0, row)
        height, width = opened.image.shape[-2:]
        score = None if found.ood_score is None else float(found.ood_score[0])
        return {
            **first,
            "name": opened.name,
            "weights": opened.weights,
            "classes": list(model.classes),
            "notes": opened.notes,
            "score": score if score is None or math.isfinite(score) else None,
            "size": [height, width],
            "input_size": model.input_size,
            "pixel_scale": opened.pixel_scale,
        }


@torch.no_grad()
def _answer(
    opened: Opened, degrees: float, row: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What the network says of the image at an angle; noted in its rows.

    Args:
        opened: The image.
        degrees: From 0 to 360.
        row: What `predict` found, for the image as it is.
    """
    model = opened.model
    image = opened.image[None]
    side = min(model.input_size, *image.shape[-2:])
    if degrees:
        image = rotate(image, degrees, side - 1 + side % 2)
    x = model.preprocess(image)
    device = next(model.parameters()).device
    logits, embedding = model.logits_and_embedding(x.to(device))
    logits, embedding = logits[0].float().cpu(), embedding[0].float().cpu()
    probabilities = (logits.double() / model.temperature).softmax(0)
    if opened.embedding is None:
        opened.embedding = embedding
    change = (embedding - opened.embedding).norm() / opened.embedding.norm()
    numbers = {
        "angle": degrees,
        "label": model.classes[int(logits.argmax())],
        "probabilities": probabilities.tolist(),
        "logits": logits.tolist(),
        "embedding": embedding.tolist(),
        "change": float(change),
    }
    others = [r for r in opened.rows if r["angle"] != degrees]
    before = [r for r in opened.rows if r["angle"] == degrees]
    unknown = {"path": opened.name, "ood_score": None, "unlike_training": None}
    known = row or (before[0] if before else unknown)
    opened.rows = sorted([*others, {**known, **numbers}], key=lambda r: r["angle"])
    found = {**numbers, "picture": picture(x[0, 0])}
    if model.map_spec is not None:
        scale = opened.pixel_scale
        found["map"] = {
            "picture": shares(model.forward_map(x.to(device))[0, _PRESENCE].cpu()),
            "cell": scale and scale * model.map_spec.stride,
            "step": model.map_spec.stride,
            "radius": model.map_spec.radius,
        }
    return found


def _read(
    name: str, content: bytes, hdu: str | None
) -> tuple[Tensor, float | None, list[str]]:
    """The image of a file, its pixel scale, and what the file says against it."""
    ending = extension_of(Path(name))
    if ending not in FORMATS:
        raise ValueError(
            f"{name} is none of the files that can be shown here: {', '.join(FORMATS)}"
        )
    chosen = int(hdu) if hdu and hdu.lstrip("-").isdigit() else hdu or None
    with tempfile.TemporaryDirectory(prefix="lensequiv-app-") as folder:
        path = Path(folder, f"image{ending}")
        path.write_bytes(content)
        try:
            stack = open_stack(path, plane=chosen)
            if stack is not None:
                raise ValueError(
                    f"{path} holds {len(stack)} images; expected one "
                    "(lensequiv predict takes them all)"
                )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # its notes say the same
                stored = read_stored(path, plane=chosen)
        except (OSError, ValueError) as error:
            # The name that the user knows; where it lay is the server's business.
            told = str(error).replace(str(path), name).replace(folder, "")
            raise ValueError(told) from None
    return torch.from_numpy(stored.image), stored.pixel_scale, list(stored.notes)


def _as_csv(opened: Opened, rows: list[dict[str, Any]]) -> str:
    """The rows as `lensequiv predict --output csv` has them, after their angles."""
    names = CsvRows(opened.model.classes)
    columns = [c for c in names.columns if c != "error"]
    text = io.StringIO()

    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["angle", *columns, *(f"logit_{c}" for c in opened.model.classes)])
    for row in rows:
        chances = dict(zip(names.classes, row["probabilities"], strict=True))
        values = {**row, **chances}
        writer.writerow(
            [
                f"{row['angle']:g}",
                *(values.get(c) for c in columns),
                *row["logits"],
            ]
        )
    return text.getvalue()
