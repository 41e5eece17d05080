"""Trains a map of the substructure on top of a weight, whose body and classes stay.

    python examples/map_head.py c8-modelJ@2 --out runs/c8-modelJ-map --minutes 60

The body is frozen, so logits, temperature and domain are those of the weight, to the
last bit. Training lenses are simulated on the way: Model J, Model J with its
uncertainties drawn anew for each lens, and, half of the time, lenses with few subhalos,
which say where one is. The loss is proper: quantiles of the convergence (16, 50 and
84 %) and cross-entropy of the presence of a subhalo. At the end both are calibrated on
fresh lenses of another seed, and the thresholds of 10 % and 1 % false alarms are taken
from fresh smooth lenses of a third one. `OUT/weights` is the folder for
`lensequiv.from_pretrained`.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import shlex
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fresh_lenses import FreshLenses
from loop import save_atomically
from map_targets import (
    MAP,
    Drawn,
    Targets,
    calibrate_head,
    drawn,
    map_losses,
    presence_error,
    shares,
    targets,
)
from torch import Tensor
from tqdm.auto import tqdm

import lensequiv
from lensequiv.evaluation.detection import alarm_threshold
from lensequiv.models import LensNetwork
from lensequiv.simulation import NoSubstructure, Subhalos, get_recipe, simulate

BATCH = 64
SAVE_EVERY = 120  # seconds
KEPT = 60  # batches that may be seen again
model_j = get_recipe("modelJ")
# Few subhalos, their masses spread evenly in the logarithm.
few = replace(
    model_j,
    name="modelJ-few",
    substructure={
        **model_j.substructure,
        "sphere": Subhalos(number=(0.5, 4.0), mass=(1e8, 3e10), slope=-1.0),
    },
)
smooth = replace(model_j, name="modelJ-smooth", substructure={"no": NoSubstructure()})
RECIPES = (model_j, few, get_recipe("modelJ-varied"), few)


class Seen(NamedTuple):
    """A batch as the head sees it, and what it should say."""

    x: Tensor
    stages: list[Tensor]
    targets: Targets


def arguments() -> argparse.Namespace:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("weight", help="name or folder, of a steerable network")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=60)
    p.add_argument("--fields", type=int, default=8, help="of the head")
    p.add_argument("--lr", type=float, default=4e-3, help="peak of the one-cycle")
    p.add_argument("--held-out", type=int, default=60, help="batches to calibrate on")
    p.add_argument("--smooth", type=int, default=3000, help="lenses for thresholds")
    p.add_argument("--seed", type=int, default=0)
    return p.parse_args()


def batches(model: LensNetwork, recipes: Any, seed: int) -> Iterator[Seen]:
    """Fresh lenses through the frozen body, without end."""
    lenses = FreshLenses(recipes, BATCH, seed=seed)
    lenses.open(model.input_size, torch.device("cpu"), model.preprocess)
    for step in itertools.count():
        batch = lenses.batch(step)
        assert batch.masses is not None
        with torch.no_grad():
            stages = model.stages(batch.images)
        yield Seen(batch.images, stages, targets(batch.masses, model.input_size))


def replayed(fresh: Iterator[Seen], seed: int) -> Iterator[Seen]:
    """Every fresh batch, and after it one of the last ones again: the head is small."""
    kept: deque[Seen] = deque(maxlen=KEPT)
    draw = random.Random(seed)
    for seen in fresh:
        kept.append(seen)
        yield seen
        yield draw.choice(kept)


def train(model: LensNetwork, args: argparse.Namespace) -> dict[str, Any]:
    """Trains the head until the time is over; returns how far it came."""
    head: Any = model.map_head
    head.train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=args.lr, weight_decay=1e-2)
    begun, saved = time.monotonic(), time.monotonic()
    bar, mean = tqdm(mininterval=10), torch.zeros(2)
    for step, seen in enumerate(
        replayed(batches(model, RECIPES, args.seed), args.seed)
    ):
        done = (time.monotonic() - begun) / 60 / args.minutes
        if done >= 1:
            break
        rate = (
            done / 0.1
            if done < 0.1
            else (1 + math.cos(math.pi * (done - 0.1) / 0.9)) / 2
        )
        for group in optimizer.param_groups:
            group["lr"] = args.lr * max(rate, 0.04)
        losses = map_losses(head.raw(seen.x, seen.stages), seen.targets, seen.x)
        optimizer.zero_grad()
        (losses[0] + losses[1]).backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        now = torch.stack(losses).detach()
        mean = now if step == 0 else 0.98 * mean + 0.02 * now
        if step % 10 == 0:
            bar.set_postfix(quantiles=f"{mean[0]:.4f}", presence=f"{mean[1]:.4f}")
        bar.update()
        if time.monotonic() - saved > SAVE_EVERY:
            saved = time.monotonic()
            state = {"head": head.state_dict(), "step": step + 1}
            save_atomically(state, args.out / "checkpoint.pt")
    head.eval()
    return {"steps": step, "images_seen": step // 2 * BATCH, "minutes": args.minutes}


def held_out(model: LensNetwork, recipes: Any, count: int, seed: int) -> Drawn:
    """What the head says of so many fresh batches."""
    head: Any = model.map_head
    parts = []
    for seen in itertools.islice(batches(model, recipes, seed), count):
        with torch.no_grad():
            parts.append(drawn(head.raw(seen.x, seen.stages), seen.targets, seen.x))
    return Drawn(*(torch.cat(values) for values in zip(*parts, strict=True)))


def finish(model: LensNetwork, args: argparse.Namespace, told: dict[str, Any]) -> None:
    """Calibrates, measures thresholds, scores on other lenses, and saves."""
    head: Any = model.map_head
    calibrate_head(head, held_out(model, RECIPES, args.held_out, args.seed + 1))
    model.map_spec = MAP
    images = simulate(smooth, args.smooth, seed=args.seed + 2).images
    highest = np.array([one.score for one in model.predict_map(images)])
    limits = {str(f): alarm_threshold(highest, f) for f in (0.1, 0.01)}
    model.map_spec = replace(MAP, thresholds=limits)
    found = held_out(model, RECIPES, args.held_out, args.seed + 3)
    below, within, above = shares(found)
    scores = {
        "lenses": args.held_out * BATCH,
        "below_interval": round(below, 4),
        "within_interval": round(within, 4),
        "above_interval": round(above, 4),
        "presence_error": round(presence_error(found), 5),
        "smooth_lenses": args.smooth,
    }
    info = dict(model.weights_info)
    info["metrics"] = {**info.get("metrics", {}), "map": scores}
    info["map_training"] = told | {
        "command": shlex.join(["python", "examples/map_head.py", *sys.argv[1:]]),
        "started_from": args.weight,
        "recipes": [recipe.name for recipe in RECIPES],
        "seed": args.seed,
        "date": datetime.now(UTC).date().isoformat(),
    }
    folder = model.save_pretrained(args.out / "weights", info=info)
    print(f"{scores}, thresholds {limits}: written to {folder}")


def main() -> None:
    """Trains, calibrates, scores, saves; goes on where training had ended."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    model = lensequiv.from_pretrained(args.weight).with_map(args.fields)
    head: Any = model.map_head
    done = args.out / "head.pt"
    if not done.exists():
        told = train(model, args)
        state = {"head": head.state_dict(), "told": told}
        save_atomically(state, done)
    state = torch.load(done, weights_only=True)
    head.load_state_dict(state["head"])
    finish(model.eval(), args, state["told"])


if __name__ == "__main__":
    main()
