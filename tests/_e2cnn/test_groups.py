"""Groups by name, and the bases that networks of a group share."""

import pytest
import torch
from e2cnn_layers import apply, conv, image

from lensequiv._e2cnn import parse_group

GROUPS = ("c1", "c3", "c4", "c8", "c16", "d1", "d3", "d4", "d5", "d8")


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_builds(group):
    order = int(group[1:]) * (2 if group[0] == "d" else 1)
    layer = conv(group)
    assert parse_group(group).fibergroup.order() == order
    assert layer.out_type.size == 2 * order
    y = apply(layer, image(1, 1, 9, 9))
    assert y.shape == (1, 2 * order, 5, 5)
    assert torch.isfinite(y).all() and y.std() > 0.01


def test_group_names_are_case_insensitive():
    assert parse_group("D4") == parse_group("d4") != parse_group("c4")


@pytest.mark.parametrize("name", ["e8", "c", "8", "", "c0", "c-4", "d4.0", "so3", "c²"])
def test_unknown_group_is_named(name):
    with pytest.raises(ValueError, match="expected 'c'") as caught:
        parse_group(name)
    assert f"group {name!r}" in str(caught.value)


@pytest.mark.parametrize("group", ["c8", "d4", "so2"])
def test_networks_of_a_group_share_their_bases(group):
    """What e2cnn keeps for a space is found again, not compared with all else."""
    assert parse_group(group) is parse_group(group.upper())
    if group != "so2":
        one, two = (conv(group).basisexpansion for _ in range(2))
        parts = zip(one._modules.values(), two._modules.values(), strict=True)
        assert all(a.basis is b.basis for a, b in parts)
    assert parse_group(group, 2) is parse_group(group, 2)
    assert parse_group("so2", 2) is not parse_group("so2", 3)


def test_models_do_not_share_basis_tensors():
    x = image(2, 1, 9, 9)
    a, b = conv(seed=0), conv(seed=1)
    bases = [
        {buffer.data_ptr() for buffer in layer.basisexpansion.buffers()}
        for layer in (a, b)
    ]
    assert bases[0] and not bases[0] & bases[1]
    before = apply(b, x).detach()
    a.double()
    assert apply(a, x.double()).dtype == torch.float64
    assert all(v.dtype == torch.float32 for v in b.basisexpansion.buffers())
    assert torch.equal(apply(b, x), before)
    for buffer in a.basisexpansion.buffers():
        buffer.zero_()
    assert torch.equal(apply(b, x), before)
    later = conv(seed=1)  # e2cnn's own cache is as it was, too
    assert torch.equal(apply(later, x), before)
