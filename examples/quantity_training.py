"""The training loop of `quantities.py`, which can be killed and gone on with."""

from __future__ import annotations

import argparse
import copy
import json
import math
import platform
import random
import shlex
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from finish import earlier_run, recorded_training
from loop import SAVE_EVERY, check_finite, places, read_checkpoint, save_atomically
from quantity_lenses import FIRST, described, lenses_of, started
from schedule import set_rate
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm.auto import tqdm
from validate import renew_batch_norm

import lensequiv
from lensequiv.evaluation.quantities import (
    score_quantities,
    spread_whole,
    standardised,
)
from lensequiv.models import LensNetwork
from lensequiv.plain import Mixture
from lensequiv.spec import QuantitiesSpec

KEPT = 200  # batches whose embeddings are seen again
NORM_IMAGES = 4096  # for the batch-norm statistics of averaged weights


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


class Training:
    """Everything that changes while training, and how a step changes it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        torch.manual_seed(args.seed)
        model = started(args).to(args.device)
        self.lenses = lenses_of(args, args.seed, model)
        quantities, self.columns = described(self.lenses, args.quantities)
        model = model.with_quantities(
            quantities, hidden=args.hidden, components=args.components
        )
        names = ", ".join(spec_of(model).names)
        print(f"{model.name}, {model.input_size} pixels, tells {names}", flush=True)
        self.model = model.to(args.device)
        self.centre()
        if args.whole and args.device.type == "cuda":
            self.model.to(memory_format=torch.channels_last)
        self.averaged = copy.deepcopy(self.model)
        pair: list[Any] = [self.model, self.averaged]
        parts = pair if args.whole else [one.quantity_head for one in pair]
        self.parameters, self.moving = (list(part.parameters()) for part in parts)
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=args.lr, weight_decay=args.weight_decay, fused=True
        )
        self.first, self.seconds, self.best = 0, 0.0, math.inf
        self.history: list[dict[str, Any]] = []
        self.saved = time.monotonic()
        self.kept: deque[tuple[Tensor, Tensor]] = deque(maxlen=KEPT)
        self.draw = random.Random(args.seed)

    def autocast(self) -> torch.autocast:
        """Half precision, if so wanted."""
        bf16 = self.args.precision == "bf16"
        return torch.autocast(self.args.device.type, torch.bfloat16, enabled=bf16)

    @torch.no_grad()
    def centre(self) -> None:
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
        """One step; returns the loss of the quantities."""
        args, model = self.args, self.model
        batch, spec = self.lenses.batch(step), spec_of(model)
        seed = args.seed * 1_000_003 + step
        even = spread_whole(self.truth(batch.quantities), spec, seed=seed)
        even = standardised(even, spec)
        with torch.set_grad_enabled(args.whole), self.autocast():
            logits, embedding = model.logits_and_embedding(batch.images)
        set_rate(self.optimizer, progress, peak=args.lr, warm_up=args.warm_up)
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

    def learn(self, loss: Tensor, step: int) -> None:
        """Moves the weights against the gradient of a loss, and their mean after."""
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        # At first over fewer steps, so that the untrained weights are soon forgotten.
        decay = min(self.args.ema, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(self.moving, self.parameters, step)

    def renew(self, step: int) -> None:
        """Batch-norm statistics of the averaged weights."""
        count = -(-NORM_IMAGES // self.args.batch_size)
        batches = (self.lenses.batch(step, again=i + 1).images for i in range(count))
        renew_batch_norm(self.averaged, batches, self.autocast)

    @torch.no_grad()
    def held(self, model: LensNetwork, seed: int) -> Held:
        """What a network says of held-out lenses."""
        lenses = lenses_of(self.args, seed, model)
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

    def evaluate(self, step: int) -> None:
        """Scores the averaged weights on held-out lenses, and keeps the best."""
        if self.args.whole:
            self.renew(step)
        spec = spec_of(self.averaged)
        held = self.held(self.averaged, self.args.seed + 1)
        even = standardised(spread_whole(held.truth, spec), spec)
        loss = float(density_loss(held.mixture, even))
        scores = score_quantities(held.quantiles, held.truth, spec)
        self.history.append(
            {
                "step": step + 1,
                "minutes": round(self.seconds / 60, 2),
                "loss": round(loss, 4),
                "accuracy": round(float(held.right.double().mean()), 4),
                **{score.name: round(score.error, 5) for score in scores},
            }
        )
        print(f"\n{json.dumps(self.history[-1])}", flush=True)
        if loss < self.best:
            self.best = loss
            self.averaged.save_pretrained(self.args.out / "best", info=self.told())
            print(f"written to {self.args.out / 'best'}", flush=True)

    def told(self) -> dict[str, Any]:
        """What is known of the run, for the card."""
        args, source = self.args, self.lenses.describe()
        where = torch.cuda.get_device_name() if args.device.type == "cuda" else "cpu"
        run = {
            "command": shlex.join(["python", "examples/quantities.py", *args.argv]),
            "started_from": args.start,
            "recipes": source.get("recipes", [source["recipe"]]),
            "images_seen": self.history[-1]["step"] * args.batch_size,
            "minutes": round(self.seconds / 60, 1),
            "seed": args.seed,
            "machine": f"{platform.machine()}, {where}",
            "date": datetime.now(UTC).date().isoformat(),
            "validation": self.history,
        }
        info = dict(self.model.weights_info)
        if args.whole:  # its classes are of this run, too
            told = {k: v for k, v in run.items() if k not in ("recipes", "validation")}
            info["trained_on"] = recorded_training(source)
            known = args.start not in lensequiv.list_models()
            info["training"] = {
                **told,
                "started_from": args.start if known else None,
                "before": earlier_run(args.start if known else None),
            }
        return {**info, "licence": "MIT", "quantities_training": run}

    def decisive(self) -> dict[str, str]:
        """The arguments that a run must be continued with, as text."""
        free = ("out", "argv", "device", "precision", "held_out", "no_finish")
        return {k: str(v) for k, v in vars(self.args).items() if k not in free}

    def save(self, step: int) -> None:
        """Writes the checkpoint: the old one stays until the new one is whole."""
        self.saved = time.monotonic()
        state = {
            "model": self.model.tensors(),
            "averaged": self.averaged.tensors(),
            "quantities": json.dumps(spec_of(self.model).to_config()),
            "optimizer": self.optimizer.state_dict(),
            "step": step,
            "seconds": self.seconds,
            "best": self.best,
            "history": self.history,
            "arguments": self.decisive(),
        }
        save_atomically(state, self.args.out / "checkpoint.pt")

    def resume(self) -> None:
        """Goes on from the checkpoint, if there is one.

        Raises:
            FileExistsError: It is of a run with other arguments.
        """
        path = self.args.out / "checkpoint.pt"
        if (state := read_checkpoint(path, self.decisive())) is None:
            return
        # Other devices simulate other lenses, of a slightly different mean.
        spec = QuantitiesSpec.from_config(json.loads(state["quantities"]))
        self.model.quantities_spec = self.averaged.quantities_spec = spec
        self.model.load_tensors(state["model"])
        self.averaged.load_tensors(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.first, self.seconds = state["step"], state["seconds"]
        self.best, self.history = state["best"], state["history"]
        print(f"resuming {path} at step {self.first}")

    def train(self) -> None:
        """What is trained into its training mode."""
        head: Any = self.model.train(self.args.whole).quantity_head
        head.train()

    def run(self) -> None:
        """All steps that are left."""
        args = self.args
        if self.history and self.history[-1].get("last"):
            return
        began = time.monotonic() - self.seconds
        self.train()
        total = None if args.minutes else args.steps
        bar = tqdm(initial=self.first, total=total, mininterval=5)
        left = places(self.first, steps=args.steps, minutes=args.minutes, began=began)
        for step, progress, share, last in left:
            loss = self.step(step, progress)
            due = last or share * args.evaluations >= len(self.history) + 1
            if step % 20 == 0 or due:
                check_finite(loss, step + 1, "OUT/best")
                bar.set_postfix(loss=f"{float(loss):.3f}", best=f"{self.best:.3f}")
            self.seconds = time.monotonic() - began
            if due:
                self.evaluate(step)
                self.train()
                if last:
                    self.history[-1]["last"] = True
            if due or time.monotonic() - self.saved > SAVE_EVERY:
                self.save(step + 1)
            bar.update()
