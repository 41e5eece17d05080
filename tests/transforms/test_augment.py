"""RandomPose: pixels moved, not changed, and turns by any angle where asked for."""

import math

import numpy as np
import pytest
import torch

from lensequiv.transforms import CropAndScale, RandomPose, rotate

# Every turn of the square, with and without a mirror image.
POSES = [(k, flip) for k in range(4) for flip in (False, True)]


def move(x, pose):
    k, flip = pose
    x = torch.rot90(x, k, (-2, -1))
    return x.flip(-1) if flip else x


def candidates(image, size, shift):
    """All poses of all shifted central crops of (H, W): {(pose, dy, dx): (S, S)}."""
    top, left = ((side - 1) // 2 - size // 2 for side in image.shape)
    found = {}
    for dy in range(-shift, shift + 1):
        for dx in range(-shift, shift + 1):
            crop = image[top + dy :, left + dx :][:size, :size]
            for pose in POSES:
                found[pose, dy, dx] = move(crop, pose)
    return found


def blob(size=150, sigma=15.0, stretch=1.0):
    """A Gaussian on the central pixel, peak 1."""
    steps = torch.arange(float(size)) - (size - 1) // 2
    squares = (steps[:, None] / stretch) ** 2 + (steps[None, :] * stretch) ** 2
    return torch.exp(-squares / (2 * sigma**2))


@pytest.fixture(scope="module", params=[(21, 21), (22, 22), (21, 24)])
def on_grid(request):
    """400 poses of one image, and which candidates each one equals."""
    torch.manual_seed(1)
    image = torch.randn(request.param)
    given = image.expand(400, 1, -1, -1)
    results = RandomPose(size=9, shift=3, rotate=0)(given)
    known = candidates(image, 9, 3)
    keys, crops = list(known), torch.stack(list(known.values()))
    distance = (results - crops[None]).abs().amax((2, 3))
    return [[keys[i] for i in row.nonzero()[:, 0]] for row in distance < 1e-4]


# On the pixel grid


@pytest.mark.slow
def test_every_result_is_one_pose_of_one_shift(on_grid):
    assert all(len(matches) == 1 for matches in on_grid)


def test_all_poses_and_shifts_occur(on_grid):
    found = [matches[0] for matches in on_grid]
    for pose in POSES:  # 50 expected, with a standard deviation of 6.6
        assert 20 < sum(key[0] == pose for key in found) < 80, pose
    for axis in (1, 2):
        for step in range(-3, 4):  # 57 expected, 7 standard deviation
            assert 20 < sum(key[axis] == step for key in found) < 95, step


def test_shifts_along_the_axes_are_independent(on_grid):
    assert len({matches[0][1:] for matches in on_grid}) > 40  # of 49


def test_images_of_a_batch_are_moved_one_by_one():
    images = torch.randn(16, 1, 21, 21)
    results = RandomPose(size=9, shift=2, rotate=0)(images)
    poses = set()
    for image, result in zip(images, results, strict=True):
        known = candidates(image[0], 9, 2)
        match = [k for k, v in known.items() if (v - result[0]).abs().max() < 1e-4]
        assert len(match) == 1
        poses.update(match)
    assert len(poses) > 8


def test_full_size_crops_hit_pixels_too():
    """The default: 129 pixels of 150, shifted by up to 6."""
    image = torch.randn(150, 150)
    results = RandomPose(rotate=0)(image.expand(6, 1, -1, -1))
    assert results.shape == (6, 1, 129, 129)
    crops = torch.stack(list(candidates(image, 129, 6).values()))
    # The 9 pixels in the middle identify the candidate; then all are compared.
    middle = results[:, :, 63:66, 63:66] - crops[None, :, 63:66, 63:66]
    for result, best in zip(results, middle.abs().amax((2, 3)).argmin(1), strict=True):
        assert (result[0] - crops[best]).abs().max() < 1e-4


@pytest.mark.parametrize("side", [150, 151])
def test_centre_is_that_of_the_evaluation_crop(side):
    image = torch.rand(1, 1, side, side)
    crop = CropAndScale().crop(image)
    results = RandomPose(shift=0, rotate=0)(image.expand(8, -1, -1, -1))
    for result in results:
        differences = [(result - move(crop[0], pose)).abs().max() for pose in POSES]
        assert min(differences) < 1e-4


def test_channels_move_together():
    image = torch.randn(8, 1, 31, 31)
    pair = torch.cat([image, 2 * image], 1)
    results = RandomPose(size=15, shift=4, rotate=0.5)(pair)
    torch.testing.assert_close(results[:, 1], 2 * results[:, 0])


# Off the pixel grid


def test_round_images_stay_the_same_at_any_angle():
    """Interpolation between pixels changes a Gaussian of sigma 15 by at most 1/8 of
    its curvature along each axis: 2 / (8 * 15**2) = 1.1e-3."""
    image = blob()
    results = RandomPose(shift=0, rotate=1)(image.expand(50, 1, -1, -1))
    expected = CropAndScale().crop(image)
    assert (results - expected).abs().max() < 1.2e-3


def test_long_images_do_not():
    """Angles are spread over the whole circle, by the image's second moments."""
    image = blob(sigma=12, stretch=1.5)
    results = RandomPose(shift=0, rotate=1)(image.expand(200, 1, -1, -1))[:, 0]
    steps = torch.arange(129.0) - 64
    x, y = steps[None, :], steps[:, None]
    weight = results / results.sum((1, 2), keepdim=True)
    xx, yy, xy = ((weight * z).sum((1, 2)) for z in (x * x, y * y, x * y))
    angle = 0.5 * torch.atan2(2 * xy, xx - yy) % math.pi
    histogram = torch.histc(angle, 8, 0, math.pi)
    # 25 expected, with a standard deviation of 4.7.
    assert (histogram > 8).all() and (histogram < 50).all()
    # Lengths are kept: turned, not stretched.
    lengths = torch.stack([xx, xy, xy, yy], 1).view(-1, 2, 2)
    axes = torch.linalg.eigvalsh(lengths).sqrt()
    reference = torch.tensor([12 / 1.5, 12 * 1.5])
    torch.testing.assert_close(axes, reference.expand(200, 2), rtol=0.01, atol=0)


@pytest.mark.parametrize(("rotate", "low", "high"), [(0, 0, 0), (0.25, 20, 84)])
def test_rotate_is_the_share_off_the_grid(rotate, low, high):
    image = torch.randn(21, 21)
    results = RandomPose(size=9, shift=0, rotate=rotate)(image.expand(200, 1, -1, -1))
    crops = torch.stack(list(candidates(image, 9, 0).values()))
    nearest = (results - crops[None]).abs().amax((2, 3)).amin(1)
    assert low <= int((nearest > 1e-3).sum()) <= high


def test_pixels_from_beyond_the_frame_are_reflected():
    results = RandomPose(size=129, shift=6, rotate=1)(torch.ones(20, 1, 131, 131))
    torch.testing.assert_close(results, torch.ones(20, 1, 129, 129))  # zeros would show
    noise = torch.randn(20, 1, 131, 131)
    turned = RandomPose(size=129, shift=6, rotate=1)(noise)
    corners = torch.cat([turned[..., :20, :20], turned[..., -20:, -20:]])
    assert corners.std() > 0.4  # of 1; interpolation takes a third


# Randomness and types


@pytest.mark.parametrize("rotate", [0.0, 0.5, 1.0])
def test_reproducible_under_manual_seed(rotate):
    images, transform = torch.randn(8, 1, 41, 41), RandomPose(size=21, rotate=rotate)
    results = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        results.append(transform(images))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert not torch.equal(transform(images), results[2])  # goes on


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int16, torch.int32, torch.float64, torch.bfloat16]
)
def test_any_dtype_becomes_float32(dtype):
    images = torch.randint(200, (8, 1, 41, 41)).to(dtype)
    transform = RandomPose(size=21)
    torch.manual_seed(2)
    results = transform(images)
    torch.manual_seed(2)
    assert results.dtype == torch.float32
    assert torch.equal(results, transform(images.float()))


