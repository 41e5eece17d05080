"""Noise on rendered images: image by image on the processor, else in batches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lensequiv.simulation._draw import Arrays
from lensequiv.simulation.detector import ElectronNoise
from lensequiv.simulation.noise import BatchNoise, Noise
from lensequiv.simulation.recipes import Recipe, get_recipe

__all__ = ["add_noise", "generator_of", "observe_batch", "observe_each"]


def add_noise(
    recipe: str | Recipe,
    images: Tensor,
    parameters: Arrays,
    rng: np.random.Generator | torch.Generator,
) -> Tensor:
    """Adds a recipe's noise to noise-free images of its lenses.

    Args:
        recipe: What the lenses were drawn from.
        images: (N, H, W) float32 expected counts, as `render_lenses` returns them.
        parameters: What `Simulation.parameters` holds, for these N lenses.
        rng: NumPy's generator, for one image after the other, on the CPU; or
            torch's, of the device of the images, for all at once.

    Returns:
        (N, H, W) float32 counts, on the device of the images, which stay as they are.

    Raises:
        ValueError: There are not as many images as lenses, or `rng` belongs to another
            device.
    """
    noise = get_recipe(recipe).noise
    exposures = parameters["exposure"]
    if images.ndim != 3 or len(images) != len(exposures):
        raise ValueError(
            f"images of shape {tuple(images.shape)} and parameters of {len(exposures)} "
            "lenses; expected (N, H, W) images, one of each lens"
        )
    if isinstance(rng, np.random.Generator):
        if images.device.type != "cpu":
            raise ValueError(
                f"images on {images.device} and NumPy's random numbers; expected a "
                "torch.Generator of that device"
            )
        return _observe(noise, images.clone(), parameters, [rng] * len(images))
    if rng.device.type != images.device.type:
        raise ValueError(f"images on {images.device}, but rng on {rng.device}")
    lens = {
        name: torch.from_numpy(value).to(images.device)
        for name, value in parameters.items()
        if value.ndim == 1
    }
    return observe_batch(noise, images.clone(), lens, rng)


def observe_each(
    noise: Noise, images: Tensor, parameters: Arrays, key: tuple[int, int, int]
) -> Tensor:
    """Adds noise from one random stream an image, on the processor.

    Args:
        noise: What to add.
        images: (N, H, W) expected counts; may be overwritten.
        parameters: What was drawn of the lenses.
        key: Seed, label, and index of the first image.

    Returns:
        (N, H, W).
    """
    seed, label, start = key
    # The 1 keeps these streams apart from those of the parameters.
    rngs = [
        np.random.default_rng([seed, label, index, 1])
        for index in range(start, start + len(images))
    ]
    return _observe(noise, images, parameters, rngs)


def _observe(
    noise: Noise,
    images: Tensor,
    parameters: Arrays,
    rngs: list[np.random.Generator],
) -> Tensor:
    """Adds noise from a random stream for each image."""
    if isinstance(noise, ElectronNoise):
        size, defects = images.shape[-1], int(parameters["defects"].max(initial=0))
        rays = int(parameters.get("cosmic_rays", np.zeros(1)).max(initial=0))
        drawn = [noise.deviates(rng, size, defects, rays) for rng in rngs]
        numbers = [torch.from_numpy(np.stack(d)) for d in zip(*drawn, strict=True)]
        lens = {
            name: torch.from_numpy(value)
            for name, value in parameters.items()
            if value.ndim == 1
        }
        return noise.observe(images, lens, *numbers)
    for image, rng, exposure in zip(
        images.numpy(), rngs, parameters["exposure"], strict=True
    ):
        image[:] = noise.add(rng, image, exposure)
    return images


def observe_batch(
    noise: Noise,
    images: Tensor,
    lens: dict[str, Tensor],
    generator: torch.Generator,
) -> Tensor:
    """Adds noise where the images are, or through the processor if it must be.

    Args:
        noise: What to add. One that only has `add` gets the images one by one, on the
            processor.
        images: (N, H, W) expected counts.
        lens: What was drawn of the lenses, (N,) each, on the device of the images.
        generator: Of that device.

    Returns:
        (N, H, W), on the device of the images.
    """
    if isinstance(noise, BatchNoise):
        return noise.add_batch(images, lens, generator)
    seed = torch.randint(2**62, (), generator=generator, device=images.device)
    rng = np.random.default_rng(int(seed))
    exposures = lens["exposure"].tolist()
    noisy = [
        noise.add(rng, image, exposure)
        for image, exposure in zip(images.cpu().numpy(), exposures, strict=True)
    ]
    return torch.from_numpy(np.stack(noisy)).to(images)


def generator_of(device: torch.device, *key: int) -> torch.Generator:
    """A generator whose stream belongs to these numbers alone."""
    # Seeds of other uses have fewer numbers, or another one at their end.
    (seed,) = np.random.SeedSequence([*key, 2]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(seed) % 2**63)
