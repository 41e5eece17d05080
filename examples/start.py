"""What a run of `train.py` starts from: its images and its first weights."""

from __future__ import annotations

import argparse
from typing import Any

import torch
from accelerate import Accelerator
from checks import choose_size
from curriculum import eased
from fresh_lenses import FreshLenses
from lenses import Lenses, StoredLenses
from sets import VALIDATION, LabelledSet, Sets, open_sets, simulated_set

import lensequiv
from lensequiv.models import LensNetwork
from lensequiv.simulation import load_recipe

# Options that say what the network looks at: no tensor depends on them, so that
# weights may be trained on with others.
SEEING = {"disc", "own_noise", "turns"}


def training_images(
    args: argparse.Namespace,
    accelerator: Accelerator,
    data: LabelledSet | None = None,
) -> FreshLenses | StoredLenses:
    """What the arguments say; `data` is the training set, if there is one."""
    if args.batch_size % accelerator.num_processes:
        raise ValueError(
            f"--batch-size {args.batch_size}: expected a multiple of the "
            f"{accelerator.num_processes} processes"
        )
    share: dict[str, Any] = {
        "batch_size": args.batch_size // accelerator.num_processes,
        "seed": args.seed,
        "rank": accelerator.process_index,
        "world": accelerator.num_processes,
    }
    if share["batch_size"] < 2:
        raise ValueError(
            f"--batch-size {args.batch_size}: expected at least 2 images for each "
            "process, of which batch norms can take a variance"
        )
    if data is None:
        return FreshLenses(
            [eased(load_recipe(name), args.ease) for name in args.fresh],
            resampled=args.resampled,
            exposures=args.exposures,
            matched=args.matched > 0,
            unlike=args.unlike,
            **share,
        )
    return StoredLenses(data, limit=args.images, **share)


def first_weights(args: argparse.Namespace, lenses: Lenses) -> LensNetwork:
    """The untrained network, or one that starts from `--init`.

    Raises:
        ValueError: The architecture has no such name or option, takes no images of
            this size or number of channels, or `--init` is another one.
    """
    options = {"in_channels": lenses.channels, **args.options}
    model = lensequiv.create_model(
        args.model, num_classes=len(lenses.classes), **options
    )
    if model.in_channels != lenses.channels:
        raise ValueError(
            f"--options: in_channels={model.in_channels}, but the images have "
            f"{lenses.channels} channels"
        )
    if args.init:
        started = lensequiv.from_pretrained(args.init)
        if started.name != model.name or started.in_channels != model.in_channels:
            raise ValueError(
                f"--init {args.init} is {started.name} for {started.in_channels} "
                f"channels; expected {model.name} for {model.in_channels}"
            )
        try:
            # Further heads were trained on the body as it is.
            if started.map_head is not None:
                started = started.with_map(0)
            if started.quantity_head is not None:
                started = started.with_quantities(())
            state = started.state_dict()
            differing = {
                option
                for option, value in model.config.items()
                if started.config.get(option) != value
            }
            if differing and differing <= SEEING:
                # Its record, which no other network's tensors may come with.
                state["_extra_state"] = model.state_dict()["_extra_state"]
            model.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(
                f"--init {args.init} was made with {started.config}, which are not the "
                f"options of this {model.name}: give them as --options"
            ) from error
    model.classes = lenses.classes
    model.set_input_size(choose_size(model, args.size, lenses.side, usual=97))
    # What `--init` says of itself is not this run's.
    model.temperature, model.domain, model.weights_info = 1.0, None, {}
    model.pixel_scale = args.pixel_scale or lenses.scale
    return model


def same_classes(init: str, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    """The classes of the weights to start from, which the images must have, too."""
    classes = lensequiv.from_pretrained(init).classes
    if wanted is not None and wanted != classes:
        raise ValueError(
            f"--init {init} has the classes {', '.join(classes)}; expected "
            f"{', '.join(wanted)}, in this order"
        )
    return classes


def opened_sets(args: argparse.Namespace, device: torch.device) -> Sets:
    """The sets of a run; validation images are simulated if there is no `--data`."""
    wanted = None
    if args.fresh:
        wanted = load_recipe(args.fresh[0]).classes
    if args.init:
        wanted = same_classes(args.init, wanted)
    if args.data is None:
        val = simulated_set(args.fresh[0], VALIDATION, 2, device)
        return Sets(None, val, None, val.classes)
    return open_sets(
        args.data,
        classes=wanted,
        simulated=bool(args.fresh),
        test=not args.no_test,
        plane=args.plane,
    )
