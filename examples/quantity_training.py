"""The training loop of `quantities.py`: what a step is, and how it is scored."""

from __future__ import annotations

import argparse
import json
from collections import deque
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from head_training import HeadTraining, fresh_lenses
from quantity_lenses import FIRST, described, started
from torch import Tensor

from lensequiv.evaluation.quantities import (
    score_quantities,
    spread_whole,
    standardised,
)
from lensequiv.models import LensNetwork
from lensequiv.plain import Mixture
from lensequiv.spec import QuantitiesSpec

KEPT = 200  # batches whose embeddings are seen again


class Held(NamedTuple):
    """What a network says of held-out lenses, on the CPU.

    Attributes:
        mixture: Posteriors.
        quantiles: (N, Q, 5).
        truth: (N, Q).
        right: (N,) whether the class is the right one.
    """

    mixture: Mixture
    quantiles: Tensor
    truth: Tensor
    right: Tensor


def spec_of(model: LensNetwork) -> QuantitiesSpec:
    """The quantities of a network that has some."""
    spec = model.quantities_spec
    assert spec is not None
    return spec


def density_loss(mixture: Mixture, truth: Tensor) -> Tensor:
    """Negative logarithm of the density, for each value that is defined."""
    known = (~truth.isnan()).sum()
    return -mixture.log_density(truth).sum() / known.clamp_min(1)


class Training(HeadTraining):
    """Trains the head for quantities, with `--whole` the classes, too."""

    script, part, head_name = "quantities.py", "quantities_training", "quantity_head"

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(args.seed)
        model = started(args).to(args.device)
        lenses = fresh_lenses(args, args.fresh, args.seed, model)
        quantities, self.columns = described(lenses, args.quantities)
        model = model.with_quantities(
            quantities, hidden=args.hidden, components=args.components
        )
        names = ", ".join(spec_of(model).names)
        print(f"{model.name}, {model.input_size} pixels, tells {names}", flush=True)
        super().__init__(args, model, lenses)
        self.kept: deque[tuple[Tensor, Tensor]] = deque(maxlen=KEPT)

    @torch.no_grad()
    def prepare(self) -> None:
        """Tells the head how the embeddings are spread."""
        head: Any = self.model.quantity_head
        seen = []
        self.model.train(self.args.whole)
        for i in range(-(-FIRST // self.args.batch_size)):
            with self.autocast():
                seen.append(self.model.embed(self.lenses.batch(0, again=i + 1).images))
        self.model.eval()
        all_of_it = torch.cat(seen).float()
        head.centre.copy_(all_of_it.mean(0))
        spread = all_of_it.std(0)
        # What hardly varies must not become large by rounding.
        head.spread.copy_(spread.clamp_min(1e-3 * float(spread.max())))

    def truth(self, quantities: Tensor | None) -> Tensor:
        """Of the head's quantities."""
        assert quantities is not None
        return quantities[:, self.columns]

    def step(self, step: int, progress: float) -> Tensor:
        """See `HeadTraining.step`."""
        args, model = self.args, self.model
        batch, spec = self.lenses.batch(step), spec_of(model)
        seed = args.seed * 1_000_003 + step
        even = spread_whole(self.truth(batch.quantities), spec, seed=seed)
        even = standardised(even, spec)
        with torch.set_grad_enabled(args.whole), self.autocast():
            logits, embedding = model.logits_and_embedding(batch.images)
        self.set_rate(progress)
        loss = total = density_loss(model.posterior(embedding.float()), even)
        if args.whole:
            classes = F.cross_entropy(logits.float(), batch.labels)
            total = loss + args.class_weight * classes
        self.learn(total, step)
        if not args.whole:  # the head is small, and the body took all the time
            self.kept.append((embedding.float(), even))
            for _ in range(args.repeat):
                seen, wanted = self.draw.choice(self.kept)
                self.learn(density_loss(model.posterior(seen), wanted), step)
        return loss.detach()

    @torch.no_grad()
    def held(self, model: LensNetwork, seed: int) -> Held:
        """What a network says of held-out lenses."""
        lenses = fresh_lenses(self.args, self.args.fresh, seed, model)
        parts: list[tuple[Any, ...]] = []
        model.eval()
        for i in range(-(-self.args.held_out // self.args.batch_size)):
            batch = lenses.batch(i)
            logits, embedding = model.logits_and_embedding(batch.images)
            mixture, told = model.posterior(embedding), model.quantiles(embedding)
            right = logits.argmax(1) == batch.labels
            parts.append((*mixture, told, self.truth(batch.quantities), right))
        found = [torch.cat(values).cpu() for values in zip(*parts, strict=True)]
        return Held(Mixture(*found[:3]), *found[3:])

    def score(self) -> tuple[float, dict[str, float]]:
        """See `HeadTraining.score`."""
        spec = spec_of(self.averaged)
        held = self.held(self.averaged, self.args.seed + 1)
        even = standardised(spread_whole(held.truth, spec), spec)
        scores = score_quantities(held.quantiles, held.truth, spec)
        return float(density_loss(held.mixture, even)), {
            "accuracy": round(float(held.right.double().mean()), 4),
            **{score.name: round(score.error, 5) for score in scores},
        }

    def extra(self) -> dict[str, Any]:
        """See `HeadTraining.extra`."""
        return {"quantities": json.dumps(spec_of(self.model).to_config())}

    def take_extra(self, state: dict[str, Any]) -> None:
        """See `HeadTraining.take_extra`."""
        # Other devices simulate other lenses, of a slightly different mean.
        spec = QuantitiesSpec.from_config(json.loads(state["quantities"]))
        self.model.quantities_spec = self.averaged.quantities_spec = spec
