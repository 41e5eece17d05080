"""Statistics that tell lenses from what is not like them."""

import pytest
import torch

from lensequiv.domain import (
    image_features,
    image_statistics,
    statistics_ranges,
    unlike,
)

NAMES = {"centre", "edge", "maximum", "noise", "extent"}
STEPS = torch.arange(129) - 64
RADIUS_SQUARED = STEPS[:, None] ** 2 + STEPS[None, :] ** 2


def empty(n=1, channels=1):
    return torch.zeros(n, channels, 129, 129)


def lenses(n, noise=0.05):
    """Rings of several radii without light of their own in the centre; peak 1."""
    radius = 20 + 10 * torch.rand(n, 1, 1, 1)
    ring = torch.exp(-0.5 * ((RADIUS_SQUARED.sqrt() - radius) / 3.5) ** 2)
    return ring + noise * (1 + torch.rand(n, 1, 1, 1)) * torch.randn(n, 1, 129, 129)


def statistics(images):
    return {k: v.tolist() for k, v in image_statistics(images).items()}


# Statistics


def test_names_and_shapes():
    found = image_statistics(torch.rand(3, 2, 33, 33))
    assert set(found) == NAMES
    for value in found.values():
        assert value.shape == (3,) and value.dtype == torch.float32


def test_nothing_has_no_statistics():
    assert statistics(empty(2)) == {name: [0.0, 0.0] for name in NAMES}


def test_centre():
    """A tenth of the half side of 64 pixels: within 6.4 pixels."""
    x = empty(3)
    x[0, 0, RADIUS_SQUARED < 6.4**2] = 0.5
    x[1, 0, RADIUS_SQUARED >= 6.4**2] = 0.5
    x[2, 0, 64, 64] = 131.0  # of 129 pixels
    count = int((RADIUS_SQUARED < 6.4**2).sum())
    assert count == 129
    centre = image_statistics(x)["centre"]
    torch.testing.assert_close(centre, torch.tensor([0.5, 0.0, 131 / count]))


def test_edge():
    x = empty(3)
    x[0, 0, 0, :] = x[0, 0, -1, :] = x[0, 0, :, 0] = x[0, 0, :, -1] = 0.25
    x[1, 0, 1:-1, 1:-1] = 1.0
    x[2, 0, :, -1] = 1.0
    edge = image_statistics(x)["edge"]
    torch.testing.assert_close(edge, torch.tensor([0.25, 0.0, 129 / 512]))


def test_maximum():
    x = empty(2) - 1
    x[0, 0, 3, 100] = 7.5
    assert image_statistics(x)["maximum"].tolist() == [7.5, -1.0]


@pytest.mark.parametrize("sigma", [0.01, 0.2])
def test_noise_is_its_standard_deviation(sigma):
    """Also on a smooth source, which neighbouring pixels share."""
    noise = sigma * torch.randn(4, 1, 129, 129)
    for image in (noise, noise + 3, noise + 0.1 * torch.exp(-RADIUS_SQUARED / 2000.0)):
        found = image_statistics(image)["noise"]
        torch.testing.assert_close(found, torch.full((4,), sigma), rtol=0.05, atol=0)


def test_extent():
    x = empty(2)
    x.view(2, -1)[0, :1664] = 0.11
    x.view(2, -1)[1] = 0.09
    extent = image_statistics(x)["extent"]
    torch.testing.assert_close(extent, torch.tensor([1664 / 16641, 0.0]))


def test_largest_channel_counts():
    x = torch.randn(4, 3, 33, 33) * torch.tensor([1.0, 3.0, 2.0]).view(1, 3, 1, 1)
    by_channel = [image_statistics(x[:, [c]]) for c in range(3)]
    for name, value in image_statistics(x).items():
        expected = torch.stack([one[name] for one in by_channel]).amax(0)
        assert torch.equal(value, expected), name


