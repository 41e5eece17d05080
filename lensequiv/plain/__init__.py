"""Trained networks as ordinary torch modules: fast, exportable, nothing but torch.

`model.to_torch()` makes a `PlainModel`: filters expanded, batch norm folded into the
convolution or linear layer before it, group and spatial pooling written out. This
folder imports torch alone, and its files one another by relative names: a copy of it
anywhere loads and runs a saved `PlainModel` without lensequiv and without e2cnn.
"""

from ._checks import check_device, check_input
from ._convolutions import (
    ACTIVATIONS,
    BasicBlock,
    Conv,
    Flatten,
    Linear,
    MaxPool,
)
from ._fields import Fourier, GroupMax, IrrepNorms, group_max, irrep_norms
from ._filters import (
    Blur,
    Contrast,
    Mask,
    as_products,
    banded_matrix,
    disc_weights,
    filtered,
    gaussian_kernel,
    in_noise_units,
    local_contrast,
)
from ._maps import (
    KNEE,
    Activation,
    AllHeads,
    Heads,
    Light,
    PlainMap,
    enlarged,
    light_at,
    map_quantities,
)
from ._model import PlainModel, load_plain
from ._poolings import (
    CopiesMean,
    MapMean,
    MapStatistics,
    TurnedCopies,
    check_statistics,
    copy_angles,
    map_statistics,
    turned_copies,
)
from ._quantities import (
    Mixture,
    PlainQuantities,
    QuantityHead,
    describe_quantities,
    told_quantiles,
)

# The classes stand here, too, since whole models that were pickled name them so.
__all__ = [
    "ACTIVATIONS",
    "KNEE",
    "Activation",
    "AllHeads",
    "BasicBlock",
    "Blur",
    "Contrast",
    "Conv",
    "CopiesMean",
    "Flatten",
    "Fourier",
    "GroupMax",
    "Heads",
    "IrrepNorms",
    "Light",
    "Linear",
    "MapMean",
    "MapStatistics",
    "Mask",
    "MaxPool",
    "Mixture",
    "PlainMap",
    "PlainModel",
    "PlainQuantities",
    "QuantityHead",
    "TurnedCopies",
    "as_products",
    "banded_matrix",
    "check_device",
    "check_input",
    "check_statistics",
    "copy_angles",
    "describe_quantities",
    "disc_weights",
    "enlarged",
    "filtered",
    "gaussian_kernel",
    "group_max",
    "in_noise_units",
    "irrep_norms",
    "light_at",
    "load_plain",
    "local_contrast",
    "map_quantities",
    "map_statistics",
    "told_quantiles",
    "turned_copies",
]
