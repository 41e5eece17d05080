"""The measure, on layers whose answer is known; then the zoo's networks."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import lensequiv
from lensequiv._e2cnn import FieldType, parse_group
from lensequiv.data import sample_paths
from lensequiv.equivariance import (
    Element,
    assert_equivariant,
    equivariance_error,
    group_elements,
    measure,
    transform,
)
from lensequiv.equivariance._quantities import evaluate
from lensequiv.models.layers import SteerableConv

TINY = {"stem_fields": 2, "stages": [[2], [2, 3]], "stem_kernel": 9, "kernel": 3}
GROUPS = ("c4", "c8", "d4", "d8")


def regular(group, fields):
    space = parse_group(group)
    return FieldType(space, fields * [space.regular_repr])


def tiny(group, **options):
    return lensequiv.create_model(group, **TINY, **options).eval()


def blobs(n, size):
    """Images that no turn or mirror image leaves as they are."""
    steps = torch.linspace(-1, 1, size)
    x, y, width = 0.6 * torch.rand(3, n, 4, 1, 1) - 0.3
    distance = torch.hypot(steps[None, :] - x, steps[:, None] - y)
    return torch.exp(-((distance / (0.2 + width.abs())) ** 2)).sum(1)


# Elements and what they do


@pytest.mark.parametrize(
    ("group", "count"), [("c1", 0), ("d1", 1), ("c4", 3), ("c6", 5), ("d4", 7)]
)
def test_elements_of_a_group(group, count):
    elements = group_elements(group)
    assert len(set(elements)) == count
    assert Element(0.0) not in elements


def test_element_names():
    names = [str(e) for e in group_elements("d2")]
    assert names == ["turn 180", "mirror", "mirror, turn 180"]
    assert not Element(45.0).on_grid


@pytest.mark.parametrize("group", GROUPS)
def test_transform_is_a_representation(group):
    """Every element undone by another one, and of the order it should have."""
    fields = regular(group, 2)
    x = torch.randn(1, fields.size, 5, 5)
    for element in group_elements(group):
        if element.on_grid:
            y = x
            for _ in range(2 if element.flip else 4):
                y = transform(y, element, fields)
            torch.testing.assert_close(y, x)
            assert not torch.equal(transform(x, element, fields), x)


def test_turns_are_those_of_the_sky():
    """As in the simulator: anticlockwise where row 0 is at the bottom."""
    x = torch.zeros(1, 1, 3, 3)
    x[..., 1, 2] = 1  # to the right
    up = transform(x, Element(90.0))
    assert up[0, 0, 2, 1] == 1


@pytest.mark.parametrize(
    ("element", "group", "message"),
    [
        (Element(45.0), "c8", "expected a multiple of 90 degrees"),
        (Element(90.0), "c2", "turn 90: not an element of c2"),
        (Element(0.0, True), "c4", "mirror: not an element of c4"),
    ],
)
def test_elements_that_do_not_fit_are_refused(element, group, message):
    fields = regular(group, 1)
    with pytest.raises(ValueError, match=message):
        transform(torch.zeros(1, fields.size, 3, 3), element, fields)
    with pytest.raises(ValueError, match=r"7 channels; expected"):
        transform(torch.zeros(1, 7, 3, 3), Element(180.0), fields)


# Layers with a known answer


@pytest.mark.parametrize("group", [*GROUPS, "c6", "d1"])
def test_steerable_convolution_is_exact(group):
    space = parse_group(group)
    mixed = FieldType(space, [space.trivial_repr] * 2 + [space.regular_repr])
    layer = SteerableConv(mixed, regular(group, 2), 5).eval()
    x = torch.randn(3, mixed.size, 17, 17)
    errors = equivariance_error(layer, x)
    assert list(errors) == [e for e in group_elements(group) if e.on_grid]
    assert 0 < max(errors.values()) < 2e-6
    layer = SteerableConv(regular(group, 1), regular(group, 2), 3).eval()
    x = torch.randn(2, layer.in_type.size, 9, 9)
    assert max(equivariance_error(layer, x, dtype=torch.float64).values()) < 1e-14


class Broken(nn.Module):
    """The identity on scalars, but for a share of the image's mirror image."""

    def __init__(self, share):
        super().__init__()
        self.share = share

    def forward(self, x):
        return x + self.share * x.flip(3)


