"""The only part that imports e2cnn: its traps (release 0.2.3) are mended here.

What is mended, and how:

* NumPy 2 (D_N groups do not build): `numpy.array(..., copy=False)` and
  `ndarray.tostring()` are replaced where e2cnn uses them, nowhere else.
* Slow import: sympy (differential operators) and scipy.stats (one initialisation)
  are loaded when something asks for them.
* Slow construction: `R2Conv` here initialises with a vectorised form of e2cnn's
  `generalized_he_init`, or not at all, and gives its weights no names (e2cnn writes a
  string for each: four million for the 2021 D8 network). Networks of a group share
  their space, and so the bases that e2cnn keeps there. Two loops over single pixels and
  channels are gone.
* State dict that depends on the mode: filters and bases, which follow from the
  weights and the architecture, are not saved.
* Bases shared between models: every `R2Conv` owns its basis tensors, so casting or
  moving one model leaves others alone.
* Filters frozen by `eval()`: here they follow the weights in either mode, with
  gradients when these are wanted; see `R2Conv.filters`.
* A noisy `uint8` warning, filtered by its text.
"""

from lensequiv._e2cnn._convolution import R2Conv
from lensequiv._e2cnn._groups import CONTINUOUS, GSpace, parse_group
from lensequiv._e2cnn._initial import he_init_std
from lensequiv._e2cnn._mended import (
    FieldType,
    GeometricTensor,
    ReLU,
    SequentialModule,
    directsum,
    e2cnn,
)
from lensequiv._e2cnn._modules import (
    GroupPooling,
    InnerBatchNorm,
    MaskModule,
    PointwiseAvgPoolAntialiased,
)

__all__ = [
    "CONTINUOUS",
    "FieldType",
    "GSpace",
    "GeometricTensor",
    "GroupPooling",
    "InnerBatchNorm",
    "MaskModule",
    "PointwiseAvgPoolAntialiased",
    "R2Conv",
    "ReLU",
    "SequentialModule",
    "directsum",
    "e2cnn",
    "he_init_std",
    "parse_group",
]
