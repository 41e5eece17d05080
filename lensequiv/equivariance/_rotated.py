"""Errors at any angle, on lenses that are rendered anew at each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lensequiv.equivariance._elements import Element, in_group, transform
from lensequiv.equivariance._quantities import evaluate, ready_input, ready_network
from lensequiv.equivariance._report import Report, error_row
from lensequiv.models import LensNetwork

if TYPE_CHECKING:
    from lensequiv._e2cnn import FieldType
    from lensequiv.simulation import Recipe

__all__ = ["Orbits", "RotatedLenses", "orbits", "rotated_lenses"]


@dataclass(frozen=True)
class RotatedLenses:
    """The same lenses rendered at several angles.

    Attributes:
        images: (A, N, pixels, pixels) float32 counts: N lenses at each of A angles.
        reference: (N, pixels, pixels) float32 counts, what they are compared with:
            the lenses at 0 degrees. With noise, of its own draw.
        angles: (A,) as `Element.angle`. *Unit*: degrees.
        labels: (N,) int64, index into `classes`.
        classes: Class names.
        recipe: What was simulated, with an odd number of pixels.
        seed: With which seed.
        noise: Whether there is noise, drawn independently for each image.
    """

    images: Tensor
    reference: Tensor
    angles: tuple[float, ...]
    labels: Tensor
    classes: tuple[str, ...]
    recipe: Recipe
    seed: int
    noise: bool


def rotated_lenses(
    recipe: str | Recipe = "modelF",
    n: int = 12,
    *,
    seed: int = 0,
    angles: Sequence[float] = tuple(range(0, 361, 5)),
    noise: bool = False,
    progress: bool = False,
) -> RotatedLenses:
    """Renders lenses at several angles: source, halo, shear and substructure turned.

    No image is interpolated, so what a network makes of them is its own doing. An even
    number of pixels is raised by one: the lens then stands on the central pixel, about
    which the network's maps turn, and 90 degrees move pixels onto pixels.

    Noise is off by default, since it does not turn with the lens. With noise each
    image has its own draw, the reference too: the error at 0 degrees is then what
    noise alone does.

    Args:
        recipe: A name of `lensequiv.simulation.RECIPES` or a recipe.
        n: Number of lenses, the classes in equal parts.
        seed: Of the lenses and of the noise.
        angles: As `Element.angle`. *Unit*: degrees.
        noise: Whether to add noise.
        progress: Whether to show a progress bar.

    Returns:
        Images and angles.

    Raises:
        ImportError: The extra `sim` is not installed.
        ValueError: Unknown recipe, no angle, or n or seed out of range.
    """
    from tqdm.auto import tqdm

    from lensequiv.simulation import add_noise, get_recipe, simulate

    if not angles:
        raise ValueError("angles is empty; expected at least one")
    recipe = get_recipe(recipe)
    recipe = replace(recipe, pixels=recipe.pixels | 1)
    still = simulate(recipe, n, seed=seed, noise=False)
    stacks = [still.images]
    for angle in tqdm(angles, desc=recipe.name, unit="angle", disable=not progress):
        turned = simulate(recipe, n, seed=seed, rotation=float(angle), noise=False)
        stacks.append(turned.images)
    images = torch.stack(stacks)
    if noise:
        rng = np.random.default_rng([seed, 2])  # the 2 keeps clear of the simulator's
        for stack in images:
            stack[:] = add_noise(recipe, stack, still.parameters, rng)
    return RotatedLenses(
        images=images[1:],
        reference=images[0],
        angles=tuple(float(angle) for angle in angles),
        labels=still.labels,
        classes=still.classes,
        recipe=recipe,
        seed=seed,
        noise=noise,
    )


@dataclass(frozen=True)
class Orbits:
    """What a network makes of lenses that are turned.

    Attributes:
        model: What to call the network.
        group: Name of the group its fields belong to; None where it has none.
        lenses: What was turned.
        quantities: By name, (A, N, ...) for the lenses at each angle: `"logits"`,
            `"embedding"`, and for each layer the mean over its map.
        references: The same for `lenses.reference`, (N, ...).
        types: The layers' field types.
    """

    model: str
    group: str | None
    lenses: RotatedLenses
    quantities: Mapping[str, Tensor]
    references: Mapping[str, Tensor]
    types: Mapping[str, FieldType | None]

    @property
    def embeddings(self) -> Tensor:
        """(A, N, D)."""
        return self.quantities["embedding"]

    @property
    def spread(self) -> float:
        """See `orbit_spread`."""
        from lensequiv.equivariance._projection import orbit_spread

        return orbit_spread(self.embeddings)

    def report(self) -> Report:
        """The errors at each angle, defined as for `measure`.

        Logits and embedding at all angles. The mean over a layer's map, `"mean(stem)"`
        for instance, needs no turn of the plane, so it is compared at all angles that
        are in the group, off the pixel grid too: its regular fields should be permuted,
        and nothing else. Mirror images move pixels onto pixels (see `measure`) and
        would add nothing here.
        """
        rows = []
        for name, values in self.quantities.items():
            reference = self.references[name]
            for angle, value in zip(self.lenses.angles, values, strict=True):
                field_type, element = self.types.get(name), Element(angle)
                quantity, expected = name, reference
                if name in self.types:
                    if field_type is not None and not in_group(element, self.group):
                        continue
                    quantity = f"mean({name})"
                    expected = transform(reference, element, field_type)
                rows.append(error_row(quantity, element, value, expected))
        return Report(
            model=self.model,
            group=self.group,
            kind="re-rendered with noise" if self.lenses.noise else "re-rendered",
            images=len(self.lenses.reference),
            dtype=str(self.embeddings.dtype).removeprefix("torch."),
            rows=tuple(rows),
        )


def orbits(
    model: LensNetwork,
    lenses: RotatedLenses,
    *,
    name: str | None = None,
    dtype: torch.dtype | None = None,
    batch_size: int = 8,
    progress: bool = False,
    device: str | torch.device | None = None,
) -> Orbits:
    """Runs a network on lenses at all angles.

    Args:
        model: The network; its `preprocess` is applied.
        lenses: From `rotated_lenses`.
        name: What to call it; the model's own name if None.
        dtype: In which to compute, on a copy; the model's own if None.
        batch_size: Images that go through the network at once.
        progress: Whether to show a progress bar.
        device: Where to compute, on a copy; see `lensequiv.predict`.

    Returns:
        Logits, embeddings and mean fields, on the CPU; `report()` compares them.

    Raises:
        ValueError: The images do not fit the model, or the device is not there.
    """
    from tqdm.auto import tqdm

    name = name or model.name
    network = ready_network(model, dtype, device)
    types = model.field_types()
    stacks = [lenses.reference, *lenses.images]
    parts: list[dict[str, Tensor]] = []
    for stack in tqdm(stacks, desc=name, unit="angle", disable=not progress):
        found = evaluate(network, ready_input(network, stack), types, batch_size)
        parts.append(
            {
                key: (v.mean((2, 3)) if v.ndim == 4 else v).cpu()
                for key, v in found.items()
            }
        )
    return Orbits(
        model=name,
        group=getattr(model, "group", None),
        lenses=lenses,
        quantities={
            key: torch.stack([part[key] for part in parts[1:]]) for key in parts[0]
        },
        references=parts[0],
        types=types,
    )