@pytest.mark.parametrize("name", sorted(NAMES - {"noise"}))
def test_turns_and_flips_do_not_matter(name):
    """Noise is taken between neighbours of a row: about the same after a turn."""
    x = lenses(3)
    expected = image_statistics(x)[name]
    for k in range(4):
        for flipped in (False, True):
            moved = torch.rot90(x, k, (2, 3))
            moved = moved.flip(3) if flipped else moved
            torch.testing.assert_close(image_statistics(moved)[name], expected)


# Ranges


def test_ranges_are_a_tenth_wider():
    x = empty(3)
    x[0, 0, 5, 5], x[1, 0, 5, 5], x[2, 0, 5, 5] = 1.0, 3.0, 2.0
    x[0, 0, RADIUS_SQUARED < 6.4**2] = 0.5
    ranges = statistics_ranges(x)
    assert set(ranges) == NAMES
    assert ranges["maximum"] == pytest.approx([0.8, 3.2], abs=1e-4)
    assert ranges["centre"] == pytest.approx([-0.05, 0.55], abs=1e-4)
    assert ranges["edge"] == pytest.approx([0.0, 0.0], abs=1e-4)
    assert all(type(v) is float for pair in ranges.values() for v in pair)  # for JSON


# Judgement


@pytest.fixture
def reference():
    return lenses(40)


def test_members_are_not_flagged(reference):
    ranges = statistics_ranges(reference)
    assert [unlike(image, ranges) for image in reference] == [[]] * 40


def test_neither_are_most_others_of_the_kind(reference):
    ranges = statistics_ranges(reference)
    flagged = [unlike(image, ranges) for image in lenses(40)]
    assert sum(bool(one) for one in flagged) <= 8


def test_lens_with_light_of_its_own_is_flagged(reference):
    ranges = statistics_ranges(reference)
    galaxy = reference[0] + 0.8 * torch.exp(-RADIUS_SQUARED / 50.0)
    found = unlike(galaxy, ranges)
    assert [part.split()[0] for part in found] == ["centre"]
    value = float(image_statistics(galaxy[None])["centre"])
    low, high = ranges["centre"]
    assert found == [f"centre {value:.3g} (training {low:.3g} to {high:.3g})"]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda x: x * 0.2 + 5 * (RADIUS_SQUARED == 25), "maximum"),
        (lambda x: x + 0.5 * torch.randn(x.shape), "noise"),
        (lambda x: x + 0.3 * (STEPS > 40), "edge"),
        (lambda x: x.clamp(min=0.2), "extent"),
        (lambda x: x * 0.0, "maximum"),
        (lambda x: x * float("nan"), "centre"),
    ],
)
def test_each_respect_is_named(reference, change, name):
    found = unlike(change(reference[0]), statistics_ranges(reference))
    assert name in {part.split()[0] for part in found}


def test_where_nothing_is_known_nothing_is_said():
    assert unlike(torch.rand(1, 33, 33), {}) == []


def test_ranges_decide_at_their_ends():
    image = torch.zeros(1, 33, 33)
    image[0, 5, 5] = 2.0
    assert unlike(image, {"maximum": [2.0, 3.0]}) == []
    assert unlike(image, {"maximum": [1.0, 2.0]}) == []
    for low, high in ((2.01, 3.0), (1.0, 1.99)):
        expected = [f"maximum 2 (training {low:.3g} to {high:.3g})"]
        assert unlike(image, {"maximum": [low, high]}) == expected


def test_the_only_member_is_not_flagged():
    x = lenses(1)
    assert unlike(x[0], statistics_ranges(x)) == []


def test_description_is_invariant():
    x = torch.rand(2, 2, 33, 33)
    expected = image_features(x)
    assert expected.shape == (2, 16) and expected.dtype == torch.float32
    for moved in (x.rot90(1, (2, 3)), x.flip(3)):
        torch.testing.assert_close(
            image_features(moved), expected, rtol=1e-4, atol=1e-5
        )
