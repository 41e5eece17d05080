"""Trains a head that tells quantities of lenses, with their uncertainty.

    python examples/quantities.py c8-modelJ --fresh modelJ --out runs/q --minutes 20
    python examples/quantities.py d8 --fresh deeplensesim1 --whole --size 113 \
        --out runs/axion1 --minutes 20

The first form puts a head on a weight whose body and classes stay as they are, to the
last bit. With `--whole` everything is trained, classes and quantities together, from a
weight or from the name of an architecture. Training lenses are simulated on the way,
on the device that trains, and none is seen twice; the loss is the negative logarithm of
the posterior density at the truth, where a quantity is defined (with `--whole` plus the
cross-entropy of the classes). `OUT/best` is loadable from the first evaluation on, and
replaced when lenses held out for that say that it got better. At the end the intervals
are calibrated on other held-out lenses and scored on yet others; `OUT/weights` is the
folder for `lensequiv.from_pretrained`. A run that was cut short goes on from its
checkpoint with the same command.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from finish import calibrate_if_possible, save_atomically
from fresh_lenses import RESAMPLED, FreshLenses
from schedule import one_cycle
from sets import choose_size, number, simulated_set, whole
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm.auto import tqdm

import lensequiv
from lensequiv._devices import resolve_device
from lensequiv.domain import statistics_ranges
from lensequiv.evaluation.quantities import (
    calibrated,
    score_quantities,
    spread_whole,
    standardised,
    tarp,
)
from lensequiv.models import LensNetwork
from lensequiv.plain import Mixture
from lensequiv.simulation import QUANTITIES
from lensequiv.spec import Quantity

SAVE_EVERY = 60  # seconds between checkpoints
WHOLE = ("subhalos_above_1e9_msun",)  # numbers of things
FIRST = 1536  # lenses that say how quantities and embeddings are spread
NORM_IMAGES = 7680  # for the batch-norm statistics of averaged weights


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("start", help="a weight or its folder, or an architecture's name")
    p.add_argument(
        "--fresh",
        metavar="RECIPE",
        required=True,
        type=lambda names: names.split(","),
        help="of the lenses; several recipes, with commas, take turns",
    )
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--whole", action="store_true", help="train the body, too")
    p.add_argument(
        "--quantities",
        type=lambda names: names.split(","),
        help=f"some of {', '.join(QUANTITIES)} (default: all that vary)",
    )
    p.add_argument("--minutes", type=number(0.001), help="in place of --steps")
    p.add_argument("--steps", type=whole(2), default=4000)
    p.add_argument("--batch-size", type=whole(8), default=256)
    p.add_argument("--lr", type=number(1e-12), help="peak (0.002; 0.008 if --whole)")
    p.add_argument("--warm-up", type=number(0, 1), default=0.1)
    p.add_argument("--weight-decay", type=number(0), default=1e-3)
    p.add_argument("--ema", type=number(0, 0.999999), default=0.998)
    p.add_argument("--class-weight", type=number(0), default=0.3, help="of their loss")
    p.add_argument("--evaluations", type=whole(1), default=6)
    p.add_argument("--held-out", type=whole(8), default=6000, help="lenses, each time")
    p.add_argument("--hidden", type=whole(1), default=128)
    p.add_argument("--components", type=whole(1), default=4, help="Gaussians")
    p.add_argument("--size", type=whole(1), help="side of the input in pixels")
    p.add_argument("--options", type=json.loads, default={}, help="of a new network")
    p.add_argument(
        "--resampled",
        type=number(0, 1),
        default=RESAMPLED,
        help="share of the lenses turned by interpolation; 0 needs fewer pixels",
    )
    p.add_argument("--shift", type=whole(0), default=6, help="of lenses, in pixels")
    p.add_argument("--seed", type=whole(0), default=0)
    p.add_argument("--device", default="auto")
    p.add_argument("--precision", choices=("bf16", "fp32"), help="bf16 on CUDA")
    args = p.parse_args(argv)
    args.device = resolve_device(args.device)
    args.precision = args.precision or ("fp32", "bf16")[args.device.type == "cuda"]
    args.lr = args.lr or (0.008 if args.whole else 0.002)
    args.argv = list(sys.argv[1:] if argv is None else argv)
    return args


def lenses_of(args: argparse.Namespace, seed: int, model: LensNetwork) -> FreshLenses:
    """Fresh lenses of one seed."""
    lenses = FreshLenses(
        args.fresh,
        args.batch_size,
        seed=seed,
        resampled=args.resampled,
        shift=args.shift,
    )
    lenses.open(model.input_size, args.device, model.preprocess)
    return lenses


def started(args: argparse.Namespace) -> LensNetwork:
    """The network to begin with, without a head for quantities.

    Raises:
        ValueError: A new network without `--whole`, or other classes or sizes than the
            recipes have.
    """
    recipes = FreshLenses(args.fresh, args.batch_size, seed=args.seed)
    if args.start in lensequiv.list_models():
        if not args.whole:
            raise ValueError(
                f"{args.start} is a network without weights: expected --whole, or the "
                "name of a weight"
            )
        model = lensequiv.create_model(
            args.start, num_classes=len(recipes.classes), **args.options
        )
        model.classes = recipes.classes
        margin = 2 * args.shift + (16 if args.resampled else 0)
        side = recipes.side - margin
        model.set_input_size(choose_size(model, args.size, side, usual=97))
        model.pixel_scale = recipes.scale
        return model
    model = lensequiv.from_pretrained(args.start)
    if args.whole and model.classes != recipes.classes:
        raise ValueError(
            f"{args.start} has the classes {', '.join(model.classes)}; expected those "
            f"of the recipe, {', '.join(recipes.classes)}"
        )
    if args.options:
        raise ValueError("--options are of a new network; a weight has its own")
    if args.whole:
        model = model.with_map(0)  # a map head was trained on the body as it was
        model.temperature, model.domain, model.weights_info = 1.0, None, {}
        model.pixel_scale = recipes.scale
    if args.size is not None:
        model.set_input_size(args.size)
    return model.with_quantities(())


def described(
    lenses: FreshLenses, wanted: list[str] | None
) -> tuple[list[Quantity], list[int]]:
    """The quantities of the head, and their columns among those of the simulator.

    By default all that differ from lens to lens in every class in which they are
    defined.

    Raises:
        ValueError: A name is unknown, or a quantity does not vary.
    """
    if unknown := sorted(set(wanted or ()) - set(QUANTITIES)):
        raise ValueError(
            f"--quantities {unknown[0]}: expected some of {', '.join(QUANTITIES)}"
        )
    batches = [
        lenses.batch(0, again=i + 1) for i in range(-(-FIRST // lenses.batch_size))
    ]
    truths = torch.cat([b.quantities for b in batches if b.quantities is not None])
    truths, labels = truths.double().cpu(), torch.cat([b.labels for b in batches]).cpu()
    found, columns = [], []
    for column, (name, unit) in enumerate(QUANTITIES.items()):
        if wanted is not None and name not in wanted:
            continue
        values = [truths[labels == i, column] for i in range(len(lenses.classes))]
        known = [value[~value.isnan()] for value in values]
        meant = [i for i, value in enumerate(known) if len(value) > 1]
        spreads = [float(known[i].std()) for i in meant]
        all_of_it = torch.cat(known)
        least = 1e-6 * max(1.0, float(all_of_it.abs().max())) if meant else 0.0
        if not meant or min(spreads) <= least:
            if wanted is not None and (not meant or max(spreads) <= least):
                raise ValueError(f"--quantities {name}: does not vary in this recipe")
            if wanted is None:
                continue
        columns.append(column)
        found.append(
            Quantity(
                name=name,
                unit=unit,
                mean=round(float(all_of_it.mean()), 6),
                scale=float(f"{float(all_of_it.std()):.6g}"),
                whole=name in WHOLE,
                classes=tuple(lenses.classes[i] for i in meant),
            )
        )
    if not found:
        raise ValueError("no quantity varies in this recipe")
    return found, columns


class Held(NamedTuple):
    """What a network says of held-out lenses, on the CPU.

    Attributes:
        mixture: Posteriors.
        quantiles: (N, Q, 5).
        truth: (N, Q).
        right: (N,) whether the class is the right one.
        loss: As `Training.loss` without the classes.
    """

    mixture: Mixture
    quantiles: Tensor
    truth: Tensor
    right: Tensor
    loss: float


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
        print(
            f"{model.name}, {model.input_size} pixels, tells {', '.join(self.names(model))}"
        )
        self.model = model.to(args.device)
        self.centre()
        if args.whole and args.device.type == "cuda":
            self.model.to(memory_format=torch.channels_last)
        self.averaged = copy.deepcopy(self.model)
        trained: Any = self.model if args.whole else self.model.quantity_head
        self.parameters = list(trained.parameters())
        moving: Any = self.averaged if args.whole else self.averaged.quantity_head
        self.moving = list(moving.parameters())
        self.move_average = get_ema_multi_avg_fn(args.ema)
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=args.lr, weight_decay=args.weight_decay, fused=True
        )
        self.first, self.seconds, self.best = 0, 0.0, math.inf
        self.history: list[dict[str, Any]] = []
        self.saved = time.monotonic()

    @staticmethod
    def names(model: LensNetwork) -> tuple[str, ...]:
        """Of the quantities."""
        assert model.quantities_spec is not None
        return model.quantities_spec.names

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

    def loss(self, mixture: Mixture, truth: Tensor) -> Tensor:
        """Negative logarithm of the density, for each value that is defined."""
        known = (~truth.isnan()).sum()
        return -mixture.log_density(truth).sum() / known.clamp_min(1)

    def step(self, step: int, progress: float) -> Tensor:
        """One step; returns the loss of the quantities."""
        args, model = self.args, self.model
        batch = self.lenses.batch(step)
        spec, head = model.quantities_spec, model.quantity_head
        assert spec is not None
        assert head is not None
        wanted = self.truth(batch.quantities)
        even = spread_whole(wanted, spec, seed=args.seed * 1_000_003 + step)
        even = standardised(even, spec)
        if args.whole:
            with self.autocast():
                logits, embedding = model.logits_and_embedding(batch.images)
            loss = self.loss(head(embedding.float()), even)
            classes = F.cross_entropy(logits.float(), batch.labels)
            total = loss + args.class_weight * classes
        else:
            with torch.no_grad(), self.autocast():
                embedding = model.embed(batch.images)
            loss = total = self.loss(head(embedding.float()), even)
        self.optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        rate, momentum = one_cycle(progress, args.warm_up)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * args.lr
            group["betas"] = (momentum, group["betas"][1])
        self.optimizer.step()
        self.move_average(self.moving, self.parameters, step)
        return loss.detach()

    @torch.no_grad()
    def renew(self, step: int) -> None:
        """Batch-norm statistics of the averaged weights."""
        kinds = torch.nn.modules.batchnorm._BatchNorm
        norms = [m for m in self.averaged.modules() if isinstance(m, kinds)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # cumulative average
        self.averaged.train()
        for i in range(-(-NORM_IMAGES // self.args.batch_size)):
            with self.autocast():
                self.averaged(self.lenses.batch(step, again=i + 1).images)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        self.averaged.eval()

    @torch.no_grad()
    def held(self, model: LensNetwork, seed: int) -> Held:
        """What a network says of held-out lenses."""
        lenses = lenses_of(self.args, seed, model)
        spec = model.quantities_spec
        assert spec is not None
        parts: list[tuple[Any, ...]] = []
        model.eval()
        for i in range(-(-self.args.held_out // self.args.batch_size)):
            batch = lenses.batch(i)
            logits, embedding = model.logits_and_embedding(batch.images)
            parts.append(
                (
                    *model.posterior(embedding),
                    model.quantiles(embedding),
                    self.truth(batch.quantities),
                    logits.argmax(1) == batch.labels,
                )
            )
        found = [torch.cat(values).cpu() for values in zip(*parts, strict=True)]
        mixture = Mixture(*found[:3])
        quantiles, truth, right = found[3:]
        even = standardised(spread_whole(truth, spec), spec)
        return Held(mixture, quantiles, truth, right, float(self.loss(mixture, even)))

    def evaluate(self, step: int) -> None:
        """Scores the averaged weights on held-out lenses, and keeps the best."""
        if self.args.whole:
            self.renew(step)
        held, spec = (
            self.held(self.averaged, self.args.seed + 1),
            self.averaged.quantities_spec,
        )
        assert spec is not None
        scores = score_quantities(held.quantiles, held.truth, spec)
        self.history.append(
            {
                "step": step + 1,
                "minutes": round(self.seconds / 60, 2),
                "loss": round(held.loss, 4),
                "accuracy": round(float(held.right.double().mean()), 4),
                **{score.name: round(score.error, 5) for score in scores},
            }
        )
        print(f"\n{json.dumps(self.history[-1])}", flush=True)
        if held.loss < self.best:
            self.best = held.loss
            self.averaged.save_pretrained(self.args.out / "best", info=self.told())
            print(f"written to {self.args.out / 'best'}", flush=True)

    def told(self) -> dict[str, Any]:
        """What is known of the run, for the card."""
        args = self.args
        where = torch.cuda.get_device_name() if args.device.type == "cuda" else "cpu"
        run = {
            "command": shlex.join(["python", "examples/quantities.py", *args.argv]),
            "started_from": args.start,
            "recipes": list(self.lenses.describe().get("recipes", ()))
            or [self.lenses.describe()["recipe"]],
            "images_seen": self.history[-1]["step"] * args.batch_size,
            "minutes": round(self.seconds / 60, 1),
            "seed": args.seed,
            "machine": f"{platform.machine()}, {where}",
            "date": datetime.now(UTC).date().isoformat(),
            "validation": self.history,
        }
        info = dict(self.model.weights_info)
        return {**info, "licence": "MIT", "quantities_training": run}

    # A run that was cut short

    def decisive(self) -> dict[str, str]:
        """The arguments that a run must be continued with, as text."""
        free = ("out", "argv", "device", "precision", "held_out")
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
        now = self.decisive()
        for name, value in state["arguments"].items():
            if now.get(name) != value:
                raise FileExistsError(
                    f"{path} is of a run with {name} {value}, not {now.get(name)}: "
                    "choose another --out, or give the arguments of that run"
                )
        self.model.load_tensors(state["model"])
        self.averaged.load_tensors(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.first, self.seconds = state["step"], state["seconds"]
        self.best, self.history = state["best"], state["history"]
        print(f"resuming {path} at step {self.first}")

    def places(self, started_at: float) -> Iterator[tuple[int, float, bool, float]]:
        """Step, progress, whether it is the last, and the share that is done after."""
        args = self.args
        for step in itertools.count(self.first):
            if args.minutes:
                done = (time.monotonic() - started_at) / 60 / args.minutes
                yield step, min(done, 1.0), done >= 1, done
            else:
                done = step / (args.steps - 1)
                yield step, done, step + 1 >= args.steps, (step + 1) / args.steps

    def run(self) -> None:
        """All steps that are left."""
        args = self.args
        over = self.history and self.history[-1].get("last")
        if over:
            return
        began = time.monotonic() - self.seconds
        self.model.train(args.whole)
        if not args.whole:
            assert self.model.quantity_head is not None
            self.model.quantity_head.train()
        bar = tqdm(
            initial=self.first,
            total=args.steps if not args.minutes else None,
            mininterval=5,
        )
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
                self.model.train(args.whole)
                if last:
                    self.history[-1]["last"] = True
            if due or time.monotonic() - self.saved > SAVE_EVERY:
                self.save(step + 1)
            bar.update()
            if last:
                break

    # The end

    def finish(self) -> None:
        """Calibrates the best weights on held-out lenses, scores them on others."""
        args = self.args
        model = lensequiv.from_pretrained(args.out / "best", device=args.device)
        info = dict(model.weights_info)
        run = info["quantities_training"]
        run["minutes"], run["validation"] = round(self.seconds / 60, 1), self.history
        if args.whole:
            val = simulated_set(args.fresh[0], 4512, args.seed + 2, args.device)
            images = val.load_arrays()
            calibrate_if_possible(model, images, val.labels)
            info["image_statistics"] = statistics_ranges(model.preprocess(images))
            info["cost"] = {"parameters": sum(p.numel() for p in model.parameters())}
        held = self.held(model, args.seed + 2)
        spec = model.quantities_spec
        assert spec is not None
        model.quantities_spec = spec = calibrated(held.mixture, held.truth, spec)
        held = self.held(model, args.seed + 3)
        scores = [
            {
                k: v if isinstance(v, str) else round(v, 5)
                for k, v in s._asdict().items()
            }
            for s in score_quantities(held.quantiles, held.truth, spec)
        ]
        metrics: dict[str, Any] = {"quantities": {"scores": scores}}
        if len(scores) > 1 and bool((~held.truth.isnan().any(1)).any()):
            even = standardised(spread_whole(held.truth, spec), spec)
            draws = held.mixture.sample(200, torch.Generator().manual_seed(0))
            joint = tarp(draws, even)
            metrics["quantities"]["joint_deviation"] = round(joint.deviation, 4)
            metrics["quantities"]["joint_lenses"] = joint.lenses
        if args.whole:
            metrics["quantities"]["accuracy"] = round(
                float(held.right.double().mean()), 4
            )
        info["metrics"] = {**info.get("metrics", {}), **metrics}
        folder = model.cpu().save_pretrained(args.out / "weights", info=info)
        print(json.dumps(metrics, indent=2))
        print(f"written to {folder}")


def main() -> None:
    """Trains, calibrates, scores, saves; goes on where training had ended."""
    args = arguments()
    torch.backends.cudnn.benchmark = True  # all batches are of one shape
    args.out.mkdir(parents=True, exist_ok=True)
    training = Training(args)
    training.resume()
    training.run()
    training.finish()


if __name__ == "__main__":
    main()
