"""An image that was dropped into the page, and what the network says of it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lensequiv.app._pictures import picture, shares
from lensequiv.inference._map import LAYERS
from lensequiv.inference._rows import CsvRows
from lensequiv.models import LensNetwork
from lensequiv.transforms import rotate

__all__ = ["Opened", "answer", "as_csv", "as_json"]

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


@torch.no_grad()
def answer(
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


def as_csv(opened: Opened, rows: list[dict[str, Any]]) -> str:
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


def as_json(opened: Opened, rows: list[dict[str, Any]]) -> str:
    """The rows with all else that is known about the image."""
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
    return json.dumps(content, indent=2) + "\n"
