"""Train a model on class folders: the reference loop behind the bundled weights.

    lensequiv simulate modelF --images 60000 --seed 1 data/modelF/train
    lensequiv simulate modelF --images 4500 --seed 2 data/modelF/val
    lensequiv simulate modelF --images 7500 --seed 3 data/modelF/test
    python examples/train.py c8 --data data/modelF --out runs/c8-modelF

Every random number follows from `--seed` and the step, so a run that is killed and
started again with the same command continues from its last checkpoint to the same
result. The validation set chooses among the evaluations; the test set is scored once,
at the end. `OUT/weights` is then a folder for `lensequiv.from_pretrained`.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

import lensequiv
from lensequiv.data import ClassFolder
from lensequiv.domain import statistics_ranges
from lensequiv.evaluation import score
from lensequiv.models import LensModel
from lensequiv.transforms import RandomPose
from lensequiv.trust import calibrate


def arguments() -> argparse.Namespace:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("model", help="a name that lensequiv.list_models() knows")
    p.add_argument("--data", type=Path, required=True, help="holds train/ val/ test/")
    p.add_argument("--out", type=Path, required=True, help="checkpoint and result")
    p.add_argument("--init", help="weight or folder whose body and head to start from")
    p.add_argument("--steps", type=int, default=3600)
    p.add_argument("--batch-size", type=int, default=64)
    p.add_argument("--lr", type=float, default=4e-3, help="peak of the one-cycle")
    p.add_argument("--weight-decay", type=float, default=1e-2)
    p.add_argument("--ema", type=float, default=0.998, help="decay per step")
    p.add_argument("--evaluations", type=int, default=6)
    p.add_argument(
        "--small",
        type=int,
        default=97,
        help="side of the crops, pixels, in the first part of the run, to save time",
    )
    p.add_argument("--small-share", type=float, default=0.7, help="that part")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--fp32", action="store_true", help="no bf16 autocast")
    return p.parse_args()


def load(folder: Path) -> tuple[Tensor, Tensor]:
    """All images of a class-folder set, (N, C, H, W) float16, and labels (N,)."""
    data = ClassFolder(folder)
    return data.load_arrays(dtype=torch.float16), data.labels


@torch.no_grad()
def logits_of(model: LensModel, images: Tensor, bf16: bool) -> Tensor:
    """Logits (N, classes) float32 of raw images, in evaluation mode."""
    model.eval()
    out = []
    for batch in images.split(250):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out.append(model(model.preprocess(batch.float())).float())
    return torch.cat(out)


@torch.no_grad()
def renew_batch_norm(
    model: LensModel, images: Tensor, pose: RandomPose, batches: int = 60
) -> None:
    """Batch-norm statistics of the averaged weights, over augmented images.

    The running ones belong to older weights and lag behind at high learning rates.
    """
    norms = [
        m
        for m in model.modules()
        if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    model.train()
    for index in torch.randperm(len(images))[: batches * 128].split(128):
        with torch.autocast("cpu", torch.bfloat16):
            model(model.preprocess(pose(images[index])))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def scores(logits: Tensor, labels: Tensor, classes: tuple[str, ...]) -> dict[str, Any]:
    """Micro and one-vs-rest ROC AUC, accuracy, calibration error, confusion matrix."""
    found = score(labels.numpy(), logits=logits.numpy(), classes=classes, resamples=0)
    return found.summary()


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """A checkpoint that is either the old one or the new one, never half of one."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


@torch.no_grad()
def grid_invariance(model: LensModel, images: Tensor) -> float:
    """Largest logit change under 90-degree turns and flips, over the logits' scale."""
    x = model.preprocess(images.float())
    reference = model(x)
    scale = reference.abs().max()
    moved = [x.rot90(k, (2, 3)) for k in range(4)]
    if not model.name.startswith("c"):
        moved += [m.flip(3) for m in moved]
    return max(float((model(m) - reference).abs().max() / scale) for m in moved)


