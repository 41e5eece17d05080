"""The 2021 preprocessing against its original form: Pillow images and torchvision."""

import json
import runpy
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode, v2

from lensequiv.transforms import _singh2021
from lensequiv.transforms._singh2021 import MaxToUint8, Singh2021Eval, Singh2021Train

pytestmark = pytest.mark.slow  # torchvision takes three seconds to import

BILINEAR = InterpolationMode.BILINEAR
EVAL = {"name": "singh2021-eval", "size": 128, "padded": 129}
TRAIN = {**EVAL, "name": "singh2021-train", "size": 99, "upsample": 2, "degrees": 9.0}
ONES = torch.ones(150, 150)
BOTH = pytest.mark.parametrize("transform", [Singh2021Train(), Singh2021Eval()])


def lens(seed, pixels=150, sky=30.0):
    """A smooth ring, off centre, brighter on one side, with Poisson noise: counts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:pixels, :pixels] - (pixels - 1) / 2
    x, y = x - rng.uniform(-3, 3), y - rng.uniform(-3, 3)
    brightness = 0.6 + 0.4 * np.cos(np.arctan2(y, x) - rng.uniform(0, 2 * np.pi))
    ring = 800 * brightness * np.exp(-0.5 * ((np.hypot(x, y) - 25.6) / 3.5) ** 2)
    return rng.poisson(ring + sky).astype(np.float64)


def picture(counts):
    """What the authors made of the content of a file: an RGB picture."""
    scaled = 255 * (counts / counts.max())
    return Image.fromarray(scaled.astype("uint8")).convert("RGB")


def batch(*seeds):
    return torch.from_numpy(np.stack([lens(seed) for seed in seeds]))[:, None]


def original(degrees=180):
    """The transform of the authors' main.py for training (there without `v1`)."""
    steps = [v1.RandomCrop(128), v1.Pad((0, 0, 1, 1), fill=0), v1.Resize(387)]
    steps += [v1.RandomRotation(degrees, interpolation=BILINEAR, expand=False)]
    return v1.Compose([*steps, v1.Resize(129), v1.ToTensor()])


def pillow_stages(counts):
    """The same without torchvision: the picture after each step."""
    yield (image := picture(counts))
    top, left = (int(torch.randint(23, ())) for _ in range(2))
    yield (image := image.crop((left, top, left + 128, top + 128)))
    padded = Image.new("RGB", (129, 129))
    padded.paste(image, (0, 0))
    yield (image := padded)
    yield (image := image.resize((387, 387), Image.Resampling.BILINEAR))
    angle = float(torch.empty(1).uniform_(-180, 180))
    yield (image := image.rotate(angle, Image.Resampling.BILINEAR))
    yield image.resize((129, 129), Image.Resampling.BILINEAR)


def seeded(seed, call, *arguments):
    torch.manual_seed(seed)
    return call(*arguments)


# Every comparison with Pillow below asks for equality: the tolerance is 0 grey levels.


@pytest.mark.parametrize("seed", range(4))
def test_each_step_equals_pillow(seed):
    counts = lens(seed, sky=10.0 + 20.0 * (seed % 2))
    stages = seeded(seed, list, pillow_stages(counts))
    torch.manual_seed(seed)
    ours = torch.from_numpy(counts)[None]
    *steps, scale = Singh2021Train().steps
    for step, theirs in zip(steps, stages, strict=True):
        ours = step(ours)
        assert [one.mode for one in ours] == ["L"]
        assert np.array_equal(np.array(ours[0].convert("RGB")), np.array(theirs))
    assert torch.equal(scale(ours)[0], v1.ToTensor()(stages[-1])[0])


@pytest.mark.parametrize("degrees", [180, 10])
@pytest.mark.parametrize("seed", range(4))
def test_training_equals_the_original_composition_with_the_same_seed(degrees, seed):
    transform, counts = Singh2021Train(degrees=degrees), lens(seed)
    ours = seeded(seed, transform, torch.from_numpy(counts))
    theirs = seeded(seed, original(degrees), picture(counts))
    assert torch.equal(ours.expand(3, -1, -1), theirs)


