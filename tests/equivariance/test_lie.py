"""The Lie-derivative error, against cases that can be written down."""

import math

import pytest
import torch
from torch import nn

import lensequiv
from lensequiv._e2cnn import FieldType, parse_group
from lensequiv.equivariance import Element, lie_derivative, transform
from lensequiv.equivariance._elements import generator
from lensequiv.equivariance._lie import turned_map
from lensequiv.models import LensNetwork
from lensequiv.models.irreps import fourier_fields
from lensequiv.models.sizes import InputSizes

SIZE, WIDTH = 65, 5.0


def blob():
    """A Gaussian in the centre, (1, 1, h, w), and its x and y."""
    steps = torch.arange(SIZE, dtype=torch.float64) - SIZE // 2
    x, y = steps[None, :], steps[:, None]
    return torch.exp(-(x**2 + y**2) / (2 * WIDTH**2))[None, None], x, y


class Filter(nn.Module):
    """A convolution with one fixed kernel."""

    def __init__(self, kernel):
        super().__init__()
        self.register_buffer("kernel", torch.tensor(kernel, dtype=torch.float64))

    def forward(self, x):
        side = self.kernel.shape[-1] // 2
        return nn.functional.conv2d(x, self.kernel[None, None], padding=side)


class Network(LensNetwork):
    """A filter whose result is taken as a scalar, its mean square, and twice that."""

    input_weight = "weight"

    def __init__(self, kernel=((0.0,) * 3,) * 3):
        super().__init__(1, 1, InputSizes(SIZE, 2, SIZE))
        self.filter, self.weight = Filter(kernel), nn.Parameter(torch.ones(1))
        self.preprocess = nn.Identity()
        self.head = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.head.weight, 2)

    def __deepcopy__(self, memo):
        return Network(self.filter.kernel.tolist())

    def _features(self, x):
        return self.filter(x)

    def _pool(self, features):
        return features.square().mean((2, 3))

    def field_types(self):
        return {"filter": None}


