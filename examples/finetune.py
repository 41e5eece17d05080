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
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from finish import calibrate_if_possible
from lenses import StoredLenses
from torch import Tensor
from tqdm.auto import tqdm
from train import renew_batch_norm

import lensequiv
from lensequiv.data import ClassFolder
from lensequiv.domain import statistics_ranges
from lensequiv.evaluation import evaluate
from lensequiv.models import LensModel
from lensequiv.transforms import RandomPose


def arguments() -> argparse.Namespace:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("weights", help="name, folder or owner/name on the Hub")
    p.add_argument("--data", type=Path, required=True, help="holds train/ val/ test/")
    p.add_argument("--out", type=Path, required=True, help="folder for the result")
    p.add_argument("--images", type=int, help="train on so many, of each class alike")
    p.add_argument("--steps", type=int, default=1000)
    p.add_argument("--batch-size", type=int, default=32)
    p.add_argument("--lr", type=float, default=4e-3, help="peak, of the head")
    p.add_argument(
        "--layer-decay", type=float, default=0.8, help="rate of a layer over the next"
    )
    p.add_argument(
        "--head-share", type=float, default=0.2, help="of the steps, for the head alone"
    )
    p.add_argument("--scratch", action="store_true", help="start from random weights")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    return p.parse_args()


@torch.no_grad()
def embeddings(model: LensModel, images: Tensor) -> Tensor:
    """Embeddings (N, D) of raw images (N, C, H, W), in evaluation mode."""
    model.eval()
    parts = [model.embed(model.preprocess(b.float())) for b in images.split(64)]
    return torch.cat(parts)


def linear_check(
    model: LensModel, train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor]
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


def layerwise(model: LensModel, lr: float, decay: float) -> list[dict[str, Any]]:
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


def tune(model: LensModel, lenses: StoredLenses, args: argparse.Namespace) -> None:
    """Trains in place: the head alone, then everything."""
    accelerator = Accelerator(
        mixed_precision="bf16" if args.precision == "bf16" else "no"
    )
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

    bar = tqdm(range(args.steps), mininterval=5)
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
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
    model.unfreeze()
    if body_from < args.steps:
        batches = [augmented(args.steps - 1, again + 1)[0] for again in range(60)]
        renew_batch_norm(model, batches, accelerator)
    model.cpu().eval()


def main() -> None:
    """Checks, tunes, scores, saves."""
    args = arguments()
    torch.manual_seed(args.seed)
    lenses = StoredLenses(
        args.data / "train", args.batch_size, seed=args.seed, limit=args.images
    )
    model = lensequiv.from_pretrained(
        args.weights, classes=lenses.classes, in_channels=lenses.images.shape[1]
    )
    validation = ClassFolder(args.data / "val", classes=lenses.classes)
    val_x, val_y = validation.load_arrays(dtype=torch.float16), validation.labels
    check = linear_check(model, (lenses.images, lenses.labels), (val_x, val_y))
    print(
        f"linear check: {check:.3f} of the validation images right; "
        f"by chance: {1 / model.num_classes:.3f}"
    )
    if args.scratch:
        fresh = lensequiv.create_model(model.name, **model.config)
        fresh.set_input_size(model.input_size)
        fresh.preprocess, fresh.classes = model.preprocess, model.classes
        model = fresh
    tune(model, lenses, args)
    calibrate_if_possible(model, val_x.float(), val_y)
    scores = {
        split: evaluate(model, args.data / split, rotated=False, resamples=0)
        for split in ("val", "test")
    }
    model.weights_info = {
        "fine_tuned": {
            "from": None if args.scratch else args.weights,
            "images": len(lenses.labels),
            "steps": args.steps,
            "seed": args.seed,
            "linear_check": round(check, 4),
            "validation": scores["val"].as_is.summary(),
            "test": scores["test"].as_is.summary(),
        },
        "image_statistics": statistics_ranges(model.preprocess(val_x.float())),
        "licence": "MIT",
    }
    model.save_pretrained(args.out)
    print(json.dumps(model.weights_info["fine_tuned"], indent=2))


if __name__ == "__main__":
    main()
