"""Weights as files: their format, cards, the bundled ones, and the way to the Hub.

No architecture is known here; `lensequiv.pretrained` makes networks of these files.
"""

from typing import TYPE_CHECKING

from lensequiv._lazy import lazy
from lensequiv.weights._catalogue import list_pretrained, pretrained_info

__all__ = [
    "HubError",
    "WeightsError",
    "list_pretrained",
    "model_card",
    "pretrained_info",
    "publish_all",
    "push_to_hub",
    "save_pretrained",
]

# The names of the weights can be listed without torch; all else needs it.
if TYPE_CHECKING:
    from lensequiv.weights._card import model_card
    from lensequiv.weights._format import WeightsError
    from lensequiv.weights._hub_errors import HubError
    from lensequiv.weights._publish import publish_all
    from lensequiv.weights._push import push_to_hub
    from lensequiv.weights._saving import save_pretrained
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "HubError": "lensequiv.weights._hub_errors",
            "WeightsError": "lensequiv.weights._format",
            "model_card": "lensequiv.weights._card",
            "publish_all": "lensequiv.weights._publish",
            "push_to_hub": "lensequiv.weights._push",
            "save_pretrained": "lensequiv.weights._saving",
        },
    )
