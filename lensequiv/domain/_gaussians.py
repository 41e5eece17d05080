"""A Gaussian for each class, and the domain that two sets of them make."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

__all__ = ["Domain", "Gaussians"]

_KIND = "mahalanobis"


@dataclass(frozen=True)
class Gaussians:
    """A Gaussian for each class, with one covariance.

    Attributes:
        center: (D,) float32, subtracted first.
        whitening: (D, D) float32, then multiplied with: the covariance becomes the
            unit matrix.
        means: (classes, D) float32, of the classes in these coordinates.
        reach: The distance that counts as 1.
    """

    center: Tensor
    whitening: Tensor
    means: Tensor
    reach: float = 1.0

    def distance(self, x: Tensor) -> Tensor:
        """Mahalanobis distance from the nearest mean, in units of `reach`.

        Args:
            x: (N, D) on the device of the tensors.

        Returns:
            (N,) float64 there; infinite where a value is not finite.

        Raises:
            ValueError: D differs.
        """
        if x.shape[1] != len(self.center):
            raise ValueError(
                f"the domain describes {len(self.center)} features, not {x.shape[1]}: "
                "it belongs to another model"
            )
        # In double precision: the whitening enlarges rounding errors.
        z = (x.double() - self.center) @ self.whitening.double()
        offset = z[:, None] - self.means
        distance = offset.square().sum(2).sqrt().amin(1) / self.reach
        return distance.nan_to_num(nan=math.inf, posinf=math.inf)

    def to(self, device: torch.device) -> Gaussians:
        """The same with its tensors on a device."""
        moved = {name: getattr(self, name).to(device) for name in _TENSORS}
        return replace(self, **moved)


_PARTS = {"pixels": "its pixels", "embedding": "the network's embedding"}
_TENSORS = ("center", "whitening", "means")


@dataclass(frozen=True)
class Domain:
    """Where the training images lie.

    The score of an image is the larger one of two Mahalanobis distances from the
    nearest class (Lee et al., arXiv:1807.03888), each in units of the distance that
    the share `false_alarms` of images like the training ones exceeds: of its
    statistics (`lensequiv.domain.image_features`), which do not depend on the
    network, and of the network's embedding.

    Attributes:
        pixels: Those of the images' statistics.
        embedding: Those of the network's embedding.
        false_alarms: The share of images like the training ones with a score above 1.
        threshold: Images with a larger score are flagged. To choose another one:
            `model.domain = dataclasses.replace(model.domain, threshold=1.2)`.
    """

    pixels: Gaussians
    embedding: Gaussians
    false_alarms: float
    threshold: float = 1.0

    def judge(
        self, pixels: Sequence[Tensor], embeddings: Sequence[Tensor]
    ) -> tuple[list[list[str]], Tensor]:
        """Scores images.

        Args:
            pixels: A row of `lensequiv.domain.image_features` for each image, on the
                CPU.
            embeddings: The embedding of each, on the CPU.

        Returns:
            For each image a list with what to say about it, empty if it is not
            flagged, and (N,) float32 scores.

        Raises:
            ValueError: The embedding is one of another network.
        """
        if not pixels:
            return [], torch.empty(0)
        rows = torch.stack(list(pixels)), torch.stack(list(embeddings))
        return self.verdict(self.distances(*rows))

    def distances(self, pixels: Tensor, embeddings: Tensor) -> Tensor:
        """How far images are from the training images, by pixels and by embedding.

        Args:
            pixels: (N, 16), see `lensequiv.domain.image_features`.
            embeddings: (N, D), on the same device, which is that of the domain.

        Returns:
            (N, 2) float64 there.

        Raises:
            ValueError: The embedding is one of another network.
        """
        parts = self.pixels.distance(pixels), self.embedding.distance(embeddings)
        return torch.stack(parts, 1)

    def verdict(self, distances: Tensor) -> tuple[list[list[str]], Tensor]:
        """What `judge` returns, of the `distances` on the CPU."""
        scores, which = distances.max(1)
        names = list(_PARTS.values())
        notes = [
            []
            if score <= self.threshold
            else [
                f"score {score:.3g} (training 0 to {self.threshold:.3g}) by {names[i]}"
            ]
            for score, i in zip(scores.tolist(), which.tolist(), strict=True)
        ]
        return notes, scores.float()

    def to(self, device: torch.device) -> Domain:
        """The same with its tensors on a device."""
        return replace(
            self, pixels=self.pixels.to(device), embedding=self.embedding.to(device)
        )

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name, as they are stored."""
        return {
            f"{part}.{name}": getattr(getattr(self, part), name).contiguous()
            for part in _PARTS
            for name in _TENSORS
        }

    def to_config(self) -> dict[str, Any]:
        """Everything but the tensors, JSON-able."""
        return {
            "kind": _KIND,
            "reach": {part: getattr(self, part).reach for part in _PARTS},
            "false_alarms": self.false_alarms,
            "threshold": self.threshold,
        }

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
    ) -> Domain:
        """Inverse of `to_config` and `tensors`.

        Raises:
            ValueError: A key or tensor is missing, unknown, or has a value, shape or
                dtype that cannot be; the message names it.
        """
        _check_keys(config, ("kind", "reach", "false_alarms", "threshold"), "key")
        if config["kind"] != _KIND:
            raise ValueError(f"'kind' is {config['kind']!r}; expected {_KIND!r}")
        if not isinstance(config["reach"], dict):
            raise ValueError(f"'reach' is {config['reach']!r}; expected an object")
        _check_keys(config["reach"], tuple(_PARTS), "key of 'reach'")
        numbers = {**config, **config["reach"]}
        for key in ("false_alarms", "threshold", *_PARTS):
            value = numbers[key]
            if type(value) not in (int, float) or not 0 < value < math.inf:
                raise ValueError(f"{key!r} is {value!r}; expected a positive number")
        names = [f"{part}.{name}" for part in _PARTS for name in _TENSORS]
        _check_keys(tensors, names, "tensor")
        parts = {}
        for part in _PARTS:
            found = {name: tensors[f"{part}.{name}"] for name in _TENSORS}
            size, classes = found["center"].numel(), len(found["means"])
            shapes = ((size,), (size, size), (classes, size))
            for (name, tensor), shape in zip(found.items(), shapes, strict=True):
                have = f"{tuple(tensor.shape)} {tensor.dtype}"
                want = f"{shape} {torch.float32}"
                if have != want:
                    raise ValueError(
                        f"tensor '{part}.{name}' is {have}; expected {want}"
                    )
            parts[part] = Gaussians(**found, reach=float(config["reach"][part]))
        return cls(
            pixels=parts["pixels"],
            embedding=parts["embedding"],
            false_alarms=float(config["false_alarms"]),
            threshold=float(config["threshold"]),
        )


def _check_keys(found: Mapping[str, Any], expected: Sequence[str], kind: str) -> None:
    if missing := sorted(set(expected) - set(found)):
        raise ValueError(f"{kind} {missing[0]!r} is missing")
    if unknown := sorted(set(found) - set(expected)):
        raise ValueError(f"{kind} {unknown[0]!r} is unknown")