def finish(
    args: argparse.Namespace,
    seconds: float,
    history: list[dict[str, Any]],
    val_x: Tensor,
    val_y: Tensor,
) -> None:
    """Scores the chosen weights on the test set, once, and writes the final folder."""
    model = lensequiv.from_pretrained(args.out / "best")
    try:
        calibrate(model, val_x, val_y)
    except ValueError as error:  # too few images: no reason to lose the run
        print(f"not calibrated: {error}")
    before = None
    if args.init:
        before = lensequiv.from_pretrained(args.init).weights_info.get("training")
    x, y = load(args.data / "test")
    torch.manual_seed(args.seed)
    turned = RandomPose(model.input_size, shift=0, rotate=1.0)
    rotated = torch.cat([turned(part) for part in x.split(500)])
    manifests = {
        split: json.loads((args.data / split / "manifest.json").read_text())
        for split in ("train", "val", "test")
    }
    model.weights_info = {
        "trained_on": {
            "recipe": manifests["train"]["recipe"]["name"],
            **{
                split: {"images": m["images"], "seed": m["seed"]}
                for split, m in manifests.items()
            },
            "simulated_with": manifests["train"]["versions"],
        },
        "training": {
            "command": " ".join(["python examples/train.py", *sys.argv[1:]]),
            "images_seen": args.steps * args.batch_size,
            "minutes": round(seconds / 60, 1),
            "started_from": args.init,
            "before": before,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
            "date": datetime.now(UTC).date().isoformat(),
            "validation": history,
        },
        "metrics": {
            "test": scores(
                logits_of(model, x, bf16=False) / model.temperature, y, model.classes
            ),
            "test_rotated": scores(
                logits_of(model, rotated, bf16=False) / model.temperature,
                y,
                model.classes,
            ),
            "grid_invariance": grid_invariance(model, x[:64]),
        },
        "image_statistics": statistics_ranges(model.preprocess(val_x.float())),
        "licence": "MIT",
        "versions": {
            "lensequiv": lensequiv.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    model.save_pretrained(args.out / "weights")
    print(json.dumps(model.weights_info["metrics"], indent=2))


def main() -> None:
    """Trains, chooses by validation, tests once, saves."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    model = lensequiv.create_model(args.model)
    if args.init:
        model.load_state_dict(lensequiv.from_pretrained(args.init).state_dict())
    small, pose = RandomPose(args.small), RandomPose(model.input_size)
    # Deep copies rebuild a model from its state, so this one shares nothing.
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(args.ema))
    averaged = cast(LensModel, average.module)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.lr, weight_decay=args.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.lr, total_steps=args.steps, pct_start=0.25
    )
    (train_x, train_y), (val_x, val_y) = (
        load(args.data / "train"),
        load(args.data / "val"),
    )

    checkpoint = args.out / "checkpoint.pt"
    first, seconds, best, history = 0, 0.0, -1.0, []
    parts: dict[str, Any] = {
        "model": model,
        "average": average,
        "optimizer": optimizer,
        "schedule": schedule,
    }
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        first, seconds = state["step"], state["seconds"]
        best, history = state["best"], state["history"]
        print(f"resuming {checkpoint} at step {first}")

    per_pass = len(train_y) // args.batch_size
    evaluate_at = {
        args.steps * (i + 1) // args.evaluations for i in range(args.evaluations)
    }
    model.train()
    started = time.monotonic()
    bar = tqdm(range(first, args.steps), initial=first, total=args.steps, mininterval=5)
    for step in bar:
        order = torch.Generator().manual_seed(args.seed * 10007 + step // per_pass)
        start = step % per_pass * args.batch_size
        index = torch.randperm(len(train_y), generator=order)[
            start : start + args.batch_size
        ]
        torch.manual_seed(args.seed * 1_000_003 + step)
        crop = small if step < args.small_share * args.steps else pose
        x = model.preprocess(crop(train_x[index]))
        with torch.autocast("cpu", torch.bfloat16, enabled=not args.fp32):
            logits = model(x)
        loss = F.cross_entropy(logits.float(), train_y[index])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(model)
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}", best=f"{best:.4f}")
        if step + 1 not in evaluate_at and (step + 1) % 200:
            continue
        if step + 1 in evaluate_at:
            renew_batch_norm(averaged, train_x, pose)
            result = scores(
                logits_of(averaged, val_x, not args.fp32), val_y, model.classes
            )
            history.append({"step": step + 1, "loss": loss.item(), **result})
            tqdm.write(
                f"step {step + 1}: validation AUC {result['auc_micro']:.5f}, "
                f"accuracy {result['accuracy']:.4f}"
            )
            if result["auc_micro"] > best:
                best = result["auc_micro"]
                averaged.save_pretrained(args.out / "best")
            averaged.train()
        save_atomically(
            {name: part.state_dict() for name, part in parts.items()}
            | {
                "step": step + 1,
                "best": best,
                "history": history,
                "seconds": seconds + time.monotonic() - started,
            },
            checkpoint,
        )
    seconds += time.monotonic() - started
    finish(args, seconds, history, val_x, val_y)


if __name__ == "__main__":
    main()
