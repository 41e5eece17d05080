"""Dense supervision: while it learns to classify, a network also maps the substructure.

The simulator knows where the substructure's mass is. A small head on an inner layer is
asked for the map of it and thrown away after training. `docs/architecture-search.md`
has what that is worth.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lensequiv.models import LensNetwork
from lensequiv.plain import copy_angles, turned_copies

STRIDE = 8  # image pixels a pixel of the map, as nearly as a layer has it
WIDTH = 4.0  # pixels: the Gaussian that a point mass is smeared into
SMALL = 0.005  # convergence below which the target is linear, above logarithmic
FAINT = 0.07  # of the peak: light that a pixel needs to count


class MappingModel(nn.Module):
    """A classifier with the auxiliary head.

    The map is made from the invariants of an equivariant layer, so it turns with the
    image; from all channels of an ordinary layer.

    Args:
        model: The classifier.

    Attributes:
        model: The classifier.
        layer: Name of the layer whose map is used.
        stride: Image pixels a pixel of the map.
    """

    def __init__(self, model: LensNetwork) -> None:
        super().__init__()
        self.model = model
        self.layer, channels, side = _layer_of_stride(model, STRIDE)
        # Of a network without symmetry every channel counts as an invariant.
        self.invariants = getattr(model, "invariants", nn.Identity())
        count = self.invariants(torch.zeros(1, channels, 1, 1)).shape[1]
        self.stride = (model.input_size - 1) // (side - 1)
        self.draw = nn.Sequential(
            nn.Conv2d(count, 32, 1), nn.ReLU(), nn.Conv2d(32, 1, 1)
        )
        self.seen: Tensor | None = None
        model.get_submodule(self.layer).register_forward_hook(self._remember)

    def _remember(self, module: nn.Module, inputs: object, output: Tensor) -> None:
        self.seen = output

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, classes) and maps (N, h, w) of preprocessed images."""
        logits = self.model(x)
        assert self.seen is not None
        inner, self.seen = self.seen, None
        return logits, self.draw(self.invariants(inner))[:, 0]

    def target(self, masses: Tensor) -> Tensor:
        """The maps the network should draw.

        Args:
            masses: (N, K, 3) x, y (pixels from the central pixel of the network's
                input) and squared Einstein radius (pixels^2) of the point masses.

        Returns:
            (N, h, w): log(1 + kappa / SMALL) of the convergence kappa of all point
            masses, each a Gaussian of `WIDTH` with the mass's own integral.
        """
        size = self.model.input_size
        steps = torch.arange(0, size, self.stride, device=masses.device) - size // 2
        # Gaussians are products of a row and a column.
        places = masses[..., :2].movedim(2, 0)[..., None]
        columns, rows = torch.exp(-(steps - places).square() / (2 * WIDTH**2)).unbind()
        # The integral of kappa over the sky is pi times the squared Einstein radius.
        height = masses[..., 2:] / (2 * WIDTH**2)
        kappa = (rows * height).mT @ columns
        return torch.log1p(kappa / SMALL)

    def copies(self, masses: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the network looks at, if that is the images in several orientations.

        Args:
            masses: (N, K, 3), see `target`.
            x: (N, 1, H, W) preprocessed.

        Returns:
            Both for every copy, (N turns, ...); as they are if there is one.
        """
        turns = getattr(self.model, "turns", 1)
        if turns == 1:
            return masses, x
        angles = torch.tensor(copy_angles(turns), device=x.device)
        cos, sin = (f(angles).repeat(len(x))[:, None] for f in (torch.cos, torch.sin))
        across, down, theta2 = masses.repeat_interleave(turns, 0).unbind(-1)
        moved = [cos * across + sin * down, cos * down - sin * across, theta2]
        return torch.stack(moved, -1), turned_copies(x, turns)


def posed_masses(
    masses: Tensor,
    drawn: tuple[Tensor, Tensor, Tensor],
    frame: int,
    pixel_scale: float,
) -> Tensor:
    """Where `RandomPose` puts point masses.

    Args:
        masses: (N, K, 3) x, y (arcsec from the centre of the simulated image) and
            squared Einstein radius (arcsec^2).
        drawn: What `RandomPose.draw` drew for the images.
        frame: Side of the simulated images, in pixels.
        pixel_scale: Of the images. *Unit*: arcsec/pixel.

    Returns:
        (N, K, 3) as `MappingModel.target` takes them.
    """
    angle, flips, shifts = drawn
    cos, sin = torch.cos(angle)[:, None], torch.sin(angle)[:, None]
    # The inverse of the turn, flip and shift by which the frame is sampled.
    offset = (frame - 1) // 2 - (frame - 1) / 2
    x, y, theta2 = masses.unbind(-1)
    x = flips[:, None] * (x / pixel_scale - offset)
    y = y / pixel_scale - offset
    moved = torch.stack([cos * x + sin * y, cos * y - sin * x]) - shifts
    return torch.stack([*moved, theta2 / pixel_scale**2], -1)


@torch.no_grad()
def _layer_of_stride(model: LensNetwork, stride: int) -> tuple[str, int, int]:
    """Name, channels and side of the last layer with that stride, or the next finer."""
    shapes: dict[str, torch.Size] = {}
    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: shapes.update({name: output.shape})
        )
        for name in model.field_types()
    ]
    training = model.training
    side = model.input_size
    model.eval()(torch.zeros(1, model.in_channels, side, side))
    model.train(training)
    for hook in hooks:
        hook.remove()
    fine = {n: s for n, s in shapes.items() if s[-1] > (side - 1) / stride}
    if not fine:
        raise ValueError(f"{model.name}: no layer has a stride of {stride} or less")
    name = list(fine)[-1]
    return name, fine[name][1], fine[name][-1]


def map_loss(
    drawn: Tensor,
    wanted: Tensor,
    x: Tensor,
    stride: int,
    mean: Callable[[Tensor], Tensor] = torch.clone,
) -> Tensor:
    """Mean squared error of the maps, where there is light to see substructure by.

    Args:
        drawn: (N, h, w).
        wanted: (N, h, w).
        x: (N, 1, H, W) preprocessed: sky 0, peak 1.
        stride: Of the maps.
        mean: Averages a tensor over the processes that share the batch, so that the
            mean of their losses is the loss of the whole batch.
    """
    light = F.avg_pool2d(x, 5, stride, 2)[:, 0].clamp_min(0)
    weight = light / (light + FAINT)
    return (weight * (drawn.float() - wanted).square()).sum() / mean(weight.sum())
