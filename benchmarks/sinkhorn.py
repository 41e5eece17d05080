"""Alignment of embeddings by optimal transport, beside what `adapt` does.

    python benchmarks/sinkhorn.py [--images 180] [--test 300] [--cases 2 3]
        [--affine-alone] [--json FILE]

The embeddings of unlabelled images of another instrument are compared with embeddings
that the weight's domain describes, a Gaussian for each class: by the Sinkhorn
divergence (Feydy et al., arXiv:1810.08278) in the domain's whitened coordinates. Two
things are trained to lower it: scale and shift of the embedding itself ("affine"), and
those of the body's batch norms ("norms"), which keep the network equivariant, too. Both
begin with batch-norm statistics of the new images and without. The classes of the
Gaussians stand in equal parts, in those that the weight's answers suggest
(`class_parts`), or in whatever parts are nearest, at a price (unbalanced transport,
Chizat et al., arXiv:1607.05816).

Every candidate is scored on labelled test images whose classes stand in the parts of
the unlabelled ones. Nothing is chosen: it is a look at what each could gain.
"""

import argparse
import copy
import json

import numpy as np
import torch
from adapting import CASES, SEEDS, lenses
from torch import Tensor

import lensequiv
from lensequiv.adaptation._networks import answers, inform, mixed_norms, norms_of
from lensequiv.adaptation._parts import class_parts
from lensequiv.domain import Gaussians
from lensequiv.evaluation import roc_auc
from lensequiv.files import check_output
from lensequiv.models import LensNetwork

BLUR = 0.1  # entropy's weight, in units of the mean squared distance of two classes
PRICE = 0.5  # of other class parts, in the same units, for unbalanced transport
ROUNDS = 30  # of Sinkhorn
DRAWN = 40  # embeddings of each class, for each step
BATCH, RATE = 32, 3e-3


def plan(costs: Tensor, a: Tensor, b: Tensor, price: float | None = None) -> Tensor:
    """The transport plan between weights a (n,) and b (m,) at costs (n, m)."""
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    damped = 1.0 if price is None else price / (price + BLUR)
    for _ in range(ROUNDS):
        g = (
            -BLUR
            * damped
            * ((f[:, None] - costs) / BLUR + a.log()[:, None]).logsumexp(0)
        )
        f = -BLUR * ((g - costs) / BLUR + b.log()).logsumexp(1)
    return ((f[:, None] + g - costs) / BLUR).exp() * a[:, None] * b


def divergence(
    x: Tensor, y: Tensor, b: Tensor, unit: float, price: float | None
) -> Tensor:
    """How far points x (n, D) are from points y (m, D) of weights b (m,).

    The entropic transport cost less half the cost within x; the one within y is
    constant. The plans are constants to the gradient (envelope theorem).
    """
    a = torch.full((len(x),), 1 / len(x), dtype=x.dtype)
    across = (x[:, None] - y).square().sum(2) / unit
    within = (x[:, None] - x).square().sum(2) / unit
    with torch.no_grad():
        plans = plan(across, a, b, price), plan(within, a, a)
    return (plans[0] * across).sum() - (plans[1] * within).sum() / 2


class Source:
    """Embeddings as the domain describes them, and the coordinates to compare in."""

    def __init__(self, known: Gaussians, parts: Tensor) -> None:
        self.known, self.parts = known, parts.clamp_min(0.01)
        means = known.means.double()
        self.unit = float(torch.pdist(means).square().mean())
        self.generator = torch.Generator().manual_seed(0)

    def whitened(self, embeddings: Tensor) -> Tensor:
        """(N, D) float64 in the coordinates of the domain."""
        return (embeddings.double() - self.known.center) @ self.known.whitening.double()

    def distance(self, embeddings: Tensor, price: float | None) -> Tensor:
        """The divergence of some embeddings from fresh draws of the Gaussians."""
        means = self.known.means.double().repeat_interleave(DRAWN, 0)
        y = means + torch.randn(means.shape, generator=self.generator).double()
        b = self.parts.repeat_interleave(DRAWN)
        return divergence(self.whitened(embeddings), y, b / b.sum(), self.unit, price)


