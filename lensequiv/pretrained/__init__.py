"""Trained weights: catalogue, loading, saving, cards, conversion."""

from typing import TYPE_CHECKING

from lensequiv._lazy import lazy
from lensequiv.pretrained._catalogue import list_pretrained, pretrained_info

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

# The names of the weights can be listed without torch; all else needs it.
if TYPE_CHECKING:
    from lensequiv._origin import Origin
    from lensequiv.pretrained._card import model_card
    from lensequiv.pretrained._convert import Conversion, convert_checkpoint
    from lensequiv.pretrained._download import download_pretrained
    from lensequiv.pretrained._format import WeightsError
    from lensequiv.pretrained._hub_errors import HubError
    from lensequiv.pretrained._loading import from_pretrained
    from lensequiv.pretrained._push import push_to_hub
    from lensequiv.pretrained._saving import save_pretrained
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "Conversion": "lensequiv.pretrained._convert",
            "HubError": "lensequiv.pretrained._hub_errors",
            "Origin": "lensequiv._origin",
            "WeightsError": "lensequiv.pretrained._format",
            "convert_checkpoint": "lensequiv.pretrained._convert",
            "download_pretrained": "lensequiv.pretrained._download",
            "from_pretrained": "lensequiv.pretrained._loading",
            "model_card": "lensequiv.pretrained._card",
            "push_to_hub": "lensequiv.pretrained._push",
            "save_pretrained": "lensequiv.pretrained._saving",
        },
    )
