"""The error raised for images that cannot be used."""

from __future__ import annotations

import os

_LONGEST = 1500  # characters of either part of a message: 30 planes of a file


class ImageError(ValueError):
    """An image, or a folder of images, that cannot be used as it is.

    The message names the file or argument, what was found and what was expected.
    The constructor takes that message alone, so that the error survives pickling
    and is re-raised unchanged from the worker processes of a data loader.
    """

    @classmethod
    def because(
        cls, where: str | os.PathLike[str], found: str, expected: str
    ) -> ImageError:
        """Build the error from its three parts.

        Names and values that come from a file can be of any length and hold any
        character; the message stays one short, printable line.

        Args:
            where: File, folder or argument that is at fault.
            found: What is wrong with it, beginning with a verb ("holds ...").
            expected: What would have been accepted.

        Returns:
            The error, to be raised by the caller.
        """
        parts = f"{_printable(found)}; expected {_printable(expected)}"
        return cls(f"{os.fspath(where)} {parts}")


def _printable(text: str) -> str:
    """Text with control characters escaped, its middle left out where it is long."""
    half = _LONGEST // 2
    if len(text) > _LONGEST:  # a file's worth of text need not be looked through
        text = text[:_LONGEST] + text[-_LONGEST:]
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}"
