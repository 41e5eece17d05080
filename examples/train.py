"""Train a model to tell lenses apart: the reference loop behind the bundled weights.

    lensequiv simulate modelJ --images 4500 --seed 2 data/modelJ/val
    lensequiv simulate modelJ --images 7500 --seed 8 data/modelJ/test
    python examples/train.py c8 --data data/modelJ --fresh modelJ --out runs/c8-modelJ

`--fresh` simulates training images on the way, on the device that trains; without it
they are `DATA/train` (class folders, anybody's) or `DATA/train.h5`. `DATA/val` is
needed, but for `--fresh` without `--data`: then validation images are simulated, too.
Without `DATA/test` the weights are saved without test scores. All that a run will need
is checked before its first step. `--minutes` ends a run by the clock: the schedule
follows it.

A GPU is used where there is one. `accelerate launch examples/train.py ...` runs the
same on any number of GPUs or nodes, `ACCELERATE_USE_CPU=1 torchrun --standalone
--nproc-per-node 2 examples/train.py ...` in two processes on processors. However many
they are, they share the images, batch norms and losses of a step, so that the result is
that of one process, but for rounding (and for dropout, if `--options` asks for it).
Every random number follows from `--seed` and the step, so a killed run that is started
again with the same command, or in another number of processes, goes on from its last
checkpoint to the same result. The
validation set chooses among the evaluations; the test set is scored once, at the end.
`OUT/best` is loadable from the first evaluation on, `OUT/weights` is the folder for
`lensequiv.from_pretrained`.
"""

from __future__ import annotations

import argparse
import copy
import functools
import time
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator, DistributedDataParallelKwargs
from checks import check_images, check_room, half_if_harmless
from finish import earlier_run, run_information, write_weights
from fresh_lenses import FreshLenses
from lenses import Batch
from loop import SAVE_EVERY, check_finite, places, read_checkpoint, save_atomically
from mass_map import MappingModel, map_loss, posed_masses
from matched import matched_loss
from option_types import precision_on
from options import arguments
from schedule import set_rate
from start import first_weights, opened_sets, training_images
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm.auto import tqdm
from unlike import NO_LENS, unlike_loss
from validate import renew_batch_norm, validate

from lensequiv.inference import resolve_device
from lensequiv.models import synchronise_batch_norm
from lensequiv.transforms import RandomPose


