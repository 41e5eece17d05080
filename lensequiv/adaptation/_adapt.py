"""`adapt`: candidates are made without labels, and one is taken if it is better."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv._checks import check_count, check_number
from lensequiv._devices import resolve_device
from lensequiv._neutral import without_tf32
from lensequiv.adaptation._networks import (
    answers,
    inform,
    information,
    mixed_norms,
    norms_of,
)
from lensequiv.adaptation._parts import class_parts, distance_from_equal
from lensequiv.adaptation._recording import (
    AdaptationWarning,
    record,
    warn_unchanged,
    warn_unchecked,
    warn_unequal,
)
from lensequiv.inference._batches import network_inputs
from lensequiv.inference._options import Options
from lensequiv.inference._source import ImagesOrPaths, Source, source_of
from lensequiv.models import LensNetwork

__all__ = ["AdaptationWarning", "adapt"]

SHARES = (0.5, 1.0)
"""Weights of the new images' batch-norm statistics that are tried."""

MARGIN = 0.05
"""What a candidate's information must gain to be taken. *Unit*: nat."""

UNEQUAL = 0.2
"""Estimated class parts further than this from equal ones are not adapted to without
labels; see `lensequiv.adaptation._parts.distance_from_equal`."""

_HELD_OUT = 1 / 3  # of the images, for the comparison; a thousand at most
_FEWEST = 60


@without_tf32()
def adapt(
    model: LensNetwork,
    images: ImagesOrPaths,
    *,
    validation: tuple[NDArray[Any] | Tensor, NDArray[Any] | Tensor] | None = None,
    balanced: bool = False,
    steps: int = 40,
    rate: float = 1e-3,
    batch_size: int = 32,
    seed: int = 0,
    hdu: int | str | None = None,
    pixel_scale: float | None = None,
    resample: bool = False,
    device: str | torch.device | None = None,
    progress: bool = False,
) -> LensNetwork:
    """Adapts a weight to images of another instrument, without their labels.

    Three candidates are made. Two take batch-norm statistics of the new images, with
    a weight of 0.5 and 1 (Li et al., arXiv:1603.04779; Schneider et al.,
    arXiv:2006.16971). The third goes on from the better one: scale and shift of the
    body's batch norms are trained so that answers to the new images become certain
    but different, that is for the largest mutual information of image and answer
    (Liang, Hu and Feng, arXiv:2002.08546, without pseudo-labels). Equivariance is
    kept: no filter changes.

    The candidates are compared on a third of the images, which nothing was fitted to:
    by that information, or, with `validation`, by the cross-entropy of labelled images.
    If none is better the weight comes back as it is, with an `AdaptationWarning`.

    **Without labels this is right only if the classes are in about equal parts**:
    neither statistics nor information have another way to know how often a class
    occurs. Where four of five images were of one class, accuracy fell by up to 0.4
    while the information rose (docs/finetuning.md). So the parts are estimated from the
    answers of the weight as it is (Saerens, Latinne and Decaestecker 2002,
    doi:10.1162/089976602753284446). If they differ from equal ones by more than 0.2 in
    total variation, the weight comes back as it is, with an `AdaptationWarning`. The
    estimate can be wrong, in both directions, where the weight is often wrong. So a
    copy that no label has checked comes with an `AdaptationWarning`, too. `balanced`
    says that the parts are known to be equal: then there is neither estimate nor
    warning.

    The copy has statistics and domain of the new images, with its own answers for
    labels. Its temperature is the old one: probabilities are not calibrated. It draws
    no map of the substructure, for which the same holds.

    Args:
        model: Any lensequiv model with batch norms; it is not changed.
        images: Of the new instrument, 60 at least, some hundreds better; see
            `lensequiv.predict`.
        validation: Raw images (N, C, H, W) and labels (N,), index into
            `model.classes`, to compare the candidates by.
        balanced: Whether the classes are known to be in about equal parts. Nothing
            checks it.
        steps: Of the training; 0: statistics alone.
        rate: Learning rate.
        batch_size: Images a step.
        seed: Of their order.
        hdu: See `lensequiv.predict`.
        pixel_scale: See `lensequiv.predict`.
        resample: See `lensequiv.predict`.
        device: Where to compute; where the model is if None.
        progress: Whether to show a progress bar.

    Returns:
        A copy, adapted or not, in evaluation mode, where the model is.
        `weights_info["adapted"]` says what was done; the model card shows it.

    Raises:
        ImageError: An image cannot be used.
        ValueError: There are too few images, or an argument is out of range, or the
            model has no batch norms.
    """
    check_count("steps", steps, low=0)
    check_count("batch_size", batch_size, low=2)
    check_number("rate", rate, 1e-12, 10)
    if not norms_of(model):
        raise ValueError(f"{model.name} has no batch norms; there is nothing to adapt")
    home = next(model.parameters()).device
    place = home if device is None else resolve_device(device)
    options = Options(
        batch_size,
        progress,
        pixel_scale=pixel_scale,
        resample=resample,
        enlarge=False,
    )
    inputs = _inputs(model, source_of(images, hdu), options)
    order = np.random.default_rng(seed).permutation(len(inputs))
    held_out = min(round(_HELD_OUT * len(inputs)), 1000)
    watched, fitted = inputs[order[:held_out]], inputs[order[held_out:]]
    judge = _judge(model, watched, validation)
    start = copy.deepcopy(model).to(place).eval()
    parts: dict[str, float] | None = None
    if validation is None and not balanced:
        found = class_parts(answers(start, inputs)[0])
        parts = dict(zip(model.classes, found.tolist(), strict=True))
        if distance_from_equal(found) > UNEQUAL:
            warn_unequal(parts)
            return start.to(home)
    candidates, scores = {"as it is": start}, {"as it is": judge(start)}
    for share in SHARES:
        name = f"statistics, weight {share:g}"
        candidates[name] = mixed_norms(start, fitted, share, batch_size)
        scores[name] = judge(candidates[name])
    if steps:
        best = max(list(scores)[1:], key=scores.__getitem__)
        name = f"{best}, then {steps} steps"
        candidates[name] = inform(
            *(candidates[best], fitted, steps, rate, batch_size, seed, progress)
        )
        scores[name] = judge(candidates[name])
    best = max(scores, key=scores.__getitem__)
    margin = MARGIN if validation is None else 0.0
    if scores[best] <= scores["as it is"] + margin:
        best = "as it is"
        warn_unchanged(scores, None if validation is not None else MARGIN)
    elif parts is not None:
        warn_unchecked(scores, parts)
    adapted = candidates[best].to(home)
    if best != "as it is":
        if adapted.quantity_head is not None:  # trained on the body as it was
            adapted = adapted.with_quantities(())
        record(
            *(adapted, model, inputs, scores, best),
            *(validation, pixel_scale, balanced, parts),
        )
    return adapted


