"""The error raised for images that cannot be used."""

from __future__ import annotations

import os


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

        Args:
            where: File, folder or argument that is at fault.
            found: What is wrong with it, beginning with a verb ("holds ...").
            expected: What would have been accepted.

        Returns:
            The error, to be raised by the caller.
        """
        return cls(f"{os.fspath(where)} {found}; expected {expected}")
