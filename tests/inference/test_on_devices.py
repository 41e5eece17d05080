"""Images through the network on any device: the answers are the processor's."""

import copy
import warnings

import numpy as np
import pytest
import torch

import lensequiv
from lensequiv.data import ImageError, sample_paths
from lensequiv.inference import Options, PixelScales, calibrate, source_of
from lensequiv.inference._batches import Run
from lensequiv.inference._preparing import Preparation
from lensequiv.inference._running import Runner, network_of

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def model():
    return lensequiv.from_pretrained("c8-modelF")


@pytest.fixture
def folder(tmp_path):
    """Eight images of three sizes, and the names of their files."""
    names = []
    for i, path in enumerate([*sample_paths("modelF"), *sample_paths("modelF")[:2]]):
        part = (slice(150), slice(10, 140), slice(35, 116))[i % 3]
        names.append(tmp_path / f"{i}.npy")
        np.save(names[-1], np.load(path)[part, part])
    return names


def through_the_device(model, paths, **options):
    """Batches as a GPU takes them, cropped, to be scaled and measured there."""
    options = Options(batch_size=3, **options)
    source = source_of([str(p) for p in paths], None)
    scales = PixelScales.of(model, None, False, headers=True)
    preparation = Preparation(model, source, options, scales, crop_only=True)
    place = torch.device("cpu")
    network = network_of(model, "fp32", place)
    runner = Runner(model, network, place, "fp32", raw=True)
    return Run(preparation, runner, ahead=1).batches(0)


def joined(parts, name):
    return torch.cat([getattr(part, name) for part in parts])


@pytest.mark.filterwarnings("ignore::lensequiv.domain.OutOfDomainWarning")
def test_scaling_and_measuring_there_is_the_same(model, folder):
    expected = model.predict(folder, batch_size=3)
    parts = list(through_the_device(model, folder))
    assert [len(part.names) for part in parts] == [3, 3, 2]
    assert torch.equal(joined(parts, "logits"), expected.logits)
    assert torch.equal(joined(parts, "probabilities"), expected.probabilities)
    torch.testing.assert_close(joined(parts, "scores"), expected.ood_score)
    assert [note for part in parts for note in part.notes] == expected.notes