def test_evaluation_equals_the_original_composition_with_a_centre_crop():
    theirs = v1.Compose([v1.CenterCrop(128), v1.Pad((0, 0, 1, 1)), v1.ToTensor()])
    counts = lens(3)
    ours = Singh2021Eval()(torch.from_numpy(counts))
    assert torch.equal(ours, theirs(picture(counts))[0])
    cropped = np.floor(255 * (counts / counts.max()))[11:139, 11:139]
    assert np.array_equal((ours[:128, :128] * 255).round(), cropped)
    assert ours[-1].sum() == ours[:, -1].sum() == 0


def test_the_authors_grey_weights_change_little():
    """The factor left out: torchvision's grey weights for tensors add up to 0.9999."""
    theirs = v1.Grayscale()(v1.ToTensor()(v1.CenterCrop(128)(picture(lens(1)))))
    ours = Singh2021Eval(padded=128)(torch.from_numpy(lens(1)))
    torch.testing.assert_close(theirs[0], 0.9999 * ours, rtol=1e-6, atol=1e-7)


def test_torchvisions_tensor_operations_are_brighter():
    """Why the steps take Pillow images: the docstring's 0.3 to 0.4 levels."""
    enlarge, _, shrink = Singh2021Train().steps[3:6]
    (picture,) = MaxToUint8()(torch.from_numpy(lens(0))[None, 11:140, 11:140])
    tensor = v2.functional.pil_to_tensor(picture)
    ours, theirs = (
        shrink(v2.functional.rotate(enlarge(image), 33.0, BILINEAR))
        for image in (picture, tensor)
    )
    excess = theirs.float() - v2.functional.pil_to_tensor(ours)
    assert 0.2 < excess[:, 20:-20, 20:-20].mean() < 0.5


def test_evaluation_is_sharper_than_training_at_no_angle():
    """The docstring's numbers: 0.5 to 0.9 grey levels on average, at most 22."""
    for seed, sky in ((0, 10.0), (1, 30.0)):
        start = torch.from_numpy(lens(seed, sky=sky)[11:139, 11:139])
        difference = 255 * (Singh2021Train(degrees=0)(start) - Singh2021Eval()(start))
        difference = difference[:128, :128]
        assert 0.5 <= difference.abs().mean() <= 0.95
        assert difference.abs().max() <= 22
        assert difference.mean().abs() < 0.03


def test_generator_makes_results_reproducible():
    images, state = batch(0, 1, 2), torch.get_rng_state()
    first = Singh2021Train(generator=torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(7)
    again = Singh2021Train.from_config({"name": first.name}, generator=generator)
    once = first(images)
    assert torch.equal(once, again(images))
    assert not torch.equal(once, first(images))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(once, seeded(7, Singh2021Train(), images))


def test_each_image_of_a_batch_has_its_own_crop_and_angle():
    images, transform = batch(0).expand(2, 2, 150, 150), Singh2021Train()
    result = seeded(0, transform, images)
    assert not torch.equal(result[0], result[1])
    assert torch.equal(result[:, 0], result[:, 1])
    torch.manual_seed(0)
    assert torch.equal(result, torch.stack([transform(image) for image in images]))


@BOTH
@pytest.mark.parametrize("leading", [(), (1,), (2,), (3, 1), (2, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.uint8])
def test_shapes_and_dtypes(transform, leading, dtype):
    image = torch.from_numpy(lens(0) / 5).to(dtype).expand(*leading, 150, 150)
    before = image.clone()
    result = transform(image)
    assert result.shape == (*leading, 129, 129)
    assert result.dtype == torch.float32
    assert 0 <= result.min() <= result.max() <= 1
    assert torch.equal(image, before)


def test_neither_gain_nor_dtype_matters():
    counts, transform = torch.from_numpy(lens(2)).float(), Singh2021Eval()
    assert torch.equal(transform(counts), transform(4 * counts.int()))


def test_negative_pixels_become_zero():
    image = torch.ones(128, 128)
    image[0, 0] = -3.0
    assert torch.equal(Singh2021Eval(padded=128)(image), image.clamp(min=0))


@BOTH
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.ones(150), r"expected \(H, W\).*found shape \(150,\)"),
        (torch.ones(1, 1, 1, 150, 150), r"found shape \(1, 1, 1, 150, 150\)"),
        (torch.ones(0, 1, 150, 150), r"at least one pixel, found shape \(0, 1, 150"),
        (torch.ones(150, 127), r"at least 128 x 128 pixels, found 150 x 127"),
        (torch.ones(1, 64, 64), r"at least 128 x 128 pixels, found 64 x 64"),
        (ONES > 0, r"integer dtype, found torch.bool"),
        (ONES * 1j, r"integer dtype, found torch.complex64"),
        (ONES * 0, r"maximum above 0, found 0.0 in image 0"),
        (-ONES, r"maximum above 0, found -1.0 in image 0"),
        (ONES * torch.nan, r"found NaN or infinity in image 0"),
        (torch.stack([ONES, ONES / 0])[:, None], r"found NaN or infinity in image 1"),
    ],
)
def test_wrong_images_are_refused(transform, image, message):
    with pytest.raises(ValueError, match=message):
        transform(image)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "size=0: expected a positive"),
        ({"size": 130}, "padded=129: expected an integer from 130"),
        ({"upsample": 0}, "upsample=0: expected a positive"),
        ({"degrees": -1.0}, "degrees=-1.0: expected a number from 0 to 180"),
        ({"degrees": float("nan")}, "degrees=nan: expected a number from 0 to 180"),
        (EVAL, "expected name 'singh2021-train', found 'singh2021-eval'"),
        ({"name": None}, "expected name 'singh2021-train', found None"),
        ({"crop": 1}, r"knows \['size', .*'degrees'\], found also \['crop'\]"),
    ],
)
def test_wrong_parameters_and_foreign_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Singh2021Train.from_config({**TRAIN, **change})


