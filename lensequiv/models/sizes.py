"""The sides of square images that a network accepts."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["InputSizes"]


@dataclass(frozen=True)
class InputSizes:
    """The square input sizes a network accepts: minimum, minimum + step, ..., maximum.

    Attributes:
        minimum: Smallest side in pixels.
        step: Distance between valid sides in pixels.
        maximum: Largest side in pixels.
    """

    minimum: int
    step: int
    maximum: int

    def __contains__(self, size: object) -> bool:
        """Whether a side of `size` pixels is valid."""
        return isinstance(size, int) and size in self.range

    def __str__(self) -> str:
        """For messages: '33, 49, ..., 513' or '129'."""
        sides = self.range
        if len(sides) <= 3:
            return ", ".join(map(str, sides))
        return f"{sides[0]}, {sides[1]}, ..., {sides[-1]}"

    @property
    def range(self) -> range:
        """All valid sides."""
        return range(self.minimum, self.maximum + 1, self.step)

    def suggestion(self, size: int) -> str:
        """`nearest`, for messages: '97 or 113'."""
        return " or ".join(map(str, self.nearest(size)))

    def nearest(self, size: int) -> list[int]:
        """The valid sides next to `size`, below and above where both exist."""
        below = [s for s in self.range if s <= size][-1:]
        above = [s for s in self.range if s >= size][:1]
        return sorted(set(below + above))