def test_known_error_of_a_broken_layer():
    """q(g x) - g q(x) = share (x turned, mirrored - x mirrored, turned)."""
    x = torch.zeros(2, 1, 3, 3)
    x[0, 0, 1, 2] = 1
    x[1, 0, 1, 1] = 1  # the centre: unmoved by everything
    report = measure(Broken(0.1), x)
    rows = {str(row.element): row for row in report.rows}
    # Only the first image deviates, by (+0.1, -0.1); |q|^2 is 1 + 0.1^2 and 1.1^2.
    scale = (1.01 + 1.21) / 2
    for turn in ("turn 90", "turn 270"):
        assert rows[turn].largest == pytest.approx(np.sqrt(0.02 / scale), rel=1e-5)
        assert rows[turn].error == pytest.approx(np.sqrt(0.01 / scale), rel=1e-5)
    assert rows["turn 180"].largest == 0  # commutes with the mirror image
    assert report.worst() is rows["turn 90"]


def test_even_maps_and_strides_break_it():
    layer = SteerableConv(regular("c4", 1), regular("c4", 2), 3, stride=2).eval()
    odd, even = torch.randn(2, 4, 17, 17), torch.randn(2, 4, 16, 16)
    assert max(equivariance_error(layer, odd).values()) < 2e-6
    assert min(equivariance_error(layer, even).values()) > 0.1


def test_wrong_field_type_is_noticed():
    fields = regular("c4", 2)
    layer = SteerableConv(fields, fields, 3).eval()
    scalars = FieldType(fields.gspace, fields.size * [fields.gspace.trivial_repr])
    errors = equivariance_error(layer, torch.randn(2, 8, 9, 9), out_type=scalars)
    assert min(errors.values()) > 0.1


# Networks


@pytest.mark.parametrize("size", [33, 41, 65])
@pytest.mark.parametrize("group", GROUPS)
def test_networks_are_equivariant_at_every_layer(group, size):
    model = tiny(group)
    model.preprocess = nn.Identity()
    report = assert_equivariant(model, blobs(2, size))
    layers = ["stem", "blocks.0", "blocks.2", "blocks.3"]
    assert report.quantities == ["logits", "embedding", *layers]
    elements = [row.element for row in report.of("blocks.3")]
    assert elements == [e for e in group_elements(group) if e.on_grid]
    assert len(elements) == (7 if group[0] == "d" else 3)
    assert report.group == group and report.images == 2
    # Rounding is there: what was compared are different numbers.
    assert all(report.worst(name).largest > 0 for name in layers)


@pytest.mark.parametrize("group", ["c8", "d4"])
def test_maps_do_move(group):
    """Else the permutation would not have been tested."""
    model = tiny(group)
    x = blobs(1, 65)[:, None]
    with torch.no_grad():
        first = model.forward_features(x)
        turned = model.forward_features(transform(x, Element(90.0)))
    fields = model.field_types()["blocks.3"]
    only_plane = transform(first, Element(90.0))
    assert (turned - only_plane).abs().max() > 0.1 * first.abs().max()
    torch.testing.assert_close(turned, transform(first, Element(90.0), fields))


def test_float64_leaves_the_model_alone():
    model = tiny("c8").train()
    before = copy.deepcopy(model.state_dict())
    report = assert_equivariant(model, sample_paths("modelJ")[:1], dtype=torch.float64)
    assert report.dtype == "float64" and 0 < report.worst().largest < 1e-13
    assert model.training
    for key, value in model.state_dict().items():
        assert value.dtype == before[key].dtype and torch.equal(value, before[key])


