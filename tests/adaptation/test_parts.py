"""Parts of the classes, estimated from answers."""

import pytest
import torch

from lensequiv.adaptation._parts import class_parts, distance_from_equal


@pytest.mark.parametrize("parts", [(0.8, 0.1, 0.1), (0.2, 0.3, 0.5), (1.0, 0.0, 0.0)])
def test_parts_of_calibrated_answers(parts):
    """Overlapping Gaussians, whose answers are those of equal parts by Bayes' rule."""
    generator = torch.Generator().manual_seed(0)
    means = 2.5 * torch.eye(3).double()
    labels = torch.multinomial(torch.tensor(parts), 4000, True, generator=generator)
    x = means[labels] + torch.randn(4000, 3, generator=generator).double()
    answers = (-torch.cdist(x, means).square() / 2).softmax(1)
    found = class_parts(answers)
    assert float(found.sum()) == pytest.approx(1)
    assert found.tolist() == pytest.approx(parts, abs=0.025)
    # The mean answer is nearer to equal parts, wherever answers are uncertain.
    mean = distance_from_equal(answers.mean(0))
    assert mean < distance_from_equal(found) - 0.01


def test_distance_from_equal():
    """The share of images that would have to change their class."""
    assert distance_from_equal(torch.full((4,), 0.25)) == 0
    assert distance_from_equal(torch.tensor([0.8, 0.1, 0.1])) == pytest.approx(7 / 15)
    assert distance_from_equal(torch.tensor([0.0, 1.0])) == pytest.approx(0.5)