@pytest.mark.slow
@pytest.mark.parametrize("bad", [2, 4])
def test_an_image_that_the_device_cannot_scale_is_named(model, folder, bad):
    """Five bright pixels on nothing: found there, told by the processor."""
    image = np.zeros((150, 150), np.float32)
    image[75, 70:75] = 100
    np.save(folder[bad], image)
    message = rf"{bad}\.npy: image 0: its 0\.999 quantile is not above"
    with pytest.raises(ValueError, match=message):
        list(through_the_device(model, folder))
    with pytest.raises(ValueError, match=message):
        model.predict(folder)
    before = []
    with pytest.raises(ValueError, match=message):
        for part in through_the_device(model, folder):
            before += part.names
    assert before == [str(path) for path in folder[: bad // 3 * 3]]
    parts = list(through_the_device(model, folder, on_error="skip"))
    errors = [error for part in parts for error in part.errors]
    assert [i for i, error in enumerate(errors) if error is not None] == [bad]
    others = folder[:bad] + folder[bad + 1 :]
    with warnings.catch_warnings(action="ignore"):
        expected = model.predict(others, batch_size=3)
    assert len(joined(parts, "logits")) == len(joined(parts, "scores")) == 7
    torch.testing.assert_close(joined(parts, "logits"), expected.logits, **CLOSE)
    assert sum(len(part.notes) for part in parts) == 7


def test_batches_before_one_that_cannot_be_read_are_given(model, folder):
    folder[7].write_bytes(b"")
    before = []
    with pytest.raises(ImageError, match=r"7\.npy"):
        for part in through_the_device(model, folder):
            before += part.names
    assert before == [str(path) for path in folder[:6]]


def test_a_batch_without_a_good_image(model, folder):
    for path in folder[:3]:
        path.write_bytes(b"")
    first, second, _ = through_the_device(model, folder, on_error="skip")
    assert all(first.errors) and first.notes == [] and len(first.scores) == 0
    assert first.logits.shape == first.probabilities.shape == (0, 3)
    assert second.errors == [None] * 3


# Wherever the network computes


@pytest.mark.filterwarnings("ignore::lensequiv.domain.OutOfDomainWarning")
def test_predictions_agree_with_the_processors(model, folder, device):
    expected = model.predict(folder)
    found = model.predict(folder, batch_size=3, device=device)
    assert next(model.parameters()).device.type == "cpu"
    for name in ("logits", "probabilities", "ood_score"):
        value = getattr(found, name)
        assert value.device.type == "cpu" and not value.is_pinned()
        torch.testing.assert_close(value, getattr(expected, name), **CLOSE)
    assert found.labels == expected.labels
    moved = copy.deepcopy(model).to(device)
    torch.testing.assert_close(moved.predict(folder).logits, expected.logits, **CLOSE)
    back = moved.predict(folder, device="cpu")
    assert next(moved.parameters()).device == device
    torch.testing.assert_close(back.logits, expected.logits, **CLOSE)


def test_images_may_be_on_any_device(model, device):
    images = np.stack([np.load(path) for path in sample_paths("modelF")])
    there = torch.from_numpy(images).to(device)
    expected = model.predict(images)
    for found in (model.predict(there), model.predict(there, device=device)):
        torch.testing.assert_close(found.logits, expected.logits, **CLOSE)
        torch.testing.assert_close(found.ood_score, expected.ood_score, **CLOSE)


def test_files_of_predictions_go_on_on_another_device(model, folder, device, tmp_path):
    out = tmp_path / "out.csv"
    folder[5].write_bytes(b"")
    how = {"progress": False, "device": device}
    with pytest.raises(ImageError):
        lensequiv.predict_to_file(model, folder, out, 3, **how)
    how = {"progress": False, "on_error": "skip"}
    lensequiv.predict_to_file(model, folder, out, 3, **how)
    assert out.read_text().count("\n") == 9


def test_networks_without_a_plain_form_are_copied(device):
    class Bare(lensequiv.models.LensNetwork):
        input_weight = "body.weight"
        name = "bare"

        def __init__(self):
            super().__init__(1, 3, lensequiv.models.InputSizes(33, 33, 33))
            self.body = torch.nn.Conv2d(1, 4, 3, stride=8)
            self.head = torch.nn.Linear(4, 3)

        def _features(self, x):
            return self.body(x)

        def _pool(self, features):
            return features.mean((2, 3))

    bare = Bare()
    images = torch.rand(2, 33, 33)
    found = bare.predict(images, device=device)
    assert bare.training and bare.body.weight.device.type == "cpu"
    expected = bare(bare.preprocess(images[:, None])).detach()
    torch.testing.assert_close(found.logits, expected, **CLOSE)


@pytest.mark.slow
def test_calibration_agrees_with_the_processors(device):
    steps = torch.arange(129) - 64.0
    radius = (steps[:, None] ** 2 + steps[None, :] ** 2).sqrt()
    labels = torch.arange(200) % 3
    width = 20 + 8 * labels.view(-1, 1, 1, 1) + torch.rand(200, 1, 1, 1)
    images = torch.exp(-0.5 * ((radius - width) / 3.5) ** 2)
    images += 0.05 * torch.randn(200, 1, 129, 129)
    model = lensequiv.create_model("c4", stem_fields=2, stages=((2,), (2,))).eval()
    other = copy.deepcopy(model)
    calibrate(model, images, labels, false_alarms=0.05)
    calibrate(other, images, labels, false_alarms=0.05, device=device)
    assert other.temperature == pytest.approx(model.temperature, rel=1e-3)
    scores = [m.predict(images[:20], device="cpu").ood_score for m in (model, other)]
    torch.testing.assert_close(*scores, rtol=0.02, atol=0.02)
    assert next(other.parameters()).device.type == "cpu"


def test_tf32_is_for_cuda(model):
    with pytest.raises(ValueError, match=r"'tf32' is for CUDA, .* is on cpu"):
        model.predict(torch.rand(1, 150, 150), precision="tf32", device="cpu")
    with pytest.raises(ValueError, match="'fp16': expected 'fp32', 'bf16' or, on CUDA"):
        model.predict(torch.rand(1, 150, 150), precision="fp16")


# Too little memory


class Small(torch.nn.Module):
    """A network on a device with memory for some images at a time."""

    def __init__(self, network, limit, error):
        super().__init__()
        self.network, self.limit, self.error, self.sizes = network, limit, error, []

    def logits_and_embedding(self, x):
        self.sizes.append(len(x))
        if len(x) > self.limit:
            raise self.error
        return self.network.logits_and_embedding(x)


ERRORS = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore"),
    RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_batches_are_halved_until_they_fit(model, error):
    images = np.stack([np.load(path) for path in sample_paths("modelF")] * 2)[:11]
    small = Small(network_of(model, "fp32"), 2, error)
    source, options = source_of(images, None), Options(batch_size=10)
    run = lensequiv.inference.batches(model, source, options, network=small)
    with pytest.warns(UserWarning, match="for 10 images at once; going on with 5") as w:
        parts = list(run)
    assert len(w) == 1  # once, though it happens twice
    assert small.sizes == [10, 5, 2, 2, 2, 2, 2, 1]
    assert [len(part.names) for part in parts] == [10, 1]
    torch.testing.assert_close(joined(parts, "logits"), model.predict(images).logits)


def test_too_little_for_one_image_is_told(model):
    images = np.stack([np.load(path) for path in sample_paths("modelF")])
    small = Small(network_of(model, "fp32"), 0, ERRORS[0])
    source, options = source_of(images, None), Options()
    run = lensequiv.inference.batches(model, source, options, network=small)
    message = r"c8: cpu has too little free memory for a single image \(CUDA out of "
    with (
        pytest.warns(UserWarning, match="going on with 3"),
        pytest.raises(MemoryError, match=message + r"memory\. Tried to allocate 2 G"),
    ):
        next(run)


def test_other_errors_are_left_alone(model):
    small = Small(network_of(model, "fp32"), 0, RuntimeError("an illegal access"))
    source = source_of(np.load(sample_paths("modelF")[0]), None)
    run = lensequiv.inference.batches(model, source, Options(), network=small)
    with pytest.raises(RuntimeError, match="an illegal access"):
        next(run)
    assert small.sizes == [1]
