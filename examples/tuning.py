"""How `finetune.py` tunes a weight: a loop that can be killed and gone on with.

Every batch and every random number follows from the seed and the step, so that a run
which goes on from its checkpoint ends as it would have ended without a break.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from lenses import StoredLenses
from loop import SAVE_EVERY, check_finite, read_checkpoint, save_atomically
from torch import Tensor
from tqdm.auto import tqdm
from validate import renew_batch_norm

from lensequiv.models import LensNetwork
from lensequiv.transforms import RandomPose

NORM_BATCHES = 40  # of augmented images, for the batch-norm statistics
WATCHED = 1000  # validation images that decide when to stop, at most
CHECKPOINT = "checkpoint.pt"


def layerwise(model: LensNetwork, lr: float, decay: float) -> list[dict[str, Any]]:
    """Parameters in groups: each layer's rate is the next one's times `decay`."""
    groups: dict[str, list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        layer = ".".join(parts[:2]) if parts[0] == "blocks" else parts[0]
        groups.setdefault(layer, []).append(parameter)
    last = len(groups) - 1
    return [
        {"params": parameters, "lr": lr * decay ** (last - i)}
        for i, parameters in enumerate(groups.values())
    ]


class Tuning:
    """Trains a network in place: the head alone, then everything.

    The network is scored on validation images some times a run, `--evaluations`. The
    best state is kept. Once the learning rate falls, `--patience` scores in a row
    without a better one end the run.

    Args:
        model: The weight with its new head, or fresh from random weights.
        lenses: Training images.
        val: Validation images (N, C, H, W), raw, and labels (N,).
        args: Of `finetune.py`.
        accelerator: Of the run.

    Attributes:
        done: Steps made.
        best_step: After how many of them the state was best; 0 before any score.
        history: Step, training loss, validation loss and accuracy of each score.
    """

    def __init__(
        self,
        model: LensNetwork,
        lenses: StoredLenses,
        val: tuple[Tensor, Tensor],
        args: argparse.Namespace,
        accelerator: Accelerator,
    ) -> None:
        self.model, self.lenses, self.args = model, lenses, args
        self.accelerator = accelerator
        some = torch.randperm(len(val[1]), generator=torch.Generator().manual_seed(0))
        some = some[:WATCHED]
        self.watched = model.preprocess(val[0][some].float()), val[1][some]
        self.pose = RandomPose(model.input_size)
        model.to(accelerator.device)
        self.optimizer = torch.optim.AdamW(
            layerwise(model, args.lr, 1.0 if args.scratch else args.layer_decay),
            weight_decay=1e-2,
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            [group["lr"] for group in self.optimizer.param_groups],
            total_steps=args.steps,
        )
        self.body_from = 0 if args.scratch else int(args.head_share * args.steps)
        self.due = {
            round(args.steps * i / args.evaluations)
            for i in range(1, args.evaluations + 1)
        }
        self.done, self.best_step, self.best_loss = 0, 0, math.inf
        self.best: dict[str, Tensor] = {}
        self.history: list[dict[str, float]] = []

    def decisive(self) -> dict[str, str]:
        """The arguments that a run must be continued with, as text."""
        free = ("out", "data", "device", "argv")
        given = {k: v for k, v in vars(self.args).items() if k not in free}
        given["input size"] = self.model.input_size
        given["classes"] = ", ".join(self.model.classes)
        return {name.replace("_", "-"): str(value) for name, value in given.items()}

    def save(self, out: Path, check: float) -> None:
        """Writes the checkpoint: the old one stays until the new one is whole."""
        state = {
            "network": self.model.tensors(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "best": self.best,
            "numbers": [self.done, self.best_step, self.best_loss, check],
            "history": self.history,
            "arguments": self.decisive(),
        }
        save_atomically(state, out / CHECKPOINT)

    def resume(self, out: Path) -> float | None:
        """Goes on from a checkpoint, if there is one.

        Returns:
            What the linear check found when the run began.

        Raises:
            FileExistsError: It is of a run with other arguments.
        """
        path = out / CHECKPOINT
        if (state := read_checkpoint(path, self.decisive())) is None:
            return None
        self.model.load_tensors(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.best, self.history = state["best"], state["history"]
        self.done, self.best_step, self.best_loss, check = state["numbers"]
        print(f"going on from {path}, after {self.done} of {self.args.steps} steps")
        return float(check)

    def augmented(self, step: int, again: int = 0) -> tuple[Tensor, Tensor]:
        """What the network sees in a step, on its device."""
        batch = self.lenses.batch(step, again)
        torch.manual_seed((self.args.seed * 1_000_003 + step) * 1009 + again)
        x = self.model.preprocess(self.pose(batch.images))
        device = self.accelerator.device
        return x.to(device), batch.labels.to(device)

    def run(self, out: Path, check: float) -> bool:
        """Makes the steps that are left; returns whether the run came to its end.

        Ctrl-C ends it early, with what was learnt and a checkpoint.

        Args:
            out: Folder for the checkpoint.
            check: What the linear check found, for the checkpoint.
        """
        args, saved = self.args, time.monotonic()
        bar = tqdm(total=args.steps, initial=self.done, desc="tuning", mininterval=2)
        ended = self.done >= args.steps or self.exhausted()
        try:
            while not ended:
                loss = self.step(self.done)
                self.done += 1
                bar.update()
                if self.done % 20 == 1 or self.done in self.due:
                    check_finite(loss, self.done)
                    bar.set_postfix(self.told(loss))
                if self.done in self.due:
                    self.score(loss.item())
                    bar.set_postfix(self.told(loss))
                ended = self.done >= args.steps or self.exhausted()
                if self.done in self.due or time.monotonic() - saved > SAVE_EVERY:
                    self.save(out, check)
                    saved = time.monotonic()
        except KeyboardInterrupt:
            told = f"interrupted after {self.done} of {args.steps} steps"
            if self.done:
                self.save(out, check)
                told += "; the same command goes on from there"
            print(told, file=sys.stderr)
        finally:
            bar.close()
        return ended

    def step(self, step: int) -> Tensor:
        """One step; returns the loss."""
        # Every step, since a score leaves the network in evaluation mode.
        (self.model.freeze if step < self.body_from else self.model.unfreeze)()
        self.model.train()
        x, labels = self.augmented(step)
        with self.accelerator.autocast():
            logits = self.model(x)
        loss = F.cross_entropy(logits.float(), labels)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        return loss.detach()

    def renew(self) -> None:
        """Batch-norm statistics of the weights as they are, if the body was trained."""
        if self.done <= self.body_from:
            return
        self.model.unfreeze()
        batches = (
            self.augmented(self.args.steps - 1, i + 1)[0] for i in range(NORM_BATCHES)
        )
        renew_batch_norm(self.model, batches, self.accelerator.autocast)

    @torch.no_grad()
    def score(self, loss: float) -> None:
        """Scores the network on the watched images, and keeps it if it is the best."""
        self.renew()
        self.model.eval()
        images, labels = self.watched
        device = self.accelerator.device
        logits = torch.cat([self.model(x.to(device)).cpu() for x in images.split(64)])
        found = float(F.cross_entropy(logits, labels))
        right = float((logits.argmax(1) == labels).float().mean())
        self.history.append(
            {
                "step": self.done,
                "loss": round(loss, 4),
                "validation_loss": round(found, 4),
                "accuracy": round(right, 4),
            }
        )
        if found < self.best_loss:
            self.best_loss, self.best_step = found, self.done
            self.best = {k: v.cpu().clone() for k, v in self.model.tensors().items()}

    def exhausted(self) -> bool:
        """Whether `--patience` scores in a row were no better, the rate falling."""
        late = [h for h in self.history if h["step"] > 0.3 * self.args.steps]
        since = sum(h["step"] > self.best_step for h in late)
        return bool(self.best) and since >= self.args.patience

    def told(self, loss: Tensor) -> dict[str, str]:
        """What stands beside the progress bar."""
        shown = {"loss": f"{loss.item():.3f}"}
        if self.history:
            shown["validation"] = f"{self.history[-1]['accuracy']:.3f}"
        return shown

    def finish(self) -> None:
        """Leaves the network in its best state, on the CPU."""
        if self.best:
            self.model.load_tensors(self.best)
        else:
            self.renew()
        self.model.unfreeze()
        self.model.cpu().eval()
