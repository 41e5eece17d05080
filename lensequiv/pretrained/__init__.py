"""Trained weights: loading, downloading, conversion; and the calls that save them."""

from typing import TYPE_CHECKING

from lensequiv._lazy import lazy
from lensequiv.weights import list_pretrained, pretrained_info

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
    from lensequiv.pretrained._convert import Conversion, convert_checkpoint
    from lensequiv.pretrained._download import download_pretrained
    from lensequiv.pretrained._loading import from_pretrained
    from lensequiv.spec import Origin
    from lensequiv.weights import (
        HubError,
        WeightsError,
        model_card,
        push_to_hub,
        save_pretrained,
    )
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "Conversion": "lensequiv.pretrained._convert",
            "HubError": "lensequiv.weights",
            "Origin": "lensequiv.spec",
            "WeightsError": "lensequiv.weights",
            "convert_checkpoint": "lensequiv.pretrained._convert",
            "download_pretrained": "lensequiv.pretrained._download",
            "from_pretrained": "lensequiv.pretrained._loading",
            "model_card": "lensequiv.weights",
            "push_to_hub": "lensequiv.weights",
            "save_pretrained": "lensequiv.weights",
        },
    )
