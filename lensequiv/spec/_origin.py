"""Where a model's weights came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Origin"]


@dataclass(frozen=True)
class Origin:
    """Where a model's weights came from, and exactly which they are.

    Attributes:
        source: `"bundled"` with the package, a `"folder"`, or the `"hub"`; of a folder
            that `lensequiv download` wrote, what it was downloaded from.
        name: The weight's name, the folder's path as it was given, or the repository
            (`owner/name`).
        sha256: Checksum of `model.safetensors`, 64 hexadecimal digits.
        revision: What was asked of the Hub: a branch, tag or commit; None is the
            default branch.
        commit: The Hub's commit that the files are of, 40 hexadecimal digits; as
            `revision=` it gives the same files again.
    """

    source: Literal["bundled", "folder", "hub"]
    name: str
    sha256: str
    revision: str | None = None
    commit: str | None = None

    def __str__(self) -> str:
        """`name`, with `@commit` where there is one."""
        return f"{self.name}@{self.commit}" if self.commit else self.name
