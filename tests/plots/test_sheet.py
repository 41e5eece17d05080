"""`plot_sheet`."""

from dataclasses import replace

import numpy as np
import pytest

from lensequiv.plots import plot_sheet
from lensequiv.simulation import get_recipe, simulate


@pytest.mark.slow
def test_sheet(tmp_path):
    recipe = replace(get_recipe("wide"), pixels=32, ring=(5.0, 10.0))
    lenses = simulate(recipe, 6, seed=0)
    figure = plot_sheet(lenses, each=2, path=tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    assert [panel.get_title() for panel in figure.axes] == [
        name for name in ("no", "sphere", "vort") for _ in range(2)
    ]
    for index, panel in enumerate(figure.axes):
        half = 16 * lenses.parameters["pixel_scale"][index]
        np.testing.assert_allclose(panel.get_xlim(), (-half, half))
        ring = panel.lines[0].get_xydata()
        centre = [lenses.parameters[f"halo_{axis}"][index] for axis in "xy"]
        np.testing.assert_allclose(
            np.hypot(*(ring - centre).T), lenses.parameters["theta_e"][index]
        )
    assert not plot_sheet(lenses, each=1, truth=False).axes[0].lines
