"""Small layers of the mended e2cnn, and calls of them."""

import torch

from lensequiv._e2cnn import FieldType, GeometricTensor, R2Conv, parse_group


def field_type(group, pattern):
    """Fields of a group: "t" for trivial, "r" for regular."""
    space = parse_group(group)
    kinds = {"t": space.trivial_repr, "r": space.regular_repr}
    return FieldType(space, [kinds[letter] for letter in pattern])


def conv(group="c4", source="t", target="rr", kernel=5, seed=0, **options):
    torch.manual_seed(seed)
    types = field_type(group, source), field_type(group, target)
    return R2Conv(*types, kernel, **options)


def apply(layer, x):
    return layer(GeometricTensor(x, layer.in_type)).tensor


def image(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