class Training:
    """Everything that changes while training, and how a step changes it."""

    def __init__(self, args: argparse.Namespace, accelerator: Accelerator) -> None:
        self.args, self.accelerator = args, accelerator
        if args.minutes and accelerator.num_processes > 1:
            raise ValueError("--minutes: expected one process, whose clock counts")
        self.sets = opened_sets(args, accelerator.device)
        self.before = earlier_run(args.init)
        torch.manual_seed(args.seed)
        self.lenses = training_images(args, accelerator, self.sets.train)
        model = first_weights(args, self.lenses)
        check_room(args.out, model, copies=12)
        half = half_if_harmless(model)
        if isinstance(self.lenses, FreshLenses):
            self.lenses.open(model.input_size, accelerator.device, model.preprocess)
        else:
            check_images(model, self.lenses.data, self.lenses.load(**half))
        images = self.sets.val.load_arrays(**half)
        check_images(model, self.sets.val, images)
        self.val = torch.cat(
            [
                model.preprocess(part.to(accelerator.device).float())
                for part in images.split(250)
            ]
        )
        if self.sets.test is not None:
            check_images(model, self.sets.test)
        self.pose = RandomPose(model.input_size)
        self.network: nn.Module = model
        self.mapping: MappingModel | None = None
        if args.map_weight and self.lenses.pixel_scale:
            self.network = self.mapping = MappingModel(model)
        self.model = model
        # Deep copies rebuild a model from its state, so this one shares nothing. Only
        # parameters move: buffers are renewed before they are used, and copying the
        # bases of the filters at every step took a twelfth of its time.
        self.averaged = copy.deepcopy(model).to(accelerator.device)
        for shared in (self.network, self.averaged):
            synchronise_batch_norm(shared)
        self.mean = functools.partial(accelerator.reduce, reduction="mean")
        self.move_average = get_ema_multi_avg_fn(args.ema)
        self.network.to(accelerator.device).train()
        if accelerator.device.type == "cuda":
            # A GPU's convolutions, norms and poolings are faster so.
            self.network.to(memory_format=torch.channels_last)
        self.parameters = list(self.network.parameters())
        optimizer = torch.optim.AdamW(
            self.parameters, lr=args.lr, weight_decay=args.weight_decay, fused=True
        )
        # Already on its device: moving it would invalidate recorded graphs.
        self.wrapped, self.optimizer = accelerator.prepare(
            self.launched(), optimizer, device_placement=[False, True]
        )
        # Walking through all modules at every step takes as long as the averaging.
        self.moving = list(self.averaged.parameters()), list(model.parameters())
        self.first, self.seconds, self.best = 0, 0.0, -1.0
        self.history: list[dict[str, Any]] = []
        self.saved = time.monotonic()

    def launched(self) -> nn.Module:
        """The network as `--launch` wants it."""
        args, accelerator = self.args, self.accelerator
        if args.launch == "compile":
            self.network.compile()
        cuda = accelerator.device.type == "cuda" and accelerator.num_processes == 1
        if args.launch == "graphs" and cuda:
            before = [buffer.clone() for buffer in self.network.buffers()]
            x = self.augmented(0, 1).images
            bf16 = args.precision == "bf16"
            # Weights change between the steps: nothing of them may be kept.
            with torch.autocast("cuda", torch.bfloat16, bf16, cache_enabled=False):
                torch.cuda.make_graphed_callables(self.network, (x,))
            # Recording took steps whose batch-norm statistics must not stay.
            for buffer, value in zip(self.network.buffers(), before, strict=True):
                buffer.copy_(value)
        return self.network

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds, by name."""
        return {
            "network": self.network,
            "averaged": self.averaged,
            "optimizer": self.optimizer,
        }

    def decisive(self) -> dict[str, str]:
        """The arguments that a run must be continued with, as text."""
        free = ("out", "data", "no_test", "size", "argv", "launch")
        given = {k: v for k, v in vars(self.args).items() if k not in free}
        given["input size"] = self.model.input_size
        given["classes"] = ", ".join(self.model.classes)
        return {name.replace("_", "-"): str(value) for name, value in given.items()}

    def save(self, step: int, seconds: float) -> None:
        """Writes the checkpoint: the old one stays until the new one is whole."""
        self.saved = time.monotonic()
        if self.accelerator.is_main_process:
            state = {name: part.state_dict() for name, part in self.parts().items()}
            state |= {"step": step, "seconds": seconds}
            state |= {"best": self.best, "history": self.history}
            state["arguments"] = self.decisive()
            save_atomically(state, self.args.out / "checkpoint.pt")

    def resume(self) -> None:
        """Goes on from the checkpoint, if there is one."""
        path = self.args.out / "checkpoint.pt"
        if (state := read_checkpoint(path, self.decisive())) is None:
            return
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        self.first, self.seconds = state["step"], state["seconds"]
        self.best, self.history = state["best"], state["history"]
        self.accelerator.print(f"resuming {path} at step {self.first}")

    def augmented(self, step: int, again: int = 0) -> Batch:
        """What the network sees in a step, and should say of it, on its device."""
        batch, accelerator = self.lenses.batch(step, again), self.accelerator
        if not batch.ready:
            seed = (self.args.seed * 1_000_003 + step) * 1009 + again
            torch.manual_seed(seed)
            # For the images of all processes, as one process would draw them.
            angle, flips, shifts = self.pose.draw(self.args.batch_size)
            mine = slice(accelerator.process_index, None, accelerator.num_processes)
            drawn = angle[mine], flips[mine], shifts[:, mine]
            frame, masses = batch.images.shape[-1], batch.masses
            if masses is not None:
                scale = self.lenses.pixel_scale
                assert scale is not None
                masses = posed_masses(masses, drawn, frame, scale)
            x = self.model.preprocess(self.pose.apply_drawn(batch.images, *drawn))
            batch = Batch(x, batch.labels, masses)
        device = accelerator.device
        masses = None if batch.masses is None else batch.masses.to(device)
        return Batch(batch.images.to(device), batch.labels.to(device), masses, True)

    def step(self, step: int, progress: float) -> Tensor:
        """One step; returns the loss of this process's images."""
        x, labels, masses, *_ = self.augmented(step)
        seen = self.wrapped(x)
        logits, drawn = (seen, None) if self.mapping is None else seen
        logits = logits.float()
        loss = total = F.cross_entropy(logits, labels, ignore_index=NO_LENS)
        if self.mapping is not None:
            assert masses is not None and drawn is not None
            masses, x = self.mapping.copies(masses, x)
            maps = self.mapping.target(masses)
            mapping_loss = map_loss(drawn, maps, x, self.mapping.stride, self.mean)
            total = loss + self.args.map_weight * mapping_loss
        if self.args.matched:
            total = total + self.args.matched * matched_loss(logits, labels)
        if self.args.unlike:
            total = total + unlike_loss(logits, labels)
        self.optimizer.zero_grad()
        self.accelerator.backward(total)
        self.accelerator.clip_grad_norm_(self.parameters, 1.0)
        args = self.args
        set_rate(self.optimizer, progress, peak=args.lr, warm_up=args.warm_up)
        self.optimizer.step()
        self.move_average(*self.moving, step)
        return loss.detach()

    def told(self) -> dict[str, Any]:
        """How far the run has come, for the card."""
        return {
            "images_seen": self.history[-1]["step"] * self.args.batch_size,
            "minutes": round(self.seconds / 60, 1),
            "validation": self.history,
        }

    def evaluate(self, step: int, loss: float, seconds: float) -> None:
        """Scores the averaged weights on the validation images, keeps the best."""
        args, accelerator = self.args, self.accelerator
        enough = -(-args.norm_images // args.batch_size)
        batches = (self.augmented(step, again + 1).images for again in range(enough))
        renew_batch_norm(self.averaged, batches, accelerator.autocast)
        labels = self.sets.val.labels
        result = validate(self.averaged, self.val, labels, accelerator)
        self.history.append({"step": step + 1, "loss": loss, **result})
        self.seconds = seconds
        accelerator.print(
            f"\nstep {step + 1}, {seconds / 60:.1f} minutes, "
            f"{self.told()['images_seen']} images seen: "
            f"validation AUC {result['auc_micro']:.5f}, "
            f"accuracy {result['accuracy']:.4f}"
        )
        if result["auc_micro"] > self.best:
            self.best = result["auc_micro"]
            if accelerator.is_main_process:
                told = run_information(
                    args,
                    self.lenses.describe(),
                    self.sets,
                    self.averaged,
                    accelerator,
                    self.before,
                )
                told["training"] |= self.told()
                self.averaged.save_pretrained(args.out / "best", info=told)
        self.averaged.train()

    def run(self) -> None:
        """All steps that are left."""
        args = self.args
        if not args.minutes and self.first >= args.steps:
            return
        self.network.train()
        started = time.monotonic() - self.seconds
        bar = tqdm(
            initial=self.first,
            total=None if args.minutes else args.steps,
            mininterval=5,
            disable=not self.accelerator.is_local_main_process,
        )
        left = places(self.first, steps=args.steps, minutes=args.minutes, began=started)
        for step, progress, share, last in left:
            loss = self.step(step, progress)
            due = last or share * args.evaluations >= len(self.history) + 1
            if step % 20 == 0 or due:
                loss = self.mean(loss)
                check_finite(loss, step + 1, "OUT/best")
                bar.set_postfix(loss=f"{loss.item():.3f}", best=f"{self.best:.4f}")
            if due:
                self.evaluate(step, loss.item(), time.monotonic() - started)
            if due or time.monotonic() - self.saved > SAVE_EVERY:
                self.save(step + 1, time.monotonic() - started)
            bar.update()


def accelerator_of(args: argparse.Namespace) -> Accelerator:
    """What runs on any device and in any number of processes."""
    args.precision = precision_on(resolve_device("auto"), args.precision)
    torch.backends.cudnn.benchmark = True  # all batches are of one shape
    return Accelerator(
        mixed_precision="bf16" if args.precision == "bf16" else "no",
        # Batch-norm statistics are the same in all processes.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )


def main() -> None:
    """Trains, chooses by validation, tests once, saves."""
    args = arguments()
    accelerator = accelerator_of(args)
    training = Training(args, accelerator)
    training.resume()
    training.run()
    if accelerator.is_main_process and not args.no_test:
        lenses = training.lenses
        recipes = lenses.recipes if isinstance(lenses, FreshLenses) else []
        write_weights(args.out, training.sets, recipes, training.told())
    accelerator.end_training()


if __name__ == "__main__":
    main()
