"""Where the training images lie, and whether an image is anything like them.

Statistics of images, Gaussians around them and their fitting; no network is known here.
`lensequiv.inference.calibrate` measures a model's domain.
"""

from lensequiv._moved import moved
from lensequiv.domain._fitting import fit_domain, fit_temperature
from lensequiv.domain._gaussians import Domain, Gaussians
from lensequiv.domain._statistics import (
    OutOfDomainWarning,
    check_ranges,
    image_features,
    image_statistics,
    statistics_out_of_range,
    statistics_ranges,
    unlike,
)

__all__ = [
    "Domain",
    "Gaussians",
    "OutOfDomainWarning",
    "check_ranges",
    "fit_domain",
    "fit_temperature",
    "image_features",
    "image_statistics",
    "statistics_out_of_range",
    "statistics_ranges",
    "unlike",
]

__getattr__ = moved(
    __name__,
    {
        "describe": "lensequiv.domain.image_features",
        "outside": "lensequiv.domain.statistics_out_of_range",
    },
)
