"""The loop that trains a head, or a head and all below it; it can be killed and go on.

`quantity_training.py` and `map_training.py` say what a step and a score are.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import platform
import random
import shlex
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import torch
from finish import earlier_run, recorded_training
from fresh_lenses import FreshLenses
from loop import SAVE_EVERY, check_finite, places, read_checkpoint, save_atomically
from schedule import set_rate
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm.auto import tqdm
from validate import renew_batch_norm

import lensequiv
from lensequiv.models import LensNetwork
from lensequiv.simulation import Recipe


def fresh_lenses(
    args: argparse.Namespace,
    recipes: Sequence[str | Recipe],
    seed: int,
    model: LensNetwork,
) -> FreshLenses:
    """Fresh lenses of one seed, as a network wants them."""
    lenses = FreshLenses(
        recipes,
        args.batch_size,
        seed=seed,
        resampled=args.resampled,
        shift=args.shift,
    )
    lenses.open(model.input_size, args.device, model.preprocess)
    return lenses


class HeadTraining:
    """Everything that changes while training, and how it is kept.

    Args:
        args: With `add_training_options`.
        model: With the head, untrained.
        lenses: Fresh ones, opened.

    Attributes:
        script: Which command this is the loop of.
        part: The name of the run in the record's information.
        head_name: The attribute of the network that is the head.
    """

    script: ClassVar[str]
    part: ClassVar[str]
    head_name: ClassVar[str]

    def __init__(
        self, args: argparse.Namespace, model: LensNetwork, lenses: FreshLenses
    ) -> None:
        self.args, self.lenses = args, lenses
        self.model = model.to(args.device)
        if args.whole and args.device.type == "cuda":
            self.model.to(memory_format=torch.channels_last)
        self.prepare()
        self.averaged = copy.deepcopy(self.model)
        pair: list[Any] = [self.model, self.averaged]
        parts = pair if args.whole else [self.head_of(one) for one in pair]
        self.parameters, self.moving = (list(part.parameters()) for part in parts)
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=args.lr, weight_decay=args.weight_decay, fused=True
        )
        self.first, self.seconds, self.best = 0, 0.0, math.inf
        self.history: list[dict[str, Any]] = []
        self.saved = time.monotonic()
        self.draw = random.Random(args.seed)

    def prepare(self) -> None:
        """What the head has to be told before it is trained."""

    def step(self, step: int, progress: float) -> Tensor:
        """One step; returns the loss of the head."""
        raise NotImplementedError

    def score(self) -> tuple[float, dict[str, float]]:
        """Loss of the averaged weights on held-out lenses, and what else is told."""
        raise NotImplementedError

    def extra(self) -> dict[str, Any]:
        """What a checkpoint holds besides tensors and progress."""
        return {}

    def take_extra(self, state: dict[str, Any]) -> None:
        """Takes over what `extra` gave."""

    def head_of(self, model: LensNetwork) -> nn.Module:
        """The head that is trained."""
        head: nn.Module = getattr(model, self.head_name)
        return head

    def autocast(self) -> torch.autocast:
        """Half precision, if so wanted."""
        bf16 = self.args.precision == "bf16"
        return torch.autocast(self.args.device.type, torch.bfloat16, enabled=bf16)

    def set_rate(self, progress: float) -> None:
        """Learning rate and momentum of a step."""
        args = self.args
        set_rate(self.optimizer, progress, peak=args.lr, warm_up=args.warm_up)

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
        """Batch-norm statistics of the averaged weights: all of them, or the head's."""
        renewed = self.averaged if self.args.whole else self.head_of(self.averaged)
        count = -(-self.args.norm_images // self.args.batch_size)
        batches = (self.lenses.batch(step, again=i + 1).images for i in range(count))
        renew_batch_norm(renewed, batches, self.autocast, self.averaged.heads)
        self.averaged.eval()

    def evaluate(self, step: int) -> None:
        """Scores the averaged weights on held-out lenses, and keeps the best."""
        self.renew(step)
        loss, scores = self.score()
        self.history.append(
            {
                "step": step + 1,
                "minutes": round(self.seconds / 60, 2),
                "loss": round(loss, 4),
                **scores,
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
            "command": shlex.join(["python", f"examples/{self.script}", *args.argv]),
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
        return {**info, "licence": "MIT", self.part: run}

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
            "optimizer": self.optimizer.state_dict(),
            "step": step,
            "seconds": self.seconds,
            "best": self.best,
            "history": self.history,
            "arguments": self.decisive(),
            **self.extra(),
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
        self.take_extra(state)
        self.model.load_tensors(state["model"])
        self.averaged.load_tensors(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.first, self.seconds = state["step"], state["seconds"]
        self.best, self.history = state["best"], state["history"]
        print(f"resuming {path} at step {self.first}")

    def train(self) -> None:
        """What is trained into its training mode."""
        self.head_of(self.model.train(self.args.whole)).train()

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
