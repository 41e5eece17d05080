"""Weights for another instrument, from images without labels."""

from lensequiv.adaptation._adapt import AdaptationWarning, adapt

__all__ = ["AdaptationWarning", "adapt"]
