"""Trained weights: catalogue, loading, saving, cards, conversion."""

from lensequiv._origin import Origin
from lensequiv.pretrained._card import model_card
from lensequiv.pretrained._catalogue import list_pretrained, pretrained_info
from lensequiv.pretrained._convert import Conversion, convert_checkpoint
from lensequiv.pretrained._download import download_pretrained
from lensequiv.pretrained._format import WeightsError
from lensequiv.pretrained._hub_errors import HubError
from lensequiv.pretrained._loading import from_pretrained
from lensequiv.pretrained._push import push_to_hub
from lensequiv.pretrained._saving import save_pretrained

__all__ = [
    "Conversion",
    "HubError",
    "Origin",
    "WeightsError",
    "convert_checkpoint",
    "download_pretrained",
    "from_pretrained",
    "list_pretrained",
    "model_card",
    "pretrained_info",
    "push_to_hub",
    "save_pretrained",
]
