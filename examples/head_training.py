"""The loop that trains a head, or a head and all below it; it can be killed and go on.

`quantity_training.py` and `map_training.py` say what a step and a score are.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import platform
import random
import shlex
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import torch
from finish import (
    check_same_run,
    earlier_run,
    recorded_training,
    save_atomically,
)
from fresh_lenses import RESAMPLED, FreshLenses
from schedule import one_cycle
from sets import number, whole
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm.auto import tqdm

import lensequiv
from lensequiv._devices import resolve_device
from lensequiv.models import LensNetwork
from lensequiv.simulation import Recipe

SAVE_EVERY = 60  # seconds between checkpoints


def add_training_options(p: argparse.ArgumentParser) -> None:
    """What every head's training can be told."""
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--whole", action="store_true", help="train the body, too")
    p.add_argument("--minutes", type=number(0.001), help="in place of --steps")
    p.add_argument("--steps", type=whole(2), default=4000)
    p.add_argument("--lr", type=number(1e-12), help="peak of the one-cycle")
    p.add_argument("--warm-up", type=number(0, 1), default=0.1)
    p.add_argument("--ema", type=number(0, 0.999999), default=0.998)
    p.add_argument("--class-weight", type=number(0), default=0.3, help="of their loss")
    p.add_argument("--evaluations", type=whole(1), default=6)
    p.add_argument(
        "--norm-images",
        type=whole(1),
        default=4096,
        help="images for the batch-norm statistics of the averaged weights",
    )
    p.add_argument("--held-out", type=whole(8), default=6000, help="lenses, each time")
    p.add_argument(
        "--resampled",
        type=number(0, 1),
        default=RESAMPLED,
        help="share of the lenses turned by interpolation; 0 needs fewer pixels",
    )
    p.add_argument("--shift", type=whole(0), default=6, help="of lenses, in pixels")
    p.add_argument(
        "--no-finish",
        action="store_true",
        help="end with the last evaluation; the same command without this finishes it, "
        "on any device",
    )
    p.add_argument("--seed", type=whole(0), default=0)
    p.add_argument("--device", default="auto")
    p.add_argument("--precision", choices=("bf16", "fp32"), help="bf16 on CUDA")


def parsed(
    p: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    given: Sequence[str],
    rates: tuple[float, float],
) -> argparse.Namespace:
    """The command line, with what follows from it.

    Args:
        p: With `add_training_options`.
        argv: In place of `given`.
        given: The command line of the process.
        rates: Peak learning rates of the head alone, and with `--whole`.
    """
    args = p.parse_args(argv)
    args.device = resolve_device(args.device)
    args.precision = args.precision or ("fp32", "bf16")[args.device.type == "cuda"]
    args.lr = args.lr or rates[args.whole]
    args.argv = list(given if argv is None else argv)
    return args


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
        rate, momentum = one_cycle(progress, self.args.warm_up)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * self.args.lr
            group["betas"] = (momentum, group["betas"][1])

    def learn(self, loss: Tensor, step: int) -> None:
        """Moves the weights against the gradient of a loss, and their mean after."""
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        # At first over fewer steps, so that the untrained weights are soon forgotten.
        decay = min(self.args.ema, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(self.moving, self.parameters, step)

    @torch.no_grad()
    def renew(self, step: int) -> None:
        """Batch-norm statistics of the averaged weights: all of them, or the head's."""
        renewed = self.averaged if self.args.whole else self.head_of(self.averaged)
        kinds = torch.nn.modules.batchnorm._BatchNorm
        norms = [m for m in renewed.modules() if isinstance(m, kinds)]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # cumulative average
        renewed.train()
        for i in range(-(-self.args.norm_images // self.args.batch_size)):
            with self.autocast():
                self.averaged.heads(self.lenses.batch(step, again=i + 1).images)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
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
        if not path.exists():
            return
        state = torch.load(path, weights_only=True, map_location="cpu")
        check_same_run(path, state["arguments"], self.decisive())
        self.take_extra(state)
        self.model.load_tensors(state["model"])
        self.averaged.load_tensors(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.first, self.seconds = state["step"], state["seconds"]
        self.best, self.history = state["best"], state["history"]
        print(f"resuming {path} at step {self.first}")

    def places(self, began: float) -> Iterator[tuple[int, float, bool, float]]:
        """Step, progress, whether it is the last, and the share that is done after."""
        args = self.args
        for step in itertools.count(self.first):
            if args.minutes:
                done = (time.monotonic() - began) / 60 / args.minutes
                yield step, min(done, 1.0), done >= 1, done
            else:
                done = step / (args.steps - 1)
                yield step, done, step + 1 >= args.steps, (step + 1) / args.steps

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
        for step, progress, last, share in self.places(began):
            loss = self.step(step, progress)
            due = last or share * args.evaluations >= len(self.history) + 1
            if step % 20 == 0 or due:
                value = float(loss)
                if not math.isfinite(value):
                    raise ValueError(
                        f"the loss is {value} at step {step + 1}: training has "
                        "diverged; OUT/best has the best weights; try a lower --lr"
                    )
                bar.set_postfix(loss=f"{value:.3f}", best=f"{self.best:.3f}")
            self.seconds = time.monotonic() - began
            if due:
                self.evaluate(step)
                self.train()
                if last:
                    self.history[-1]["last"] = True
            if due or time.monotonic() - self.saved > SAVE_EVERY:
                self.save(step + 1)
            bar.update()
            if last:
                break
