"""The lenses of `real_lenses.py`: real ones in every band, and simulated ones."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lensequiv.data import find_images, read_stored
from lensequiv.simulation import NoSubstructure, get_recipe, simulate
from lensequiv.transforms import resample

Image = NDArray[np.float32]

SCALE = 0.05  # arcsec/pixel, to which everything is brought
SIDE = 115  # pixels that are kept: more than any weight sees, so that images can turn

# Scales that the files do not tell (see ORIGIN.md of each folder).
_HUBBLE = 0.05
_WEBB = {"F115W": 0.03, "F150W": 0.03, "F277W": 0.06, "F444W": 0.06}
_EUCLID = {
    "102018665_NEG570040238507752998.fits": (
        "Euclid Q1 102018665",
        "VIS_BGSUB NIR_Y_BGSUB NIR_J_BGSUB NIR_H_BGSUB DES_G_BGSUB DES_R_BGSUB "
        "DES_I_BGSUB DES_Z_BGSUB",
    ),
    "group.fits": ("Euclid Q1 group", "VIS_FLUX NIR_Y_FLUX NIR_J_FLUX NIR_H_FLUX"),
}
_DOLPHIN = {
    "image_lens_system1_F390W.h5": ("dolphin system 1", "F390W"),
    "image_lens_system3_F475X.h5": ("dolphin system 3", "F475X"),
    "image_lens_system3_F600LP.h5": ("dolphin system 3", "F600LP"),
    "image_lensed_quasar_F814W.h5": ("dolphin quasar", "F814W"),
}
_SDSS = {  # plate-MJD-fibre of the Sloan survey, as the files are called
    "0605-52353-503": "0605-503",
    "0677-52606-520": "0677-520",
    "0722-52224-442": "0722-442",
    "0902-52409-068": "0902-068",
    "0969-52442-134": "0969-134",
    "GAL-0364-52000-084": "0364-084",
}
CLAIMED = "J0946+1006"
"""The only lens of these in which a subhalo is claimed (Vegetti et al. 2010)."""


@dataclass(frozen=True)
class Seen:
    """A lens in one band.

    Attributes:
        lens: Its name.
        band: The filter, or the reduction.
        pixels: (H, W) at most 115 x 115, of 0.05 arcsec.
        first: Whether this is the band by which the lens counts in rates.
        kind: "real", or the recipe and whether there is substructure.
        path: The file, for `predict`; None for simulated lenses.
        options: Of `predict`, so that it reads this file as it is.
    """

    lens: str
    band: str
    pixels: Image
    first: bool = True
    kind: str = "real"
    path: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What its answers are kept under."""
        return f"{self.kind}: {self.lens}, {self.band}"


def read(lens: str, band: str, path: Path, **options: Any) -> Seen:
    """One image of a file, brought to 0.05 arcsec and cut to its centre.

    Args:
        lens: Its name.
        band: The filter.
        path: The file.
        **options: `plane`, `pixel_scale` and `first`.
    """
    first, plane = options.pop("first", True), options.get("plane")
    stored = read_stored(path, plane=plane, trim=True)
    scale = options.get("pixel_scale") or stored.pixel_scale
    if scale is None:
        raise ValueError(f"{path}: its pixel scale is not known; give --pixel-scale")
    image = torch.from_numpy(stored.image[:1])
    if abs(scale / SCALE - 1) > 0.01:
        image = resample(image, scale, SCALE)
    return Seen(lens, band, centre(image[0].numpy()), first, "real", path, options)


def centre(pixels: Image, side: int = SIDE) -> Image:
    """The central part of at most so many pixels a side; sides are made odd.

    With a pixel in the centre, a quarter turn leaves a network's crop where it was.
    """
    height, width = (min(n - 1 + n % 2, side) for n in pixels.shape)
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def real_images(folder: Path) -> list[Seen]:
    """All lenses below a folder that has the subfolders of this project's data."""
    found = []
    for path in sorted((folder / "slacs13_hst").glob("*.npy")):
        name = path.stem.removesuffix("_npix100")
        name = "SDSS " + _SDSS[name] if name in _SDSS else name.removeprefix("SDSS")
        found.append(read(name, "F814W", path, pixel_scale=_HUBBLE))
    path = folder / "slacs_J0946" / "data.fits"
    if path.exists():
        found.append(
            read(
                CLAIMED, "F814W, drizzled anew", path, pixel_scale=_HUBBLE, first=False
            )
        )
    for band, scale in _WEBB.items():
        path = folder / "jwst_cosmos_web_ring" / f"{band}_data.fits"
        if path.exists():
            first = band == "F277W"
            found.append(
                read("COSMOS-Web ring", band, path, pixel_scale=scale, first=first)
            )
    for name, (lens, planes) in _EUCLID.items():
        path = folder / "euclid_q1" / name
        for plane in planes.split() if path.exists() else ():
            band = plane.rpartition("_")[0]
            found.append(read(lens, band, path, plane=plane, first=band == "VIS"))
    for name, (lens, band) in _DOLPHIN.items():
        path = folder / "dolphin_hst" / name
        if path.exists():
            found.append(read(lens, band, path, first=band != "F475X"))
    return found


def other_images(paths: list[Path], scale: float | None) -> list[Seen]:
    """Lenses of somebody else, named by their files."""
    files = []
    for path in paths:
        files += find_images(path) if path.is_dir() else [path]
    given = {} if scale is None else {"pixel_scale": scale}
    return [read(path.stem, "as given", path, **given) for path in files]


def simulated(name: str, smooth: int, others: int, seed: int) -> list[Seen]:
    """Lenses of a recipe whose light was not subtracted.

    Args:
        name: Of the recipe.
        smooth: How many without substructure.
        others: How many with, half `sphere`, half `vort`.
        seed: Of the first; the others are made with the next.
    """
    recipe = get_recipe(name)
    base = recipe.name.partition("@")[0]
    alone = replace(recipe, name="smooth", substructure={"no": NoSubstructure()})
    rest = {k: v for k, v in recipe.substructure.items() if k in ("sphere", "vort")}
    clumpy = replace(recipe, name="clumpy", substructure=rest)
    found = []
    for made, count, kind in (
        (alone, smooth, "smooth"),
        (clumpy, others, "with substructure"),
    ):
        lenses = simulate(made, 2 * count if base == "hst" else count, seed=seed)
        seed += 1
        light = lenses.parameters.get(
            "light_amplitude", np.ones((len(lenses.images), 1))
        )
        kept = np.flatnonzero(~(np.asarray(light) < 0).any(1))[:count]
        for number, i in enumerate(kept):
            pixels = centre(lenses.images[i].numpy())
            label = lenses.classes[lenses.labels[i]]
            found.append(
                Seen(f"{label} {number}", base, pixels, kind=f"{base}, {kind}")
            )
    return found