def _inputs(model: LensNetwork, source: Source, options: Options) -> Tensor:
    """What the network sees of all images, (N, C, H, W).

    Raises:
        ImageError: An image cannot be used.
        ValueError: They are too few.
    """
    if len(source.names) < _FEWEST:
        raise ValueError(
            f"{len(source.names)} images; expected at least {_FEWEST}, some hundreds "
            "better"
        )
    return torch.stack(list(network_inputs(model, source, options)))


def _judge(
    model: LensNetwork,
    watched: Tensor,
    validation: tuple[NDArray[Any] | Tensor, NDArray[Any] | Tensor] | None,
) -> Any:
    """From a network to its score; more is better.

    Raises:
        ValueError: Images and labels are not as many.
    """
    if validation is None:
        return lambda network: information(answers(network, watched)[0])
    given, labels = (torch.as_tensor(part) for part in validation)
    if len(given) != len(labels) or labels.ndim != 1 or not len(labels):
        raise ValueError(
            f"validation has {len(given)} images and labels of shape "
            f"{tuple(labels.shape)}; expected as many labels, and one at least"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= model.num_classes:
        raise ValueError(
            f"validation has labels from {int(labels.min())} to {int(labels.max())}; "
            f"expected 0 to {model.num_classes - 1}"
        )
    x, labels = model.preprocess(given.float()), labels.long()

    def likelihood(network: LensNetwork) -> float:
        chances = answers(network, x)[0]
        right = chances.gather(1, labels[:, None])
        return float(right.clamp_min(1e-12).log().mean())

    return likelihood
