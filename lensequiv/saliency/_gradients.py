"""Integrated gradients, through captum (extra `saliency`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lensequiv._devices import resolve_device
from lensequiv._neutral import without_tf32
from lensequiv.data import as_images
from lensequiv.inference._running import network_of
from lensequiv.models import LensNetwork
from lensequiv.saliency._measures import smooth_maps

__all__ = ["Attribution", "integrated_gradients"]

Label = str | int
Labels = Label | Sequence[Label] | Tensor

_SKY = 0.25  # the quantile that `CropAndScale` takes as sky


@dataclass(frozen=True)
class Attribution:
    """What each pixel contributes to an answer.

    The maps are in the network's frame, after preprocessing: their pixel [i, j] is the
    image's pixel [i + offset[0], j + offset[1]].

    Attributes:
        maps: (N, H, W) float32 contributions, summed over channels. *Unit*: logits.
        inputs: (N, C, H, W) float32 preprocessed images.
        baselines: (N, C, H, W) float32, what they were compared with.
        difference: (N,) float32: the target of the images less that of the baselines.
        error: (N,) float32: sum of the map less `difference`, what the integration
            missed.
        target: (N,) int64 class whose logit was explained.
        against: (N,) int64 class whose logit was subtracted, or None.
        offset: Row and column of the image at which the maps begin.
        image_size: (height, width) of the images as given. *Unit*: pixels.
    """

    maps: Tensor
    inputs: Tensor
    baselines: Tensor
    difference: Tensor
    error: Tensor
    target: Tensor
    against: Tensor | None
    offset: tuple[int, int]
    image_size: tuple[int, int]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.maps)

    def axes(
        self, pixel_scale: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions of the maps' columns and rows on the sky.

        The origin is the centre of the images as given, as in `lensequiv.simulation`;
        a crop of an odd side from an even one is half a pixel off it.

        Args:
            pixel_scale: *Unit*: arcsec/pixel.

        Returns:
            x (W,) and y (H,), float64. *Unit*: arcsec.
        """

        def positions(axis: int) -> NDArray[np.float64]:
            middle = (self.image_size[axis] - 1) / 2 - self.offset[axis]
            pixels = np.arange(self.maps.shape[axis + 1], dtype=np.float64)
            return np.asarray((pixels - middle) * pixel_scale, np.float64)

        return positions(1), positions(0)

    def crop(self, images: Tensor) -> Tensor:
        """The part of (..., height, width) images that the maps cover."""
        (top, left), (height, width) = self.offset, self.maps.shape[1:]
        return images[..., top : top + height, left : left + width]


