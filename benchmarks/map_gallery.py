"""Pictures for `docs/maps.md`: lenses with truth and map, and maps beside saliency.

python benchmarks/map_gallery.py --maps maps.png --saliency maps-saliency.png
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import lensequiv
from lensequiv.evaluation import detection
from lensequiv.inference import Options, SubstructureMap, network_inputs, source_of
from lensequiv.models import LensNetwork
from lensequiv.plots import check_picture, plot_maps
from lensequiv.plots._style import NORMAL, SMALL, figure_class, finish
from lensequiv.saliency import integrated_gradients, smooth_maps
from lensequiv.simulation import Halos, Simulation, get_recipe, simulate

J = get_recipe("modelJ")
SEED = 77


def one_subhalo(mass: float, place: tuple[float, float]) -> Simulation:
    """A lens of Model J, smooth but for one point mass."""
    halo = Halos(number=1, mass=(mass, mass), profile="point", place=place)
    return simulate(replace(J, name="one", substructure={"one": halo}), 1, seed=SEED)


def chosen() -> list[tuple[str, Simulation, int]]:
    """Title, simulation, and which of its lenses."""
    study = simulate(J, 6, seed=SEED)  # two of each class
    return [
        ("smooth", study, 0),
        ("$10^{10}$ solar masses", one_subhalo(1e10, (0.9, 0.8)), 0),
        ("$10^{9.5}$", one_subhalo(10**9.5, (-1.1, 0.3)), 0),
        ("$10^{9}$", one_subhalo(1e9, (0.9, 0.8)), 0),
        ("Model J, sphere", study, 2),
        ("Model J, vort", study, 4),
    ]


def parameters_of(simulation: Simulation, index: int) -> dict[str, NDArray[np.float64]]:
    """The numbers of one lens."""
    return {
        name: value[index : index + 1] for name, value in simulation.parameters.items()
    }


def truth_of(
    parameters: dict[str, NDArray[np.float64]], one: SubstructureMap
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The true convergence on the map's grid, and the subhalos in its coordinates."""
    (subhalos,) = detection.placed_subhalos(
        parameters, [one], pixels=J.pixels, pixel_scale=J.pixel_scale
    )
    kappa = detection.true_convergence(
        subhalos[:, 0],
        subhalos[:, 1],
        parameters["mass_theta2"][0],
        shape=(one.presence.shape[0], one.presence.shape[1]),
        cell=one.cell,
        smoothing=one.spec.smoothing,
    )
    return kappa, subhalos


def beside_saliency(
    model: LensNetwork,
    images: torch.Tensor,
    maps: list[SubstructureMap],
    subhalos: list[NDArray[np.float64]],
    titles: list[str],
    path: Path,
) -> None:
    """Image, attribution of the classes, and presence: a column for each lens."""
    found = integrated_gradients(model, images, target="sphere", against="no")
    smooth = smooth_maps(found.maps, 1.0).numpy()
    count = len(maps)
    figure: Any = figure_class()(figsize=(2.3 * count, 6.6), layout="constrained")
    panels = figure.subplots(3, count, sharex=True, sharey=True, squeeze=False)
    limit = float(np.quantile(np.abs(smooth), 0.999))
    for i, column in enumerate(panels.T):
        image = found.inputs[i, 0].clamp_min(0).sqrt().numpy()
        half = image.shape[0] * J.pixel_scale / 2
        square: dict[str, Any] = {"origin": "lower", "extent": (-half, half) * 2}
        column[0].imshow(image, cmap="gray", **square)
        column[1].imshow(smooth[i], cmap="PuOr", vmin=-limit, vmax=limit, **square)
        column[2].imshow(
            maps[i].presence.numpy(),
            cmap="cividis",
            vmin=0,
            vmax=1,
            origin="lower",
            extent=maps[i].extent,
        )
        real = subhalos[i][subhalos[i][:, 2] > 0]
        for panel, edge in zip(column, ("white", "black", "white"), strict=True):
            panel.scatter(
                *real[:, :2].T,
                s=60 * real[:, 2] / 1e10,
                facecolors="none",
                edgecolors=edge,
                linewidths=0.8,
            )
            panel.tick_params(labelsize=SMALL)
            panel.set(xlim=(-half, half), ylim=(-half, half))
        column[0].set_title(titles[i], fontsize=NORMAL)
        column[2].set_xlabel("arcsec", fontsize=SMALL)
    rows = ("image", "saliency: sphere against no", "map: presence")
    for panel, name in zip(panels[:, 0], rows, strict=True):
        panel.set_ylabel(f"{name}\narcsec", fontsize=SMALL)
    finish(figure, path)


def main() -> None:
    """Draws both."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--weights", default="c8-modelJ")
    p.add_argument("--maps", type=check_picture, required=True)
    p.add_argument("--saliency", type=check_picture, required=True)
    args = p.parse_args()
    model = lensequiv.from_pretrained(args.weights)
    lenses = chosen()
    titles = [title for title, _, _ in lenses]
    images = torch.stack([made.images[i] for _, made, i in lenses])
    maps = model.predict_map(images)
    seen = network_inputs(model, source_of(images, None), Options())
    pairs = [
        truth_of(parameters_of(made, i), one)
        for (_, made, i), one in zip(lenses, maps, strict=True)
    ]
    truth, subhalos = [kappa for kappa, _ in pairs], [places for _, places in pairs]
    plot_maps(
        maps,
        [image.numpy() for image in seen],
        truth=truth,
        subhalos=subhalos,
        titles=titles,
        path=args.maps,
    )
    few = [0, 1, 2, 4, 5]
    beside_saliency(
        model,
        images[few],
        [maps[i] for i in few],
        [subhalos[i] for i in few],
        [titles[i] for i in few],
        args.saliency,
    )


if __name__ == "__main__":
    main()
