"""Temperatures and Gaussians, fitted to numbers whose answer is known."""

import pytest
import torch

from lensequiv.domain import fit_domain, fit_temperature


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_known_temperature_is_found(temperature):
    logits = 3 * torch.randn(40_000, 3)
    labels = torch.distributions.Categorical(logits=logits).sample()
    found = fit_temperature(logits * temperature, labels)
    assert found == pytest.approx(temperature, rel=0.03)


def test_temperature_minimises_the_likelihood():
    logits, labels = 3 * torch.randn(500, 4), torch.randint(4, (500,))
    logits[torch.arange(400), labels[:400]] += 4

    def loss(t):
        return float(torch.nn.functional.cross_entropy(logits.double() / t, labels))

    best = fit_temperature(logits, labels)
    assert loss(best) < min(loss(0.99 * best), loss(1.01 * best), loss(1.0))


def test_temperature_stays_in_bounds():
    labels = torch.tensor([0, 1, 2] * 5)
    right = torch.nn.functional.one_hot(labels).float()
    assert fit_temperature(right, labels) == pytest.approx(0.05)
    assert fit_temperature(-right, labels) == pytest.approx(20)


def gaussian(n, spread, means, labels):
    return torch.randn(n, 2) @ torch.tensor(spread).T + torch.tensor(means)[labels]


def test_domain_of_gaussians():
    """Distances are those of the covariance put in; both parts share false alarms."""
    n, spread = 20_000, [[2.0, 0.0], [1.0, 0.5]]
    means = [[0.0, 0.0], [30.0, 5.0]]
    labels = torch.randint(2, (n,))
    pixels = torch.randn(n, 2)
    x = gaussian(n, spread, means, labels)
    domain = fit_domain(pixels, x, labels, 2, false_alarms=0.01)
    probe = torch.tensor([[30.0, 5.0], [0.0, 3.0], [15.0, 0.0]])
    inverse = torch.linalg.inv(torch.tensor(spread) @ torch.tensor(spread).T)
    offset = probe[:, None] - torch.tensor(means)
    expected = torch.einsum("nci,ij,ncj->nc", offset, inverse, offset).sqrt().amin(1)
    found = domain.embedding.distance(probe) * domain.embedding.reach
    torch.testing.assert_close(found.float(), expected, rtol=0.03, atol=0.05)
    labels = torch.randint(2, (n,))
    fresh = gaussian(n, spread, means, labels)
    notes, scores = domain.judge(list(torch.randn(n, 2)), list(fresh))
    assert 0.007 < float((scores > 1).float().mean()) < 0.013
    assert [bool(note) for note in notes] == (scores > 1).tolist()


@pytest.mark.parametrize(
    ("n", "false_alarms", "labels", "message"),
    [
        (150, 0.01, 3, r"150 images; expected at least 200"),
        (30, 0.1, 3, r"30 images; expected at least 40 for 20 features"),
        (100, 1.5, 3, r"false_alarms=1.5: expected between 0 and 1"),
        (100, 0.1, 2, r"\[50, 50, 0\] images of the classes; expected 3"),
        (100, 0.1, 4, r"expected 3 classes"),
    ],
)
def test_unfit_sets_are_refused(n, false_alarms, labels, message):
    with pytest.raises(ValueError, match=message):
        fit_domain(
            torch.randn(n, 16),
            torch.randn(n, 20),
            torch.arange(n) % labels,
            3,
            false_alarms=false_alarms,
        )


def test_examples_of_what_is_unlike_set_the_direction_that_counts():
    """What differs in one of many directions is noticed, and only towards that side."""
    n, size = 3000, 30
    generator = torch.Generator().manual_seed(5)

    def drawn(count, shift=0.0):
        x = torch.randn(count, size, generator=generator)
        x[:, 3] += shift
        return x

    labels = torch.arange(n) % 3
    pixels, like, unlike = drawn(n), drawn(n), drawn(500, 4.0)
    plain = fit_domain(pixels, like, labels, 3)
    told = fit_domain(pixels, like, labels, 3, unlike=unlike)

    def flagged(domain, x):
        return float((domain.distances(drawn(len(x)), x)[:, 1] > 1).float().mean())

    assert flagged(plain, drawn(1000, 4.0)) < 0.5
    assert flagged(told, drawn(1000, 4.0)) > 0.8
    assert flagged(told, drawn(2000)) < 0.03
    assert flagged(told, drawn(1000, -2.0)) < 0.03
    torch.testing.assert_close(plain.pixels.whitening, told.pixels.whitening)
    config, tensors = told.to_config(), told.tensors()
    assert flagged(type(told).from_config(config, tensors), drawn(500, 4.0)) > 0.8


@pytest.mark.parametrize("shape", [(5, 19), (1, 20), (20,)])
def test_unlike_embeddings_of_another_kind(shape):
    with pytest.raises(ValueError, match=r"unlike is of shape .* of 20 features"):
        fit_domain(
            torch.randn(300, 16),
            torch.randn(300, 20),
            torch.arange(300) % 3,
            3,
            unlike=torch.randn(shape),
        )