@without_tf32()
def integrated_gradients(
    model: LensNetwork,
    images: NDArray[Any] | Tensor,
    *,
    target: Labels | None = None,
    against: Labels | None = None,
    baseline: str | NDArray[Any] | Tensor = "blur",
    blur: float = 3.0,
    steps: int = 32,
    batch_size: int = 64,
    progress: bool = False,
    device: str | torch.device | None = None,
) -> Attribution:
    """Shares a logit, or a difference of two, out among the pixels.

    Pixel i gets (x_i - b_i) times the mean of the gradient along the straight line from
    the baseline b to the image x (Sundararajan, Taly and Yan, arXiv:1703.01365), by
    Gauss-Legendre quadrature. The sum over the pixels is the difference of the target
    between image and baseline ("completeness"), up to `Attribution.error`.

    The baseline decides what question is answered. For simulated lenses the natural
    one is the same lens without its substructure, rendered anew (see
    `substructure_signal`); then a map is zero wherever both agree, whatever the network
    does, so compare such maps with those of an untrained network. For real images take
    `"blur"`, which asks what detail matters, or `"sky"`, which asks what light does.

    Args:
        model: Any lensequiv model; it is explained in evaluation mode and not changed.
        images: (H, W), (N, H, W) or (N, C, H, W) in any flux unit.
        target: Class to explain, by name or index, one for all or N; the likeliest one
            of each image if None.
        against: Class whose logit is subtracted; nothing if None.
        baseline: `"blur"`: the preprocessed image under a Gaussian; `"sky"`: constant,
            its lower quartile; or images of the shape of `images`, each preprocessed on
            its own, as if it were classified.
        blur: Width of that Gaussian. *Unit*: pixels.
        steps: Points of the quadrature: gradients an image.
        batch_size: Images that go through the network at once.
        progress: Whether to show a progress bar.
        device: Where to compute, on a copy of the model; see `lensequiv.predict`. Where
            the model is if None.

    Returns:
        The maps and what they were made of.

    Raises:
        ImportError: captum is not installed.
        ImageError: An image is not usable.
        ValueError: An unknown class or baseline, a number out of range, a device that
            is not there, or images that do not fit the model.
    """
    from tqdm.auto import tqdm

    explain = _captum()
    if steps < 1 or batch_size < 1:
        raise ValueError(
            f"steps={steps}, batch_size={batch_size}: expected positive integers"
        )
    place = (
        next(model.parameters()).device if device is None else resolve_device(device)
    )
    given = as_images(images, name="images").cpu()
    inputs = model.preprocess(given)
    model.check_input(inputs)
    baselines = _baselines(model, inputs, given, baseline, blur)
    network = network_of(model, "fp32", place)
    each = max(1, batch_size // steps)
    targets = _labels(model, target, len(inputs), "target")
    minus = _labels(model, against, len(inputs), "against")
    maps, difference, found = [], [], []
    bar = tqdm(total=len(inputs), unit="img", disable=not progress)
    with bar:
        for part in torch.arange(len(inputs)).split(each):
            shared, wanted, classes = _shares(
                network,
                inputs[part].to(place),
                baselines[part].to(place),
                None if targets is None else targets[part],
                None if minus is None else minus[part],
                explain,
                steps,
            )
            maps.append(shared)
            difference.append(wanted)
            found.append(classes)
            bar.update(len(part))
    joined, total = torch.cat(maps), torch.cat(difference)
    return Attribution(
        maps=joined,
        inputs=inputs,
        baselines=baselines,
        difference=total,
        error=joined.sum((1, 2)) - total,
        target=torch.cat(found),
        against=minus,
        offset=model.preprocess.offset(*given.shape[-2:]),
        image_size=(given.shape[-2], given.shape[-1]),
    )


def _shares(
    network: Callable[[Tensor], Tensor],
    x: Tensor,
    b: Tensor,
    target: Tensor | None,
    against: Tensor | None,
    explain: Any,
    steps: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Shares the logits of a batch `x` over that of its baselines `b` out.

    Returns:
        (N, H, W) contributions, (N,) what was shared out, and (N,) classes, all on the
        processor.
    """
    with torch.no_grad():
        ends = network(torch.cat([x, b])).float().cpu().unflatten(0, (2, -1))
    classes = ends[0].argmax(1) if target is None else target
    rows = torch.arange(len(x))
    weights = torch.zeros(ends.shape[1:])
    weights[rows, classes] += 1
    if against is not None:
        weights[rows, against] -= 1

    def value(x: Tensor, weight: Tensor) -> Tensor:
        return (network(x).float() * weight).sum(1)

    with torch.enable_grad():
        found = explain(value).attribute(
            x, b, additional_forward_args=(weights.to(x.device),), n_steps=steps
        )
    maps: Tensor = found.detach().sum(1).float().cpu()
    return maps, ((ends[0] - ends[1]) * weights).sum(1), classes


def _captum() -> Any:
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise ImportError(
            "attributions need captum: pip install 'lensequiv[saliency]'"
        ) from error
    return IntegratedGradients


def _baselines(
    model: LensNetwork,
    inputs: Tensor,
    given: Tensor,
    baseline: str | NDArray[Any] | Tensor,
    blur: float,
) -> Tensor:
    if isinstance(baseline, str):
        if baseline == "blur":
            return smooth_maps(inputs, blur)
        if baseline == "sky":
            sky = inputs.flatten(2).quantile(_SKY, 2)[..., None, None]
            return sky.expand_as(inputs).clone()
        raise ValueError(
            f"baseline={baseline!r}: expected 'blur', 'sky' or an array of images"
        )
    images = as_images(baseline, name="baseline").cpu()
    if images.shape != given.shape:
        raise ValueError(
            f"baseline has the shape {tuple(images.shape)}; expected that of the "
            f"images, {tuple(given.shape)}"
        )
    return model.preprocess(images)


def _labels(
    model: LensNetwork, given: Labels | None, n: int, name: str
) -> Tensor | None:
    """N class indices from names or indices, one or N; None if none were given."""
    if given is None:
        return None
    items: Sequence[Label]
    if isinstance(given, Tensor | np.ndarray):
        items = given.tolist()
    else:
        items = [given] * n if isinstance(given, str | int) else list(given)
    if len(items) != n:
        raise ValueError(f"{name} has {len(items)} classes; expected one or {n}")
    known = {c: i for i, c in enumerate(model.classes)}
    found = []
    for item in items:
        index = known.get(item, -1) if isinstance(item, str) else int(item)
        if not 0 <= index < model.num_classes:
            raise ValueError(
                f"{name}={item!r}: expected one of {', '.join(model.classes)}, or an "
                f"index below {model.num_classes}"
            )
        found.append(index)
    return torch.tensor(found)
