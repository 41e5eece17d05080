import sys

import numpy as np
import pytest
import torch
from torch import nn

from lensequiv import create_model
from lensequiv.models.base import InputSizes, LensNetwork
from lensequiv.saliency import integrated_gradients
from lensequiv.transforms import CropAndScale, Singh2021Eval

SIZE = 65


class OnePixel(LensNetwork):
    """Looks at one pixel: the logits are multiples of its square."""

    input_size = SIZE
    at = (20, 41)

    def __init__(self):
        super().__init__(1, 3, InputSizes(SIZE, 1, SIZE))
        self.head = nn.Linear(1, 3, bias=False)
        self.head.weight.data = torch.tensor([[1.0], [-2.0], [4.0]])

    def _features(self, x):
        return x[:, :, self.at[0] : self.at[0] + 1, self.at[1] : self.at[1] + 1] ** 2

    def _pool(self, features):
        return features.flatten(1)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(1)
    model = create_model("c4", stem_fields=2, stem_kernel=9, stages=((2,), (3,)))
    model.preprocess = CropAndScale(SIZE)
    # Statistics of a few images, so that the layers work in their usual range.
    model.train()
    for _ in range(20):
        model(model.preprocess(ring(8)))
    return model.eval()


def ring(n, size=SIZE):
    axis = torch.arange(size) - (size - 1) / 2
    radius = torch.hypot(axis[:, None], axis[None, :])
    light = 100 * torch.exp(-0.5 * ((radius - size / 5) / 3) ** 2)
    return light + 10 + 5 * torch.rand(n, 1, size, size)


@pytest.mark.slow
@pytest.mark.parametrize("baseline", ["blur", "sky", "images"])
def test_maps_add_up_to_the_difference_of_the_logits(small, baseline):
    images, others = ring(3), ring(3)
    found = integrated_gradients(
        small,
        images,
        target=["no", "vort", 1],
        against="no",
        baseline=others if baseline == "images" else baseline,
        steps=128,
    )
    with torch.no_grad():
        ends = [small(found.inputs), small(found.baselines)]
    logits = ends[0] - ends[1]
    expected = logits[range(3), [0, 2, 1]] - logits[:, 0]
    assert expected[1:].abs().min() > 0
    assert expected[0] == 0
    torch.testing.assert_close(found.difference, expected, rtol=1e-4, atol=1e-5)
    sums = found.maps.sum((1, 2))
    assert ((sums - expected).abs() <= 0.02 * expected.abs().max()).all()
    torch.testing.assert_close(found.error, sums - found.difference)
    if baseline == "images":
        said = small.predict(others).logits
        with torch.no_grad():
            torch.testing.assert_close(ends[1], said, rtol=1e-4, atol=1e-5)


def test_a_network_that_looks_at_one_pixel():
    model, images = OnePixel().eval(), ring(2)
    found = integrated_gradients(model, images, target=2, baseline="sky", steps=4)
    row, column = model.at
    x, b = (v[:, 0, row, column] for v in (found.inputs, found.baselines))
    # Gauss-Legendre is exact for the square.
    torch.testing.assert_close(found.maps[:, row, column], 4 * (x**2 - b**2))
    found.maps[:, row, column] = 0
    assert not found.maps.any()


def test_maps_turn_with_the_image(small):
    images = ring(2)
    arguments = {"target": "vort", "baseline": "blur", "steps": 8}
    found = integrated_gradients(small, images, **arguments)
    turned = integrated_gradients(small, images.rot90(1, (2, 3)), **arguments)
    scale = float(found.maps.abs().max())
    torch.testing.assert_close(
        turned.maps, found.maps.rot90(1, (1, 2)), rtol=0, atol=1e-4 * scale
    )
    assert (turned.maps - found.maps).abs().max() > 0.1 * scale


def test_batches_do_not_matter(small):
    images = ring(3)
    one = integrated_gradients(small, images, steps=4, batch_size=1)
    all_at_once = integrated_gradients(small, images, steps=4, batch_size=12)
    torch.testing.assert_close(one.maps, all_at_once.maps, rtol=1e-3, atol=1e-6)
    assert torch.equal(one.target, small.predict(images).logits.argmax(1))
    assert one.against is None


def test_the_model_is_left_alone(small):
    before = {k: v.clone() for k, v in small.state_dict().items()}
    integrated_gradients(small.train(), ring(2), steps=2)
    assert small.training
    assert all(p.grad is None for p in small.parameters())
    assert all(torch.equal(v, before[k]) for k, v in small.state_dict().items())
    small.eval()


def test_positions(small):
    model = OnePixel().eval()
    images = ring(1, 150)
    found = integrated_gradients(model, images, target=0, steps=1)
    assert found.offset == (42, 42)
    row, column = model.at
    bright = images.clone()
    bright[0, 0, row + 42, column + 42] += 200
    inside = found.crop(bright - images)[0, 0].nonzero()
    assert inside.tolist() == [[row, column]]
    x, y = found.axes(0.05)
    np.testing.assert_allclose(x[column], (41 + 42 - 74.5) * 0.05)
    np.testing.assert_allclose(y[row], (20 + 42 - 74.5) * 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(150, 150), (131, 140), (129, 128)])
def test_offset_of_the_2021_crop(shape):
    preprocess = Singh2021Eval()
    top, left = preprocess.offset(*shape)
    image = torch.rand(shape)
    image[0, 0] = 1
    levels = (255 * image.double()).to(torch.uint8)
    result = (255 * preprocess(image)).round().to(torch.uint8)
    expected = levels[top : top + 128, left : left + 128]
    assert torch.equal(result[:128, :128], expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "axion"}, "target='axion': expected one of no, sphere, vort"),
        ({"against": 3}, "against=3: expected one of no"),
        ({"target": ["no"]}, "target has 1 classes; expected one or 2"),
        ({"baseline": "black"}, "baseline='black': expected 'blur', 'sky' or an array"),
        ({"baseline": np.random.rand(1, SIZE, SIZE)}, "baseline has the shape"),  # noqa: NPY002
        ({"steps": 0}, "steps=0"),
        ({"blur": 30.0}, "sigma=30.0"),
    ],
)
def test_bad_arguments(small, arguments, message):
    with pytest.raises(ValueError, match=message):
        integrated_gradients(small, ring(2), **arguments)


def test_wrong_size(small):
    with pytest.raises(ValueError, match="x 40 pixels"):
        integrated_gradients(small, ring(1, 40))


def test_without_captum(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ImportError, match=r"lensequiv\[saliency\]"):
        integrated_gradients(small, ring(1))