def affine(
    embeddings: Tensor, source: Source, price: float | None, steps: int
) -> tuple[Tensor, Tensor]:
    """Scale and shift (D,) of the embedding that lower the divergence."""
    spread = embeddings.std(0) + 1e-6
    scale = torch.zeros(embeddings.shape[1], requires_grad=True)
    shift = torch.zeros(embeddings.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([scale, shift], lr=0.02)
    middle = embeddings.mean(0)
    for _ in range(steps):
        moved = middle + (embeddings - middle) * scale.exp() + shift * spread
        optimizer.zero_grad()
        source.distance(moved, price).backward()
        optimizer.step()
    factor = scale.detach().exp()
    return factor, middle * (1 - factor) + (shift * spread).detach()


def trained_norms(
    model: LensNetwork, inputs: Tensor, source: Source, price: float | None, steps: int
) -> LensNetwork:
    """A copy whose body's batch norms were trained to lower the divergence."""
    made = copy.deepcopy(model)
    head = {id(module) for module in made.head.modules()}
    norms = [norm for norm in norms_of(made) if id(norm) not in head]
    trained = [p for norm in norms for p in norm.parameters(recurse=False)]
    made.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(trained, lr=RATE)
    generator = torch.Generator().manual_seed(0)
    made.train()
    made.head.eval()
    for _ in range(steps):
        chosen = torch.randint(len(inputs), (BATCH,), generator=generator)
        optimizer.zero_grad()
        source.distance(made.embed(inputs[chosen]), price).backward()
        optimizer.step()
    return mixed_norms(made.eval(), inputs, 1.0, BATCH)


def scored(chances: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy and micro AUC."""
    truth = np.eye(chances.shape[1], dtype=bool)[labels]
    right = (chances.argmax(1) == labels).double().mean()
    auc = roc_auc(chances.numpy().ravel(), truth.ravel())
    return {"accuracy": float(right), "auc": float(auc)}


@torch.no_grad()
def moved(model: LensNetwork, embeddings: Tensor, by: tuple[Tensor, Tensor]) -> Tensor:
    """Probabilities after scale and shift of the embedding."""
    logits = model.head(embeddings * by[0] + by[1])
    return (logits.double() / model.temperature).softmax(1)


def candidates(
    model: LensNetwork, inputs: Tensor, test: Tensor, steps: int, norms: bool
) -> dict[str, Tensor]:
    """Probabilities of the test images, by what was done."""
    assert model.domain is not None
    chances, embeddings = answers(model, inputs)
    equal = torch.full((model.num_classes,), 1 / model.num_classes).double()
    found, tested = answers(model, test)
    made = {"as it is": found}
    renewed = mixed_norms(model, inputs, 1.0, BATCH)
    made["statistics"], tested_renewed = answers(renewed, test)
    if norms:
        informed = inform(renewed, inputs, steps, 1e-3, BATCH, 0, False)
        made["statistics, then information"] = answers(informed, test)[0]
    known, suggested = model.domain.embedding, class_parts(chances)
    fresh = answers(renewed, inputs)[1]
    for kind, parts, price in (
        ("equal parts", equal, None),
        ("suggested parts", suggested, None),
        ("unbalanced", equal, PRICE),
    ):
        by = affine(embeddings, Source(known, parts), price, 5 * steps)
        made[f"affine, {kind}"] = moved(model, tested, by)
        by = affine(fresh, Source(known, parts), price, 5 * steps)
        made[f"statistics, affine, {kind}"] = moved(renewed, tested_renewed, by)
        if norms:
            source = Source(known, parts)
            network = trained_norms(renewed, inputs, source, price, steps)
            made[f"statistics, norms, {kind}"] = answers(network, test)[0]
    return made


def main() -> None:
    """Prints a row for each case and candidate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=180, help="without labels")
    parser.add_argument("--test", type=int, default=300)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--cases", type=int, nargs="+", help="numbers, from 1")
    parser.add_argument("--affine-alone", action="store_true", help="train no norms")
    parser.add_argument("--json", type=check_output, help="where to save the numbers")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| images | candidate | accuracy | AUC |\n|---|---|---|---|")
    rows = []
    for number in args.cases or range(1, len(CASES) + 1):
        weights, recipe, change, share = CASES[number - 1]
        model = lensequiv.from_pretrained(weights)
        raw, _ = lenses(recipe, change, args.images, SEEDS[0], share)
        raw_test, labels = lenses(recipe, change, args.test, SEEDS[1], share)
        if raw.shape[-1] < model.input_size:
            model.set_input_size(49)
        inputs, test = model.preprocess(raw), model.preprocess(raw_test)
        name = f"{recipe} {change or ''} {share:.0%}"
        options = args.steps, not args.affine_alone
        for kind, chances in candidates(model, inputs, test, *options).items():
            found = scored(chances, labels)
            rows.append({"images": name, "candidate": kind, **found})
            print(
                f"| {name} | {kind} | {found['accuracy']:.3f} | {found['auc']:.4f} |",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
