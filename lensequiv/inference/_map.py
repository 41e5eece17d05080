"""Maps of the substructure: what a network draws of one image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from lensequiv.spec import MapSpec

__all__ = ["LAYERS", "Detection", "SubstructureMap", "peaks"]

LAYERS = ("convergence", "lower", "upper", "presence")
"""In the order in which networks return them."""


class Detection(NamedTuple):
    """A place where a subhalo seems to be.

    Attributes:
        x: Along columns, from the centre of the map. *Unit*: arcsec.
        y: Along rows, likewise.
        column: Of the image, from 0; not whole. *Unit*: pixels.
        row: Of the image, likewise.
        probability: That a subhalo is near; see `SubstructureMap.presence`.
        convergence: Of the substructure, at the nearest cell; dimensionless.
    """

    x: float
    y: float
    column: float
    row: float
    probability: float
    convergence: float


@dataclass(frozen=True, eq=False, repr=False)
class SubstructureMap:
    """Where the substructure of one lens is, and how certainly.

    All maps are (h, w) float32 on the CPU, with rows and columns as the image's. Cell
    (0, 0) is centred on pixel (`top`, `left`) of the image as it was stored.

    Attributes:
        convergence: Surface density of the substructure over the critical one, smoothed
            by a Gaussian of `spec.smoothing` arcsec: its median. Dimensionless.
        lower: The quantile below which the convergence lies with 16 %.
        upper: The quantile below which the convergence lies with 84 %.
        presence: Probability that a subhalo at least as heavy as `spec.mass` (as a
            point mass: with an Einstein radius of `spec.einstein_radius` arcsec) lies
            within `spec.radius` arcsec of the cell's centre, if the lens is one of the
            simulated lenses that the map was calibrated on.
        spec: What the map means.
        left: Column of the image, from 0. *Unit*: pixels.
        top: Row of the image, from 0. *Unit*: pixels.
        step: Side of a cell. *Unit*: pixels of the image.
        cell: Side of a cell, if nothing is known of the image's pixel scale that of the
            training images. *Unit*: arcsec.
        path: Where the image came from, or None for arrays.
        notes: In what respects the image is unlike the training images.
    """

    convergence: Tensor
    lower: Tensor
    upper: Tensor
    presence: Tensor
    spec: MapSpec
    left: float
    top: float
    step: float
    cell: float
    path: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def uncertainty(self) -> Tensor:
        """(h, w) half of the central 68 % interval of the convergence."""
        return (self.upper - self.lower) / 2

    @property
    def score(self) -> float:
        """The highest probability of presence: how likely the lens has a subhalo."""
        return float(self.presence.max())

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Edges of the map about its centre: left, right, bottom, top, for plots.

        *Unit*: arcsec.
        """
        height, width = self.presence.shape
        x, y = width * self.cell / 2, height * self.cell / 2
        return -x, x, -y, y

    def detections(
        self, threshold: float | None = None, *, false_alarms: float | None = None
    ) -> list[Detection]:
        """The places where the presence is highest, the surest first.

        Peaks closer to a surer one than twice `spec.radius` are left out. A place is
        the mean of the 3 x 3 cells about its peak, weighted by the presence.

        Args:
            threshold: Least probability of presence.
            false_alarms: In its place: the share of smooth lenses like the training
                ones in which anything would be found. By default 0.01.

        Returns:
            The detections, perhaps none.

        Raises:
            ValueError: Both are given, or no threshold was measured for that share.
        """
        if threshold is not None and false_alarms is not None:
            raise ValueError("threshold and false_alarms: expected one of the two")
        if threshold is None:
            share = 0.01 if false_alarms is None else false_alarms
            threshold = self.spec.threshold(share)
        height, width = self.presence.shape
        apart = 2 * self.spec.radius / self.cell
        found = []
        for row, column in peaks(self.presence, threshold, apart):
            at = round(row), round(column)
            found.append(
                Detection(
                    x=(column - (width - 1) / 2) * self.cell,
                    y=(row - (height - 1) / 2) * self.cell,
                    column=self.left + column * self.step,
                    row=self.top + row * self.step,
                    probability=float(self.presence[at]),
                    convergence=float(self.convergence[at]),
                )
            )
        return found

    def __eq__(self, other: object) -> bool:
        """Whether everything is equal, numbers to the last bit."""
        if not isinstance(other, SubstructureMap):
            return NotImplemented
        mine, theirs = vars(self), vars(other)
        return all(
            torch.equal(value, theirs[name])
            if isinstance(value, Tensor)
            else value == theirs[name]
            for name, value in mine.items()
        )

    def __hash__(self) -> int:
        """Equal for what is equal."""
        return hash((self.path, tuple(self.presence.shape), self.score))

    def __repr__(self) -> str:
        """Size, and the surest place."""
        height, width = self.presence.shape
        where = "" if self.path is None else f"{self.path}: "
        return (
            f"SubstructureMap({where}{height} x {width} cells of {self.cell:.3g} "
            f"arcsec; highest presence {self.score:.3f})"
        )


def peaks(
    presence: Tensor, threshold: float, apart: float
) -> list[tuple[float, float]]:
    """Rows and columns of the maxima of a map, the highest first.

    Args:
        presence: (h, w).
        threshold: Least value of a maximum.
        apart: Least distance between two. *Unit*: cells.
    """
    left = presence.clone()
    height, width = left.shape
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    found: list[tuple[float, float]] = []
    while (value := float(left.max())) >= threshold and value >= 0:
        row, column = divmod(int(left.argmax()), width)
        window = (rows - row).abs().maximum((columns - column).abs()) <= 1
        weight = presence.double() * window
        total = weight.sum().clamp_min(1e-300)
        y = float((weight * rows).sum() / total)
        x = float((weight * columns).sum() / total)
        found.append((y, x))
        distance = (rows - row).square() + (columns - column).square()
        left[distance <= apart**2] = -1.0
    return found
