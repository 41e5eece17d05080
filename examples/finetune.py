"""Fine-tune a published weight on another simulation: other lenses, classes, channels.

    lensequiv simulate deeplensesim1 --images 7500 --seed 21 data/mine/train
    lensequiv simulate deeplensesim1 --images 1500 --seed 22 data/mine/val
    lensequiv simulate deeplensesim1 --images 3000 --seed 23 data/mine/test
    python examples/finetune.py c8-modelJ --data data/mine --out runs/mine --images 750

First a linear check: logistic regression on the frozen embedding. If that is no better
than chance, the trained features say nothing about these classes. Then the head alone
is trained, then all layers, the first ones at the lowest rate; `--head-share 1` leaves
the body frozen. `--scratch` trains the same architecture from random weights instead,
for comparison.

The images may have any size from the network's smallest on: those below the
weight's input size are taken in the largest one that fits (`--size` chooses another).
Where there is no `test/`, no test scores are written.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from finish import calibrate_if_possible
from lenses import StoredLenses
from sets import (
    Sets,
    SimulatedSet,
    check_images,
    check_room,
    choose_size,
    half_if_harmless,
    number,
    open_sets,
    whole,
)
from torch import Tensor
from tqdm.auto import tqdm
from train import check_finite
from validate import renew_batch_norm

import lensequiv
from lensequiv.domain import statistics_ranges
from lensequiv.evaluation import evaluate
from lensequiv.models import LensNetwork
from lensequiv.transforms import RandomPose


def arguments() -> argparse.Namespace:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("weights", help="name, folder or owner/name on the Hub")
    p.add_argument("--data", type=Path, required=True, help="holds train/ val/ test/")
    p.add_argument("--out", type=Path, required=True, help="new folder for the result")
    p.add_argument(
        "--images", type=whole(1), help="train on so many, of each class alike"
    )
    p.add_argument("--steps", type=whole(2), default=1000)
    p.add_argument("--batch-size", type=whole(2), default=32)
    p.add_argument("--lr", type=number(1e-12), default=4e-3, help="peak, of the head")
    p.add_argument(
        "--layer-decay",
        type=number(0, 1),
        default=0.8,
        help="rate of a layer over the next",
    )
    p.add_argument(
        "--head-share",
        type=number(0, 1),
        default=0.2,
        help="of the steps, for the head alone",
    )
    p.add_argument("--scratch", action="store_true", help="start from random weights")
    p.add_argument("--seed", type=whole(0), default=0)
    p.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    p.add_argument(
        "--size",
        type=whole(1),
        help="side of the input in pixels (default: the weight's, or the largest that "
        "fits into smaller images)",
    )
    p.add_argument(
        "--plane", "--hdu", help="which image, where files have several: its name"
    )
    p.add_argument(
        "--pixel-scale",
        type=number(1e-9),
        help="of the images in arcsec, where neither manifest nor header tells it",
    )
    return p.parse_args()


@torch.no_grad()
def embeddings(model: LensNetwork, images: Tensor) -> Tensor:
    """Embeddings (N, D) of raw images (N, C, H, W), in evaluation mode."""
    model.eval()
    parts = [model.embed(model.preprocess(b.float())) for b in images.split(64)]
    return torch.cat(parts)


def linear_check(
    model: LensNetwork, train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor]
) -> float:
    """Validation accuracy of logistic regression on the embedding."""
    x, held_out = embeddings(model, train[0]), embeddings(model, val[0])
    mean, std = x.mean(0), x.std(0) + 1e-6
    x, held_out = (x - mean) / std, (held_out - mean) / std
    weight = torch.zeros(x.shape[1], model.num_classes, requires_grad=True)
    bias = torch.zeros(model.num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ weight + bias, train[1])
        loss = loss + weight.square().sum() / len(x)
        loss.backward()
        return loss

    optimizer.step(closure)
    guess = (held_out @ weight + bias).argmax(1)
    return float((guess == val[1]).float().mean())


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


def tune(
    model: LensNetwork,
    lenses: StoredLenses,
    args: argparse.Namespace,
    accelerator: Accelerator,
) -> int:
    """Trains in place: the head alone, then everything; returns the steps made.

    Ctrl-C ends it early, with what was learnt.
    """
    pose = RandomPose(model.input_size)
    optimizer = torch.optim.AdamW(
        layerwise(model, args.lr, 1.0 if args.scratch else args.layer_decay),
        weight_decay=1e-2,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        [group["lr"] for group in optimizer.param_groups],
        total_steps=args.steps,
    )
    body_from = 0 if args.scratch else int(args.head_share * args.steps)
    if body_from:
        model.freeze()
    model.to(accelerator.device).train()

    def augmented(step: int, again: int = 0) -> tuple[Tensor, Tensor]:
        batch = lenses.batch(step, again)
        torch.manual_seed((args.seed * 1_000_003 + step) * 1009 + again)
        x = model.preprocess(pose(batch.images))
        return x.to(accelerator.device), batch.labels.to(accelerator.device)

    bar, done = tqdm(range(args.steps), mininterval=5), 0
    try:
        for step in bar:
            if step == body_from:
                model.unfreeze()
            x, labels = augmented(step)
            with accelerator.autocast():
                logits = model(x)
            loss = F.cross_entropy(logits.float(), labels)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            done = step + 1
            if step % 20 == 0 or done == args.steps:
                check_finite(loss.detach(), step)
                bar.set_postfix(loss=f"{loss.item():.3f}")
    except KeyboardInterrupt:
        print(f"interrupted after {done} of {args.steps} steps", file=sys.stderr)
    model.unfreeze()
    if body_from < done:
        batches = [augmented(args.steps - 1, again + 1)[0] for again in range(60)]
        renew_batch_norm(model, batches, accelerator)
    model.cpu().eval()
    return done


def begin(args: argparse.Namespace) -> tuple[LensNetwork, Sets, StoredLenses]:
    """The weight with its new head, and the images, after all checks.

    Raises:
        FileExistsError: `--out` holds something.
    """
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise FileExistsError(f"--out {args.out} is not empty: choose a new name")
    sets = open_sets(args.data, plane=args.plane)
    assert sets.train is not None
    lenses = StoredLenses(
        sets.train, args.batch_size, seed=args.seed, limit=args.images
    )
    model = lensequiv.from_pretrained(
        args.weights,
        num_classes=len(lenses.classes),  # a new head, even for the trained names
        classes=lenses.classes,
        in_channels=lenses.channels,
    )
    usual = model.input_size
    model.set_input_size(choose_size(model, args.size, lenses.side, usual))
    model.pixel_scale = args.pixel_scale or lenses.scale
    check_room(args.out, model, copies=3)
    check_images(model, lenses.data, lenses.load(**half_if_harmless(model)))
    for data in (sets.val, sets.test):
        if data is not None:
            check_images(model, data)
    return model, sets, lenses


def main() -> None:
    """Checks, tunes, saves, scores, saves the scores."""
    args = arguments()
    torch.manual_seed(args.seed)
    accelerator = Accelerator(
        mixed_precision="bf16" if args.precision == "bf16" else "no"
    )
    model, sets, lenses = begin(args)
    val_x, val_y = sets.val.load_arrays(), sets.val.labels
    check = linear_check(model, (lenses.load(), lenses.labels), (val_x, val_y))
    print(
        f"linear check: {check:.3f} of the validation images right; "
        f"by chance: {1 / model.num_classes:.3f}"
    )
    if args.scratch:
        fresh = lensequiv.create_model(model.name, **model.config)
        fresh.set_input_size(model.input_size)
        fresh.preprocess, fresh.classes = model.preprocess, model.classes
        fresh.pixel_scale = model.pixel_scale
        model = fresh
    done = tune(model, lenses, args, accelerator)
    if not done:
        sys.exit(130)  # as a shell has it after Ctrl-C; nothing was learnt
    calibrate_if_possible(model, val_x, val_y)
    tuned: dict[str, Any] = {
        "from": None if args.scratch else args.weights,
        "images": len(lenses.labels),
        "steps": done,
        "seed": args.seed,
        "linear_check": round(check, 4),
    }
    ranges = statistics_ranges(model.preprocess(val_x))

    def save() -> None:
        model.weights_info = {
            "fine_tuned": dict(tuned),
            "image_statistics": ranges,
            "licence": "MIT",
        }
        model.save_pretrained(args.out)

    save()  # what follows may fail
    if done < args.steps:
        print(f"{args.out} holds the weights, without scores", file=sys.stderr)
        sys.exit(130)
    for name, data in (("validation", sets.val), ("test", sets.test)):
        if data is None:
            print(f"no test scores: {args.data} holds no test set")
            continue
        assert not isinstance(data, SimulatedSet)  # all are in args.data
        try:
            found = evaluate(model, data, rotated=False, resamples=0)
        except Exception:
            print(f"no {name} scores; {args.out} holds the weights without them")
            raise
        tuned[name] = found.as_is.summary()
        save()
    print(json.dumps(tuned, indent=2))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # before or after the steps
        sys.exit(130)
