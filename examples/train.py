"""Train a model to tell lenses apart: the reference loop behind the bundled weights.

    lensequiv simulate modelJ --images 4500 --seed 2 data/modelJ/val
    lensequiv simulate modelJ --images 7500 --seed 8 data/modelJ/test
    python examples/train.py c8 --data data/modelJ --fresh modelJ --out runs/c8-modelJ

`--fresh` simulates training images on the way; without it they are `DATA/train` (class
folders, anybody's) or `DATA/train.h5`. `DATA/val` is needed; without `DATA/test` the
weights are saved without test scores. All that a run will need is checked before its
first step. `accelerate launch examples/train.py ...` runs the same on any number of
GPUs or nodes, `ACCELERATE_USE_CPU=1 torchrun --standalone --nproc-per-node 2
examples/train.py ...` in two processes on processors. Every random number follows from
`--seed`, the step and the process, so a killed run that is started again with the same
command goes on from its last checkpoint to the same result. The validation set chooses
among the evaluations; the test set is scored once, at the end.
`OUT/weights` is then a folder for `lensequiv.from_pretrained`.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from accelerate import Accelerator, DistributedDataParallelKwargs
from finish import save_atomically, write_weights
from lenses import StoredLenses
from mass_map import MappingModel, map_loss
from sets import (
    check_images,
    check_room,
    half_if_harmless,
    number,
    open_sets,
    whole,
)
from start import first_weights, same_classes, training_images
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torchmetrics.classification import MulticlassAccuracy, MultilabelAUROC
from tqdm.auto import tqdm

from lensequiv.models import LensModel
from lensequiv.simulation import get_recipe
from lensequiv.transforms import RandomPose


def arguments() -> argparse.Namespace:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("model", help="a name that lensequiv.list_models() knows")
    p.add_argument("--data", type=Path, required=True, help="holds train val test")
    p.add_argument("--out", type=Path, required=True, help="checkpoint and result")
    p.add_argument("--fresh", metavar="RECIPE", help="simulate the training images")
    p.add_argument(
        "--reuse", type=number(0.001), default=8.0, help="times a fresh one is seen"
    )
    p.add_argument("--images", type=whole(1), help="use so many stored training images")
    p.add_argument("--init", help="weight or folder whose body and head to start from")
    p.add_argument("--steps", type=whole(2), default=12000)
    p.add_argument("--batch-size", type=whole(2), default=64, help="over all processes")
    p.add_argument(
        "--lr", type=number(1e-12), default=0.012, help="peak of the one-cycle"
    )
    p.add_argument(
        "--warm-up", type=number(0, 1), default=0.25, help="share of the steps"
    )
    p.add_argument("--weight-decay", type=number(0), default=1e-2)
    p.add_argument(
        "--ema", type=number(0, 0.999999), default=0.998, help="decay per step"
    )
    p.add_argument(
        "--map-weight",
        type=number(0),
        default=10.0,
        help="of the auxiliary mass map, where the masses are known; 0: without",
    )
    p.add_argument("--evaluations", type=whole(1), default=6)
    p.add_argument(
        "--norm-images",
        type=whole(1),
        default=7680,
        help="images for the batch-norm statistics of the averaged weights",
    )
    p.add_argument(
        "--no-test",
        action="store_true",
        help="for a search: end with the last evaluation, write no weights",
    )
    p.add_argument("--seed", type=whole(0), default=0)
    p.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    p.add_argument(
        "--size",
        type=whole(1),
        help="side of the input in pixels (default: 97, or the largest that fits into "
        "smaller images)",
    )
    p.add_argument("--options", type=json.loads, default={}, help="of the model, JSON")
    p.add_argument("--hdu", help="which image, where a FITS file has several")
    p.add_argument(
        "--pixel-scale",
        type=number(1e-9),
        help="of the images in arcsec, where neither manifest nor header tells it",
    )
    return p.parse_args()


@torch.no_grad()
def renew_batch_norm(
    model: LensModel, batches: list[Tensor], accelerator: Accelerator
) -> None:
    """Batch-norm statistics of the averaged weights, over augmented images.

    The running ones belong to older weights and lag behind at high learning rates.
    """
    norms = [
        m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    model.train()
    for x in batches:
        with accelerator.autocast():
            model(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        for statistic in (norm.running_mean, norm.running_var):
            assert statistic is not None
            statistic.copy_(cast(Tensor, accelerator.reduce(statistic, "mean")))
    model.eval()


@torch.no_grad()
def validate(
    model: LensModel, images: Tensor, labels: Tensor, accelerator: Accelerator
) -> dict[str, Any]:
    """ROC AUC (micro-average, one-vs-rest) and accuracy; processes share the images."""
    classes = model.num_classes
    # One decision for every image and class, which is what the micro-average takes.
    micro = MultilabelAUROC(classes, average="micro").to(accelerator.device)
    each = MultilabelAUROC(classes, average="none").to(accelerator.device)
    right = MulticlassAccuracy(classes, average="micro").to(accelerator.device)
    model.eval()
    mine = slice(accelerator.process_index, None, accelerator.num_processes)
    for raw, y in zip(images[mine].split(250), labels[mine].split(250), strict=True):
        x, y = model.preprocess(raw.float()), y.to(accelerator.device)
        with accelerator.autocast():
            logits = model(x.to(accelerator.device))
        # In double precision: float32 ties what is almost certain.
        chance, truth = logits.double().softmax(1), F.one_hot(y, classes)
        for metric, wanted in ((micro, truth), (each, truth), (right, y)):
            metric.update(chance, wanted)
    values = [round(v, 5) for v in each.compute().tolist()]
    return {
        "auc_micro": round(float(micro.compute()), 5),
        "auc": dict(zip(model.classes, values, strict=True)),
        "accuracy": round(float(right.compute()), 5),
    }


class Training:
    """Everything that changes while training, and how a step changes it."""

    def __init__(self, args: argparse.Namespace, accelerator: Accelerator) -> None:
        self.args, self.accelerator = args, accelerator
        wanted = None
        if args.fresh:
            wanted = get_recipe(args.fresh).classes
        if args.init:
            wanted = same_classes(args.init, wanted)
        self.sets = open_sets(
            args.data,
            classes=wanted,
            simulated=bool(args.fresh),
            test=not args.no_test,
            hdu=args.hdu,
        )
        torch.manual_seed(args.seed)
        self.lenses = training_images(args, accelerator, self.sets.train)
        model = first_weights(args, self.lenses)
        check_room(args.out, model, copies=12)
        half = half_if_harmless(model)
        if isinstance(self.lenses, StoredLenses):
            check_images(model, self.lenses.data, self.lenses.load(**half))
        self.val = self.sets.val.load_arrays(**half)
        check_images(model, self.sets.val, self.val)
        if self.sets.test is not None:
            check_images(model, self.sets.test)
        self.pose = RandomPose(model.input_size)
        self.network: nn.Module = model
        self.mapping: MappingModel | None = None
        if args.map_weight and self.lenses.pixel_scale:
            self.network = self.mapping = MappingModel(model, self.lenses.pixel_scale)
        self.model = model
        # Deep copies rebuild a model from its state, so this one shares nothing. Only
        # parameters move: buffers are renewed before they are used, and copying the
        # bases of the filters at every step took a twelfth of its time.
        self.averaged = copy.deepcopy(model)
        self.move_average = get_ema_multi_avg_fn(args.ema)
        self.parameters = list(self.network.parameters())
        optimizer = torch.optim.AdamW(
            self.parameters, lr=args.lr, weight_decay=args.weight_decay, fused=True
        )
        # The schedule divides by zero where the warm-up is a single step.
        warm_up = max(args.warm_up, 1.5 / args.steps)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, args.lr, total_steps=args.steps, pct_start=warm_up
        )
        self.wrapped, self.optimizer = accelerator.prepare(self.network, optimizer)
        self.averaged.to(accelerator.device)
        # Walking through all modules at every step takes as long as the averaging.
        self.moving = list(self.averaged.parameters()), list(model.parameters())
        self.first, self.seconds, self.best = 0, 0.0, -1.0
        self.history: list[dict[str, Any]] = []

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds, by name."""
        return {
            "network": self.network,
            "averaged": self.averaged,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }

    def decisive(self) -> dict[str, str]:
        """The arguments that a run must be continued with, as text."""
        free = ("out", "data", "no_test", "size")
        given = {k: v for k, v in vars(self.args).items() if k not in free}
        given["input size"] = self.model.input_size
        given["classes"] = ", ".join(self.model.classes)
        return {name.replace("_", "-"): str(value) for name, value in given.items()}

    def save(self, step: int, seconds: float) -> None:
        """Writes the checkpoint: the old one stays until the new one is whole."""
        if self.accelerator.is_main_process:
            state = {name: part.state_dict() for name, part in self.parts().items()}
            state |= {"step": step, "seconds": seconds}
            state |= {"best": self.best, "history": self.history}
            state["arguments"] = self.decisive()
            save_atomically(state, self.args.out / "checkpoint.pt")
        self.accelerator.wait_for_everyone()

    def resume(self) -> None:
        """Goes on from the checkpoint, if there is one."""
        path = self.args.out / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True, map_location="cpu")
        now, then = self.decisive(), state.get("arguments", {})
        for name, value in then.items():
            if now.get(name) != value:
                raise FileExistsError(
                    f"{path} is of a run with {name} {value}, not {now.get(name)}: "
                    "choose another --out, or give the arguments of that run"
                )
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        self.first, self.seconds = state["step"], state["seconds"]
        self.best, self.history = state["best"], state["history"]
        self.accelerator.print(f"resuming {path} at step {self.first}")

    def augmented(
        self, step: int, again: int = 0
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Preprocessed images, labels and, if masses are known, their maps."""
        batch = self.lenses.batch(step, again)
        accelerator = self.accelerator
        seed = (self.args.seed * 1_000_003 + step) * 1009 + again
        torch.manual_seed(seed * accelerator.num_processes + accelerator.process_index)
        drawn = self.pose.draw(len(batch.labels))
        x = self.model.preprocess(self.pose.apply_drawn(batch.images, *drawn))
        maps = None
        if self.mapping is not None and batch.masses is not None:
            frame = batch.images.shape[-1]
            maps = self.mapping.target(batch.masses, *drawn, frame)
            maps = maps.to(accelerator.device)
        return x.to(accelerator.device), batch.labels.to(accelerator.device), maps

    def step(self, step: int) -> Tensor:
        """One step; returns the loss of the classification."""
        x, labels, maps = self.augmented(step)
        if self.mapping is None:
            loss = total = F.cross_entropy(self.wrapped(x).float(), labels)
        else:
            logits, drawn = self.wrapped(x)
            loss = F.cross_entropy(logits.float(), labels)
            assert maps is not None
            mapping_loss = map_loss(drawn, maps, x, self.mapping.stride)
            total = loss + self.args.map_weight * mapping_loss
        self.optimizer.zero_grad()
        self.accelerator.backward(total)
        self.accelerator.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.move_average(*self.moving, step)
        return loss.detach()

    def evaluate(self, step: int, loss: float) -> None:
        """Scores the averaged weights on the validation images, keeps the best."""
        enough = -(-self.args.norm_images // self.args.batch_size)
        batches = [self.augmented(step, again + 1)[0] for again in range(enough)]
        renew_batch_norm(self.averaged, batches, self.accelerator)
        labels = self.sets.val.labels
        result = validate(self.averaged, self.val, labels, self.accelerator)
        self.history.append({"step": step + 1, "loss": loss, **result})
        self.accelerator.print(
            f"\nstep {step + 1}: validation AUC {result['auc_micro']:.5f}, "
            f"accuracy {result['accuracy']:.4f}"
        )
        if result["auc_micro"] > self.best:
            self.best = result["auc_micro"]
            if self.accelerator.is_main_process:
                self.averaged.save_pretrained(self.args.out / "best")
        self.averaged.train()

    def run(self) -> float:
        """All steps that are left; returns the seconds that all of them took."""
        args = self.args
        due = {
            args.steps * (i + 1) // args.evaluations for i in range(args.evaluations)
        }
        self.network.train()
        started, earlier = time.monotonic(), self.seconds
        bar = tqdm(
            range(self.first, args.steps),
            initial=self.first,
            total=args.steps,
            mininterval=5,
            disable=not self.accelerator.is_local_main_process,
        )
        for step in bar:
            loss = self.step(step)
            if step % 20 == 0 or step + 1 in due:
                check_finite(loss, step)
                bar.set_postfix(loss=f"{loss.item():.3f}", best=f"{self.best:.4f}")
            if step + 1 in due:
                self.evaluate(step, loss.item())
            if step + 1 in due or (step + 1) % 200 == 0:
                self.save(step + 1, earlier + time.monotonic() - started)
        return earlier + time.monotonic() - started


def check_finite(loss: Tensor, step: int) -> None:
    """Ends a run that has diverged: nothing it would still do is of use."""
    if not bool(torch.isfinite(loss)):
        raise ValueError(
            f"the loss is {loss.item()} at step {step + 1}: training has diverged. The "
            "best weights so far are in OUT/best; try a lower --lr or --precision fp32"
        )


def main() -> None:
    """Trains, chooses by validation, tests once, saves."""
    args = arguments()
    accelerator = Accelerator(
        mixed_precision="bf16" if args.precision == "bf16" else "no",
        # Batch-norm statistics are averaged over processes before they are used.
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    training = Training(args, accelerator)
    training.resume()
    seconds = training.run()
    if accelerator.is_main_process and not args.no_test:
        write_weights(
            args,
            seconds,
            training.history,
            training.lenses.describe(),
            training.sets,
            accelerator,
        )
    accelerator.end_training()


if __name__ == "__main__":
    main()