D_DX = [[0.0, 0, 0], [-0.5, 0, 0.5], [0, 0, 0]]
LAPLACE = [[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]


@pytest.fixture
def images(monkeypatch):
    """The blob as the network's input, not preprocessed."""
    image, _, _ = blob()
    monkeypatch.setattr(
        "lensequiv.equivariance._lie.ready_input", lambda network, images: images
    )
    return image


def test_derivative_along_x_taken_as_a_scalar(images):
    """[d/dx, y d/dx - x d/dy] = -d/dy, which is as long as d/dx of a round blob."""
    row = lie_derivative(Network(D_DX), images).of("filter")
    assert row.error == pytest.approx(1, rel=0.01)
    # It should turn like x exp(-r^2 / 2 s^2) into y ..., by its own length a radian.
    assert row.turning == pytest.approx(1, rel=0.01)


def test_laplacian_of_a_blob_off_the_centre_turns_as_it_should(images):
    shifted = images.roll((6, 9), (2, 3))
    report = lie_derivative(Network(LAPLACE), shifted)
    assert report.of("filter").turning < 0.01
    assert report.of("embedding").error < 1e-3
    assert report.of("embedding").turning is None
    assert report.of("logits").error == pytest.approx(report.of("embedding").error)


def test_invariants_of_a_derivative_change(images):
    """E = sum of (d/dx f)^2 of an oval blob: dE/dt follows from its axes."""
    _, x, y = blob()
    a, b, t = 4.0, 8.0, math.pi / 8

    def energy(angle):
        u, v = (
            x * math.cos(angle) + y * math.sin(angle),
            y * math.cos(angle) - x * math.sin(angle),
        )
        return torch.exp(-(u**2) / (2 * a**2) - v**2 / (2 * b**2))[None, None]

    # (d/dx f)^2 of the oval turned by t is c (cos^2 t / a^2 + sin^2 t / b^2).
    value = math.cos(t) ** 2 / a**2 + math.sin(t) ** 2 / b**2
    slope = math.sin(2 * t) * (1 / b**2 - 1 / a**2)
    report = lie_derivative(Network(D_DX), energy(t))
    assert report.of("embedding").error == pytest.approx(abs(slope) / value, rel=0.03)
    assert report.of("logits").error == pytest.approx(abs(slope) / value, rel=0.03)


def test_contributions_add_up(images):
    """Of one filter: all of the change arises in it."""
    _, x, y = blob()
    oval = torch.exp(-((x + y) ** 2) / 64 - (x - y) ** 2 / 200)[None, None]
    report = lie_derivative(Network(D_DX), oval)
    rows = {row.quantity: row for row in report.rows}
    assert list(rows) == ["filter", "embedding", "logits"]
    assert rows["filter"].contribution == pytest.approx(rows["logits"].error, rel=0.02)
    assert rows["embedding"].contribution < 0.02 * rows["logits"].error
    assert rows["logits"].contribution == 0
    assert "contributes" in str(report) and report.to_dict()["images"] == 1
    with pytest.raises(ValueError, match="'stem' was not measured; expected one of"):
        report.of("stem")


def test_a_map_turns_as_images_do():
    """The generator against a small turn of an analytic map."""
    _, x, y = blob()

    def image(angle):
        u, v = (
            x * math.cos(angle) + y * math.sin(angle),
            y * math.cos(angle) - x * math.sin(angle),
        )
        return torch.exp(-((u - 7) ** 2 + 2 * v**2) / (2 * WIDTH**2))[None, None]

    expected = (image(1e-4) - image(-1e-4)) / 2e-4
    found = turned_map(image(0.0))
    assert (found - expected).abs().max() < 3e-3 * expected.abs().max()


@pytest.mark.parametrize("group", ["c16", "d16", "so2", "o2"])
def test_channels_turn_as_the_group_turns_them(group):
    space = parse_group(group, 3)
    kind = space.regular_repr if group[1:] == "16" else fourier_fields(space, 3)
    fields = FieldType(space, 2 * [kind])
    x = torch.randn(3, fields.size, dtype=torch.float64)
    if group[1:] == "16":  # slow functions on the group, whose differences are small
        spectrum = torch.fft.rfft(x.unflatten(1, (-1, 16)), dim=2)
        spectrum[:, :, 2:] = 0
        x = torch.fft.irfft(spectrum, n=16, dim=2).flatten(1)
    step = 360 / 16 if group[1:] == "16" else 0.01
    ahead, behind = (transform(x, Element(s * step), fields) for s in (1, -1))
    found = generator(x[..., None, None], fields)[..., 0, 0]
    expected = (ahead - behind) / 2
    if group[1:] == "16":  # of frequency 1: sin(step) in place of step
        expected = expected / math.sin(math.radians(step))
    else:
        expected = expected / math.radians(step)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["c8", "so2", "resnet18"])
def test_every_network(name):
    torch.manual_seed(0)
    options = {} if name == "resnet18" else {"stages": [[4], [4]], "stem_fields": 4}
    model = lensequiv.create_model(name, **options).set_input_size(49).eval()
    steps = torch.linspace(-1, 1, 49)
    ring = torch.exp(
        -((torch.hypot(steps[None], steps[:, None] - 0.1) - 0.5) ** 2) / 0.02
    )
    report = lie_derivative(model, ring.expand(2, 1, 49, 49), batch_size=1)
    names = [*model.field_types(), "embedding", "logits"]
    assert [row.quantity for row in report.rows] == names
    assert all(math.isfinite(row.error) and row.error > 0 for row in report.rows)
    assert next(model.parameters()).dtype == torch.float32  # a copy was measured
    again = lie_derivative(model, ring.expand(2, 1, 49, 49), layers=())
    assert again.of("logits").error == pytest.approx(report.of("logits").error)
    with pytest.raises(ValueError, match="layer 'nothing'; expected one of"):
        lie_derivative(model, ring.expand(1, 1, 49, 49), layers=["nothing"])
