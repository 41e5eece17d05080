"""Pictures as the page takes them: bytes, which it colours."""

from __future__ import annotations

import base64
from typing import Any

from torch import Tensor

__all__ = ["diverging", "picture", "shares"]


def picture(image: Tensor) -> dict[str, Any]:
    """A preprocessed image, sky 0 and peak 1, with a square-root stretch.

    Args:
        image: (H, W).
    """
    return _packed(image.clamp(0, 1).sqrt())


def diverging(values: Tensor, limit: float) -> dict[str, Any]:
    """Values from -limit to limit; 0 is in the middle.

    Args:
        values: (H, W).
        limit: Not negative.
    """
    return _packed((values / (2 * max(limit, 1e-30)) + 0.5).clamp(0, 1))


def shares(values: Tensor) -> dict[str, Any]:
    """Values from 0 to 1, such as probabilities.

    Args:
        values: (H, W).
    """
    return _packed(values.clamp(0, 1))


def _packed(values: Tensor) -> dict[str, Any]:
    """Width, height and bytes of values from 0 to 1; row 0 is at the bottom."""
    height, width = values.shape
    levels = (values * 255).round().byte().cpu().numpy()
    data = base64.b64encode(levels.tobytes()).decode()
    return {"width": width, "height": height, "data": data}