def test_judgement_names_the_worst():
    model = tiny("c4")
    with torch.no_grad():
        model.stem.conv.filter[0, 0, 0, 0] += 1  # no longer steerable
    images = sample_paths("modelF")[:2]
    with pytest.raises(AssertionError, match="c4 is not equivariant: ") as caught:
        assert_equivariant(model, images)
    worst = measure(model, images).worst()
    first, *table = str(caught.value).splitlines()
    assert f"{worst.quantity} under '{worst.element}'" in first
    assert first.endswith("of its scale; expected at most 1e-05")
    assert table[0].split()[:3] == ["logits", "embedding", "stem"]
    assert assert_equivariant(model, images, tolerance=worst.largest).rows


def test_not_a_number_fails():
    with pytest.raises(AssertionError, match="deviates by nan"):
        assert_equivariant(Broken(float("nan")), torch.randn(1, 1, 3, 3))


def test_flips_of_a_rotation_group():
    model, images = tiny("c8"), sample_paths("modelF")[:2]
    errors = equivariance_error(model, images, group="d4", layers=())
    assert all((error > 1e-4) == e.flip for e, error in errors.items())
    with pytest.raises(ValueError, match="mirror: not an element of c8"):
        measure(model, images, group="d4")


@pytest.mark.slow
def test_the_package_is_there_after_importing_lensequiv():
    code = "import lensequiv, sys; lensequiv.equivariance.measure; "
    code += "assert not {'e2cnn', 'matplotlib', 'umap'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_resnet_is_not():
    model = lensequiv.create_model("resnet18").eval()
    model.preprocess = nn.Identity()
    report = measure(model, blobs(1, 65))
    assert report.group is None
    assert report.quantities[2:] == ["layer1", "layer2", "layer3", "layer4"]
    assert min(row.error for row in report.of("layer1")) > 0.01
    assert len(measure(model, blobs(1, 33), group="d4").rows) == 7 * 6


def test_maps_are_kept_as_they_were_returned():
    model = lensequiv.create_model("resnet18").eval()
    in_place = nn.Hardtanh(0, 1e-3, inplace=True)
    model.layer2 = nn.Sequential(in_place, model.layer2)
    maps = evaluate(model, blobs(1, 33)[None], {"layer1": None}, 1)
    assert maps["layer1"].max() > 0.1


@pytest.mark.slow
def test_singh2021_maps_are_and_logits_are_not():
    model = lensequiv.create_model("singh2021-c4").eval()
    report = measure(model, sample_paths("modelF")[2:3])
    for i in range(1, 7):
        assert report.worst(f"block{i}").largest < 1e-5
    assert report.worst("logits").largest > 1e-3


def test_report_as_table_and_dictionary():
    report = measure(tiny("d4"), sample_paths("modelF")[:2], layers=["stem"])
    lines = str(report).splitlines()
    assert lines[0] == "d4 (group d4), pixel grid, 2 images, float32"
    assert lines[1].split() == ["logits", "embedding", "stem"]
    assert lines[-1].startswith("mirror, turn 270 ")
    row = report.of("stem")[2]
    assert lines[4].split()[-1] == f"{row.error:.1e}"
    asked = report.table([Element(90.0)]).splitlines()
    assert len(asked) == 2 and asked[1].startswith("turn 90")
    found = report.to_dict()["rows"][0]
    assert found["element"] == {"angle": 90.0, "flip": False}
    assert found["quantity"] == "logits"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: measure(m, x, layers=["stern"]), "layer 'stern'; expected one"),
        (lambda m, x: equivariance_error(m, x, quantity="y"), "'y' was not measured"),
        (lambda m, x: measure(m, x, group="c1"), "'c1' has no element"),
        (lambda m, x: measure(m.head, [1.0]), "Sequential is no lensequiv model"),
        (
            lambda m, x: measure(nn.Hardtanh(0, 1), -torch.ones(1, 1, 3, 3)),
            "output is zero for all images",
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(tiny("c4"), sample_paths("modelF")[:1])


def test_sizes_may_not_differ(tmp_path):
    image = lensequiv.data.read_image(sample_paths("modelF")[0])[0]
    for side in (97, 150):
        np.save(tmp_path / f"{side}.npy", image[:side, :side])
    with pytest.raises(ValueError, match=r"shapes \(1, 97, 97\) and \(1, 129, 129\)"):
        measure(tiny("c4"), tmp_path)
