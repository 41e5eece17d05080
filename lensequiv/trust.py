"""How far to believe a prediction: calibrated probabilities, and a score for oddity.

`calibrate` fits both to validation images and sets them on the model, which stores
them with its weights. What they notice and what they miss: `docs/trust.md`.

The parts live in `lensequiv.domain`, which knows no network, and in
`lensequiv.inference`; here they stand together.
"""

from lensequiv.domain import Domain, Gaussians, fit_domain, fit_temperature
from lensequiv.inference import calibrate

__all__ = ["Domain", "Gaussians", "calibrate", "fit_domain", "fit_temperature"]
