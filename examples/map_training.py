"""The training loop of `map_head.py`: what a step is, and how it is scored."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from fresh_lenses import FreshLenses
from head_training import HeadTraining, fresh_lenses
from map_targets import (
    Drawn,
    Targets,
    drawn,
    map_losses,
    map_spec,
    presence_error,
    targets,
)
from torch import Tensor

import lensequiv
from lensequiv.models import LensNetwork
from lensequiv.simulation import Recipe

KEPT = 60  # batches that may be seen again


class Seen(NamedTuple):
    """A batch as the network sees it, and what it should say.

    Attributes:
        x: (N, 1, H, W), preprocessed.
        stages: Feature maps of a frozen body; None where it is trained along.
        labels: (N,).
        targets: Of the map.
    """

    x: Tensor
    stages: Sequence[Tensor] | None
    labels: Tensor
    targets: Targets


class Training(HeadTraining):
    """Trains the head for maps, with `--whole` body and classes, too.

    Args:
        args: The command line.
        recipes: Of the lenses, which each step mixes.

    Raises:
        ValueError: Without `--whole` the classes are others than the weight's, or the
            recipes have several pixel scales.
    """

    script, part, head_name = "map_head.py", "map_training", "map_head"

    def __init__(
        self, args: argparse.Namespace, recipes: Sequence[str | Recipe]
    ) -> None:
        torch.manual_seed(args.seed)
        self.recipes = recipes
        lenses = FreshLenses(recipes, args.batch_size, seed=args.seed)
        model = _started(args, lenses)
        # Of all recipes together a map has one meaning.
        scale = model.pixel_scale
        assert scale is not None
        self.least = args.einstein_radius / scale
        model.map_spec = map_spec(scale, args.einstein_radius, args.mass)
        lenses = fresh_lenses(args, recipes, args.seed, model)
        super().__init__(args, model, lenses)
        self.kept: deque[Seen] = deque(maxlen=KEPT)
        self.raw: Tensor | None = None
        self.head_of(self.model).get_submodule("draw").register_forward_hook(
            self._remember
        )

    def _remember(self, module: object, inputs: object, output: Tensor) -> None:
        self.raw = output

    def batch(self, lenses: FreshLenses, step: int) -> Seen:
        """A batch of fresh lenses; a frozen body sees it once and for all."""
        batch = lenses.batch(step)
        assert batch.masses is not None
        wanted = targets(batch.masses, self.model.input_size, self.least)
        stages = None
        if not self.args.whole:
            with torch.no_grad(), self.autocast():
                stages = self.model.stages(batch.images)
        return Seen(batch.images, stages, batch.labels, wanted)

    def losses(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """Loss of the map, and of all that is trained."""
        head: Any = self.model.map_head
        with self.autocast():
            if seen.stages is None:
                logits = self.model.heads(seen.x).logits
                raw, self.raw = self.raw, None
                assert raw is not None
            else:
                raw = head.raw(seen.x, seen.stages)
        quantiles, presence = map_losses(raw.float(), seen.targets, seen.x)
        loss = total = quantiles + presence
        if seen.stages is None:
            classes = F.cross_entropy(logits.float(), seen.labels)
            total = loss + self.args.class_weight * classes
        return loss, total

    def step(self, step: int, progress: float) -> Tensor:
        """See `HeadTraining.step`."""
        seen = self.batch(self.lenses, step)
        self.set_rate(progress)
        loss, total = self.losses(seen)
        self.learn(total, step)
        self.kept.append(seen)
        # Simulating takes longer than a step.
        for _ in range(self.args.repeat):
            self.learn(self.losses(self.draw.choice(self.kept))[1], step)
        return loss.detach()

    @torch.no_grad()
    def held(self, model: LensNetwork, seed: int) -> tuple[Drawn, float]:
        """What a network's map says of held-out lenses, and its classes' accuracy."""
        head: Any = model.map_head
        size = self.args.batch_size
        lenses = fresh_lenses(self.args, self.recipes, seed, model)
        parts, right = [], 0
        model.eval()
        many = -(-self.args.held_out // size)
        for step in range(many):
            batch = lenses.batch(step)
            assert batch.masses is not None
            wanted = targets(batch.masses, model.input_size, self.least)
            stages = model.stages(batch.images)
            found = drawn(head.raw(batch.images, stages), wanted, batch.images)
            parts.append([value.cpu() for value in found])
            right += int((model(batch.images).argmax(1) == batch.labels).sum())
        together = Drawn(*(torch.cat(values) for values in zip(*parts, strict=True)))
        return together, right / (many * size)

    def score(self) -> tuple[float, dict[str, float]]:
        """See `HeadTraining.score`."""
        found, accuracy = self.held(self.averaged, self.args.seed + 1)
        quantiles, presence = found.losses()
        return quantiles + presence, {
            "accuracy": round(accuracy, 4),
            "quantiles": round(quantiles, 5),
            "presence": round(presence, 5),
            "presence_error": round(presence_error(found), 5),
        }


def _started(args: argparse.Namespace, lenses: FreshLenses) -> LensNetwork:
    """The weight to begin with, with an untrained map head."""
    model = lensequiv.from_pretrained(args.start)
    scales = {recipe.pixel_scale for recipe in lenses.recipes}
    if len(scales) > 1 or lenses.scale is None:
        raise ValueError("--fresh: expected recipes with one and the same pixel scale")
    if args.whole:
        if model.classes != lenses.classes:
            model = lensequiv.from_pretrained(args.start, classes=lenses.classes)
        model.temperature, model.domain, model.weights_info = 1.0, None, {}
        model.pixel_scale = lenses.scale
        model = model.with_quantities(())  # they were trained on the body as it was
    elif model.classes != lenses.classes or model.pixel_scale != lenses.scale:
        raise ValueError(
            f"{args.start} has {', '.join(model.classes)} at {model.pixel_scale} "
            f"arcsec/pixel, the recipes {', '.join(lenses.classes)} at {lenses.scale}: "
            "expected --whole, or recipes like the weight's"
        )
    return model.with_map(args.fields)
