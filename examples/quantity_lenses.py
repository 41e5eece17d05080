"""What `quantities.py` starts from: its network, its lenses, its quantities."""

from __future__ import annotations

import argparse

import torch
from checks import choose_size
from fresh_lenses import EDGE, FreshLenses

import lensequiv
from lensequiv.models import LensNetwork
from lensequiv.simulation import QUANTITIES
from lensequiv.spec import Quantity

FIRST = 1536  # lenses that say how quantities and embeddings are spread
WHOLE = ("subhalos_above_1e9_msun",)  # numbers of things


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
        margin = 2 * args.shift + (2 * EDGE if args.resampled else 0)
        side = recipes.side - margin
        model.set_input_size(choose_size(model, args.size, side, usual=97))
        model.pixel_scale = recipes.scale
        return model
    model = lensequiv.from_pretrained(args.start)
    if args.options:
        raise ValueError("--options are of a new network; a weight has its own")
    if args.whole:
        if model.classes != recipes.classes:
            raise ValueError(
                f"{args.start} has the classes {', '.join(model.classes)}; expected "
                f"those of the recipe, {', '.join(recipes.classes)}"
            )
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
    enough = -(-FIRST // lenses.batch_size)
    batches = [lenses.batch(0, again=i + 1) for i in range(enough)]
    truths = torch.cat([b.quantities for b in batches if b.quantities is not None])
    truths, labels = truths.double().cpu(), torch.cat([b.labels for b in batches]).cpu()
    found, columns = [], []
    for column, (name, unit) in enumerate(QUANTITIES.items()):
        if wanted is not None and name not in wanted:
            continue
        values = [truths[labels == i, column] for i in range(len(lenses.classes))]
        known = [value[~value.isnan()] for value in values]
        meant = [i for i, value in enumerate(known) if len(value) > 1]
        # Rounding to single precision is no variation.
        varies = [
            float(known[i].std()) > 1e-6 * max(1.0, float(known[i].abs().max()))
            for i in meant
        ]
        if wanted is not None and not any(varies):
            raise ValueError(f"--quantities {name}: does not vary in this recipe")
        if not varies or (wanted is None and not all(varies)):
            continue
        together = torch.cat(known)
        columns.append(column)
        found.append(
            Quantity(
                name=name,
                unit=unit,
                mean=round(float(together.mean()), 6),
                scale=float(f"{float(together.std()):.6g}"),
                whole=name in WHOLE,
                classes=tuple(lenses.classes[i] for i in meant),
            )
        )
    if not found:
        raise ValueError("no quantity varies in this recipe")
    return found, columns
