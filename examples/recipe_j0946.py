"""Lenses like SDSSJ0946+1006 as ACS sees it in F814W, their own light subtracted.

    lensequiv simulate examples/recipe_j0946.py --sheet sheet.png

Redshifts, Einstein radius and exposure are those of the lens; what is unknown of such a
lens is drawn as in the recipe `hst`. `sphere` has some 2.4 subhalos of three kinds,
from a point to a halo of high concentration: the one that is claimed in this lens is
more compact than cold dark matter has them (Minor et al. 2021, arXiv:2011.10627).
"""

from dataclasses import replace
from typing import Any

from lensequiv.simulation import (
    Combined,
    Halos,
    NoSubstructure,
    get_instrument,
    get_recipe,
)

hst: Any = get_recipe("hst")
light, neighbours, *sources = hst.lights


def _some(**profile: object) -> Halos:
    """Subhalos of one kind, their masses spread evenly in the logarithm."""
    return Halos(
        number=0.8,
        poisson=True,
        slope=-1.0,
        radius=(0.3, 2.0),
        area=True,
        **profile,  # type: ignore[arg-type]
    )


recipe = replace(
    hst,
    name="j0946",
    z_lens=(0.222, 0.222),
    z_source=(0.609, 0.609),
    einstein_radius=(1.25, 1.5),
    deflector=replace(
        hst.deflector,
        slope=(1.85, 2.35),
        axis_ratio=(0.75, 1.0),
        fourth=(0.0, 0.01),
    ),
    source_radius=(0.0, 0.4),
    lights=(
        # A model of the lens's light was subtracted, good to 1 %.
        replace(light, subtracted=1.0, residual=0.01),
        replace(
            neighbours,
            galaxies=0.5,
            stars=0.0,
            distance=(1.9, 4.0),
            ratio=(0.03, 1.0),
            radius=(0.1, 0.4),
        ),
        *sources,
    ),
    noise=get_instrument("hst-acs-f814w").camera(
        magnitude=(21.7, 24.0),
        sky_brightness=(21.7, 22.4),
        exposure=(1800.0, 2400.0),
        correlation=(0.2, 0.5),
        gradient=(0.0, 0.1),
    ),
    substructure={
        "no": NoSubstructure(),
        "sphere": Combined(
            (
                _some(profile="point", mass=(3e8, 1e10)),
                _some(mass=(2e9, 3e10), concentration=(60, 200), truncation=(3, 20)),
                _some(mass=(5e9, 3e10), concentration=(20, 60), truncation=(3, 20)),
            )
        ),
    },
)
