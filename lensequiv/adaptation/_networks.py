"""Candidates of `adapt`: other statistics, other scales and shifts."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from lensequiv.models import LensNetwork

__all__ = ["answers", "inform", "information", "mixed_norms", "norms_of"]

_Norm = nn.modules.batchnorm._BatchNorm


def norms_of(model: nn.Module) -> list[_Norm]:
    """The batch norms of a network that have statistics."""
    found = [m for m in model.modules() if isinstance(m, _Norm)]
    return [norm for norm in found if norm.running_mean is not None]


@torch.no_grad()
def answers(model: LensNetwork, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities (N, classes) float64 and embeddings (N, D), on the CPU.

    Args:
        model: In evaluation mode.
        inputs: (N, C, H, W), preprocessed.
    """
    device = next(model.parameters()).device
    parts = [model.logits_and_embedding(x.to(device)) for x in inputs.split(64)]
    logits = torch.cat([logits.cpu() for logits, _ in parts]).double()
    embeddings = torch.cat([embedding.cpu() for _, embedding in parts])
    return (logits / model.temperature).softmax(1), embeddings


def information(probabilities: Tensor) -> float:
    """Mutual information of image and answer: certain, but different answers.

    The entropy of the mean answer less the mean entropy of the answers. *Unit*: nat.

    Args:
        probabilities: (N, classes).

    Returns:
        From 0 to the logarithm of the number of classes.
    """
    return float(_entropy(probabilities.mean(0)) - _entropy(probabilities).mean())


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(1e-12).log()).sum(-1)


def _training(model: LensNetwork) -> None:
    """Training mode, without dropout."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()


@torch.no_grad()
def mixed_norms(
    model: LensNetwork, inputs: Tensor, share: float, batch_size: int
) -> LensNetwork:
    """A copy whose batch-norm statistics are those of old and new images together.

    Args:
        model: In evaluation mode.
        inputs: (N, C, H, W), preprocessed, shuffled.
        share: Weight of the new images, from 0 to 1. The variance is that of the
            mixture of both.
        batch_size: Images at a time; the last ones, if fewer, are left out.
    """
    made = copy.deepcopy(model)
    device = next(made.parameters()).device
    norms = norms_of(made)
    old = [(_mean(n).clone(), _variance(n).clone(), n.momentum) for n in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    _training(made)
    for x in inputs[: len(inputs) // batch_size * batch_size or None].split(batch_size):
        made(x.to(device))
    for norm, (mean, variance, momentum) in zip(norms, old, strict=True):
        new, spread = _mean(norm).clone(), _variance(norm).clone()
        if not norm.num_batches_tracked:  # of a head that draws maps, which was not run
            new, spread = mean, variance
        between = share * (1 - share) * (mean - new) ** 2
        _mean(norm).copy_((1 - share) * mean + share * new)
        _variance(norm).copy_((1 - share) * variance + share * spread + between)
        norm.momentum = momentum
    return made.eval()


def _mean(norm: _Norm) -> Tensor:
    assert norm.running_mean is not None
    return norm.running_mean


def _variance(norm: _Norm) -> Tensor:
    assert norm.running_var is not None
    return norm.running_var


def inform(
    model: LensNetwork,
    inputs: Tensor,
    steps: int,
    rate: float,
    batch_size: int,
    seed: int,
    progress: bool,
) -> LensNetwork:
    """A copy whose body's batch norms were trained for informative answers.

    Args:
        model: In evaluation mode.
        inputs: (N, C, H, W), preprocessed.
        steps: Of Adam.
        rate: Its learning rate.
        batch_size: Images a step.
        seed: Of their order.
        progress: Whether to show a progress bar.
    """
    from tqdm.auto import tqdm

    made = copy.deepcopy(model)
    device = next(made.parameters()).device
    wanted = {p: p.requires_grad for p in made.parameters()}
    head = {id(module) for module in made.head.modules()}
    body = [norm for norm in norms_of(made) if id(norm) not in head]
    trained = [p for norm in body for p in norm.parameters(recurse=False)]
    made.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(trained, lr=rate)
    generator = torch.Generator().manual_seed(seed)
    _training(made)
    made.head.eval()
    for _ in tqdm(range(steps), desc="adapting", delay=2, disable=not progress):
        chosen = torch.randint(len(inputs), (batch_size,), generator=generator)
        with torch.enable_grad():
            p = (made(inputs[chosen].to(device)) / made.temperature).softmax(1)
            loss = _entropy(p).mean() - _entropy(p.mean(0))
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
    for parameter, value in wanted.items():
        parameter.requires_grad_(value)
    return mixed_norms(made.eval(), inputs, 1.0, batch_size)