def test_input_is_left_alone():
    images = torch.randn(4, 1, 41, 41)
    before = images.clone()
    RandomPose(size=21)(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("size", [128, 0, 2])
def test_even_sizes_are_refused(size):
    with pytest.raises(ValueError, match=f"size={size}: expected an odd number"):
        RandomPose(size=size)


@pytest.mark.parametrize("rotate", [-0.1, 1.1, 45, float("nan")])
def test_shares_out_of_range_are_refused(rotate):
    with pytest.raises(ValueError, match=f"rotate={rotate}: expected a share"):
        RandomPose(rotate=rotate)


@pytest.mark.parametrize("options", [{"shift": -1}, {"size": -1}])
def test_negative_lengths_are_refused(options):
    with pytest.raises(ValueError, match="expected"):
        RandomPose(**options)


def test_what_was_drawn_can_be_applied_again():
    pose, images = RandomPose(33, rotate=1.0), torch.rand(4, 1, 40, 40)
    torch.manual_seed(5)
    at_once = pose(images)
    torch.manual_seed(5)
    drawn = pose.draw(4)
    assert torch.equal(pose.apply_drawn(images, *drawn), at_once)
    # A mark in the pixels sampled moves along.
    assert torch.equal(pose.apply_drawn(2 * images, *drawn), 2 * at_once)


def test_parameters_are_printed():
    assert repr(RandomPose(21, 3, 0.25)) == "RandomPose(size=21, shift=3, rotate=0.25)"


# Frames that are too small


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ((64, 64), 97, r"64 x 64 .*set_input_size\(49\), and size=49 here"),
        ((64, 64), 65, r"expected at least 65 x 65 pixels, or .*set_input_size\(49\)"),
        ((96, 150), 97, r"96 x 150 .*set_input_size\(81\)"),
        ((48, 48), 129, r"set_input_size\(33\)"),
        ((33, 33), 49, r"set_input_size\(33\)"),
        ((32, 32), 49, r"larger images: no network of the zoo takes fewer than 33 x"),
    ],
)
def test_frames_below_the_size_are_refused(shape, size, message):
    pose = RandomPose(size)
    images = torch.rand(2, 1, *shape)
    for call in (
        lambda: pose(images),
        lambda: pose.apply_drawn(images, *pose.draw(2)),
        lambda: rotate(images, 10.0, size),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_frames_of_just_that_size():
    images = torch.rand(2, 1, 97, 97)
    posed = RandomPose(97, shift=0, rotate=0)(images)
    assert torch.allclose(posed.sum((1, 2, 3)), images.sum((1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize(
    ("images", "error"),
    [(np.ones((1, 1, 9, 9)), TypeError), (torch.ones(9, 9), ValueError)],
)
def test_what_is_no_batch_is_refused(images, error):
    with pytest.raises(error, match=r"expected .*\(N, C, H, W\)"):
        RandomPose(5)(images)
