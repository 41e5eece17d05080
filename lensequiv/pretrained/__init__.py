"""Trained weights: catalogue, loading, saving, cards, conversion."""

from lensequiv.pretrained._card import model_card
from lensequiv.pretrained._catalogue import list_pretrained, pretrained_info
from lensequiv.pretrained._convert import Conversion, convert_checkpoint
from lensequiv.pretrained._format import WeightsError
from lensequiv.pretrained._loading import from_pretrained
from lensequiv.pretrained._saving import save_pretrained

__all__ = [
    "Conversion",
    "WeightsError",
    "convert_checkpoint",
    "from_pretrained",
    "list_pretrained",
    "model_card",
    "pretrained_info",
    "save_pretrained",
]