@pytest.mark.parametrize("expected", [EVAL, TRAIN])
def test_config_round_trip(expected):
    kind = Singh2021Train if "degrees" in expected else Singh2021Eval
    transform = kind(**{key: expected[key] for key in expected if key != "name"})
    rebuilt = kind.from_config(json.loads(json.dumps(transform.to_config())))
    assert rebuilt.to_config() == transform.to_config() == expected
    assert repr(rebuilt) == repr(transform)
    image = torch.from_numpy(lens(0))
    assert torch.equal(seeded(0, rebuilt, image), seeded(0, transform, image))


def test_representation_lists_every_step():
    steps = (
        "MaxToUint8()",
        "RandomCrop(size=(128, 128)",
        "Pad(padding=[0, 0, 1, 1], fill=0",
        "Resize(size=[387, 387], interpolation=",
        "RandomRotation(degrees=[-180.0, 180.0], interpolation=",
        "Resize(size=[129, 129], interpolation=",
        "Uint8ToUnit()",
    )
    lines = repr(Singh2021Train()).splitlines()[1:-1]
    assert all(step in line for step, line in zip(steps, lines, strict=True))
    assert "CenterCrop(size=(128, 128))" in repr(Singh2021Eval())


def test_every_crop_offset_is_reached():
    torch.manual_seed(0)
    crop = Singh2021Train().steps[1]
    index = torch.arange(150 * 150).reshape(1, 150, 150)
    corners = [int(crop(index)[0, 0, 0]) for _ in range(2000)]
    rows, columns = np.divmod(corners, 150)
    assert set(rows) == set(columns) == set(range(23))
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.1


@pytest.mark.slow
def test_angles_are_uniform():
    torch.manual_seed(0)
    rotate = Singh2021Train().steps[4]
    # Where a bright spot goes shows how far the picture was turned.
    marked = Image.new("L", (201, 201))
    marked.paste(255, (190, 99, 193, 102))
    angles = []
    for _ in range(2000):
        y, x = np.divmod(np.array(rotate(marked)).argmax(), 201)
        angles.append(np.degrees(np.arctan2(100 - y, x - 100)))
    # Kolmogorov-Smirnov: 1.95 / sqrt(n) is exceeded by chance once in 1000 seeds.
    ranks = np.linspace(0, 1, len(angles))
    distance = np.abs((np.sort(angles) + 180) / 360 - ranks).max()
    assert distance < 1.95 / np.sqrt(len(angles))


def test_torchvision_is_imported_on_first_use(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        monkeypatch.setitem(sys.modules, name, None)
    transform = runpy.run_path(_singh2021.__file__)["Singh2021Eval"]()
    with pytest.raises(ImportError, match="torchvision"):
        transform(torch.rand(150, 150))
