"""The traps of e2cnn 0.2.3, each with the proof that it is mended."""

import copy
import warnings

import numpy as np
import pytest
import torch
from e2cnn_layers import field_type

from lensequiv._e2cnn import FieldType, MaskModule, R2Conv, e2cnn, parse_group


def test_no_uint8_warning():
    # Kernels of a group that no other test uses: e2cnn warns where it fills its cache.
    types = field_type("c7", "t"), field_type("c7", "r")
    with pytest.warns(UserWarning, match="indexing with dtype torch.uint8"):
        e2cnn.nn.R2Conv(*types, 3, initialize=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        R2Conv(*types, 5)


@pytest.mark.parametrize("group", ["c8", "d8", "so2", "o2"])
def test_texts_of_representations_are_e2cnns_own(group):
    space = parse_group(group, max_frequency=2)
    found = [*space.irreps.values(), *space.representations.values()]
    assert len(found) > 2
    for one in found:
        total = one.change_of_basis.sum()
        own = f"{one.group.name}|{one.name}:{one.size},{len(one.irreps)},{total}"
        assert repr(one) == repr(one) == own
        assert hash(one) == hash(own) == hash(copy.deepcopy(one))


BASES = {
    "Flips": lambda f: ("R2FlipsSolution", 2, 0, f % 2, 0.0, 3),
    "DiscreteRotations": lambda f: ("R2DiscreteRotationsSolution", 8, 1, f, 3),
    "ContinuousRotations": lambda f: (
        "R2ContinuousRotationsSolution",
        e2cnn.group.so2_group(3),
        1,
        f,
    ),
    "FlipsDiscreteRotations": lambda f: (
        "R2FlipsDiscreteRotationsSolution",
        8,
        (1, 1),
        (1, f),
        0.0,
        3,
    ),
    "FlipsContinuousRotations": lambda f: (
        "R2FlipsContinuousRotationsSolution",
        e2cnn.group.o2_group(3),
        (1, 1),
        (1, f),
    ),
}


@pytest.mark.parametrize("case", BASES)
def test_kernels_hash(case):
    def build(frequency):
        cls, *arguments = BASES[case](frequency)
        return getattr(e2cnn.kernels.irreps_basis, cls)(*arguments)

    first, same, other = build(1), build(1), build(2)
    assert first == same and first is not same
    assert hash(first) == hash(same)
    assert first != other
    assert hash(first) != hash(other)
    assert len({first, same, other}) == 2


def test_numpy_is_mended_for_e2cnn_alone():
    assert e2cnn.kernels.utils.np is not np
    assert e2cnn.kernels.irreps_basis.np is np
    given = np.arange(3)
    theirs = e2cnn.kernels.utils.np
    assert theirs.array(given, copy=False) is given
    assert theirs.array(given) is not given
    assert theirs.array([1, 2], copy=False).tolist() == [1, 2]
    assert theirs.pi == np.pi


@pytest.mark.parametrize("group", ["c4", "d4"])
def test_weights_are_counted_without_names(group):
    """Ours writes no names, e2cnn's own layers keep theirs; all else is equal."""
    space = parse_group(group)
    mixed = FieldType(space, 2 * [space.regular_repr] + [space.trivial_repr])
    ours = R2Conv(mixed, mixed, 3, initialize=False)
    theirs = e2cnn.nn.R2Conv(mixed, mixed, 3, initialize=False)
    assert ours.weights.shape == theirs.weights.shape
    assert ours.basisexpansion.dimension() == theirs.basisexpansion.dimension()
    names = theirs.basisexpansion.get_basis_names()
    assert len(set(names)) == len(theirs.weights)
    assert ours.basisexpansion.get_basis_names() == []
    weights = torch.randn_like(ours.weights)
    for layer in (ours, theirs):
        layer.weights.data.copy_(weights)
    assert torch.equal(ours.expand_parameters()[0], theirs.expand_parameters()[0])


@pytest.mark.parametrize("size", [33, 130])
@pytest.mark.parametrize("margin", [0, 1])
def test_mask_is_a_disc_with_a_gaussian_edge(size, margin):
    layer = MaskModule(field_type("c4", "t"), size, margin)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    beyond = x**2 + y**2 - ((size - 1) / 2 * (1 - margin / 100)) ** 2
    expected = np.exp(-np.maximum(beyond, 0) / 4)
    assert layer.mask.dtype == torch.float32 and layer.mask.shape == (1, 1, size, size)
    np.testing.assert_allclose(layer.mask[0, 0], expected, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize(
    ("numbers", "are"),
    [([0], True), ([3, 4, 5], True), ([5, 3, 4], True), ([1, 3], False)],
)
def test_consecutive_channels_are_known(numbers, are):
    assert e2cnn.nn.modules.utils.check_consecutive_numbers(numbers) is are
