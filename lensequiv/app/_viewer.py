"""What the page asks for: an image read and classified, turned, explained."""

from __future__ import annotations

import copy
import math
import secrets
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lensequiv._suggestions import did_you_mean
from lensequiv.app._opened import Opened, answer, as_csv, as_json
from lensequiv.app._pictures import diverging
from lensequiv.app._uploads import read_upload
from lensequiv.domain import OutOfDomainWarning
from lensequiv.inference import Prediction
from lensequiv.inference._rows import rows_of_prediction
from lensequiv.models import LensNetwork
from lensequiv.transforms import resample

__all__ = ["Viewer"]

_KEPT = 8  # images in memory; the oldest one goes
_LONGEST_NAME = 120


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
            image, scale, notes = read_upload(shown, content, hdu)
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
            found = answer(opened, degrees % 360)
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
            return f"{stem}.csv", as_csv(opened, rows)
        if form != "json":
            raise KeyError(form)
        return f"{stem}.json", as_json(opened, rows)

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
        first = answer(opened, 0.0, row)
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
