import numpy as np
import pytest
import torch
from PIL import Image

import lensequiv
from lensequiv.equivariance import (
    measure,
    orbit_maps,
    orbits,
    project,
    rotated_lenses,
)
from lensequiv.plots import (
    animate_orbit,
    plot_equivariance,
    plot_orbit,
    plot_projection,
)

pytestmark = pytest.mark.slow

TINY = {"stem_fields": 2, "stages": [[2], [3]], "stem_kernel": 9, "kernel": 3}
ANGLES = (0, 45, 90, 180, 360)


@pytest.fixture(scope="module")
def lenses():
    return rotated_lenses("modelF", 3, seed=4, angles=ANGLES)


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(1)
    return {
        "c4": lensequiv.create_model("c4", **TINY).eval(),
        "plain": lensequiv.create_model("resnet18").eval(),
    }


@pytest.fixture(scope="module")
def found(networks, lenses):
    return [orbits(model, lenses, name=name) for name, model in networks.items()]


@pytest.fixture(scope="module")
def maps(networks, found):
    return [
        orbit_maps(model, orbit, lens=1)
        for model, orbit in zip(networks.values(), found, strict=True)
    ]


def test_error_against_angle(found, networks, tmp_path):
    noisy = rotated_lenses("modelF", 3, seed=4, angles=(0, 90), noise=True)
    with_noise = orbits(networks["c4"], noisy, name="c4").report()
    reports = [*(orbit.report() for orbit in found), with_noise]
    figure = plot_equivariance(reports, path=tmp_path / "curve.png")
    (panel,) = figure.axes
    assert panel.get_yscale() == "linear" and panel.get_ylim()[0] == 0
    curves = {c.get_label(): c for c in panel.lines if len(c.get_xdata()) > 1}
    curves = {label: c for label, c in curves.items() if label[0] != "_"}
    assert list(curves) == ["c4", "plain", "c4, with noise"]
    for report, curve in zip(reports, curves.values(), strict=True):
        rows = report.of("logits")
        np.testing.assert_allclose(curve.get_ydata(), [row.error for row in rows])
        angles = [row.element.angle for row in rows]
        np.testing.assert_allclose(curve.get_xdata(), angles)
    assert curves["c4"].get_color() == curves["c4, with noise"].get_color()
    assert curves["c4"].get_color() != curves["plain"].get_color()
    legend = [text.get_text() for text in figure.legends[0].texts]
    assert legend == list(curves)
    assert "degrees" in panel.get_xlabel() and "logits" in panel.get_ylabel()
    (panel,) = plot_equivariance(reports, scale="log").axes
    assert panel.get_yscale() == "log"
    errors = [row.error or np.nan for row in reports[0].of("logits")]
    np.testing.assert_allclose(panel.lines[0].get_ydata(), errors)
    with pytest.raises(ValueError, match="expected 'linear' or 'log'"):
        plot_equivariance(reports, scale="sqrt")
    other = plot_equivariance(reports[:1], quantity="embedding")
    assert "embedding" in other.axes[0].get_ylabel()
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_pixel_grid_reports_have_no_curve(networks, lenses):
    report = measure(networks["c4"], lenses.reference)
    with pytest.raises(ValueError, match="c4: a report on the pixel grid"):
        plot_equivariance([report])
    with pytest.raises(ValueError, match="reports is empty"):
        plot_equivariance([])


def test_projection_has_a_trail_for_each_lens(found, tmp_path):
    figure = plot_projection(found, path=tmp_path / "p.png")
    assert len(figure.axes) == 2
    for panel, orbit in zip(figure.axes, found, strict=True):
        name, spread = panel.get_title().splitlines()
        assert (name, spread) == (orbit.model, f"spread {orbit.spread:.2g}")
        trails = [c.get_xydata() for c in panel.lines if c.get_linestyle() == "-"]
        trails = [trail for trail in trails if len(trail)]
        wanted = project(orbit.embeddings)
        for trail, lens in zip(trails, wanted.swapaxes(0, 1), strict=True):
            np.testing.assert_allclose(trail, lens)
    classes = [text.get_text() for text in figure.axes[0].get_legend().texts]
    assert classes == ["no", "sphere", "vort"]
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="orbits is empty"):
        plot_projection([])


def test_orbit_shows_maps_turned_back(maps, lenses, tmp_path):
    figure = plot_orbit(maps, path=tmp_path / "orbit.png")
    shown = [0, 45, 90, 180]
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert titles == [f"{angle}\N{DEGREE SIGN}" for angle in shown]
    pictures = [axes for axes in figure.axes if axes.images]
    lens, first, second = pictures[:4], pictures[4:9], pictures[9:14]
    assert not np.array_equal(
        lens[0].images[0].get_array(), lens[1].images[0].get_array()
    )
    for row, one in ((first, maps[0]), (second, maps[1])):
        assert row[0].get_ylabel() == f"{one.orbits.model}\n{one.layer}"
        side = one.strength.shape[-1]
        middle = slice(side // 4, -(side // 4))
        for axes, angle in zip(row, shown, strict=False):
            drawn = axes.images[0].get_array()
            wanted = one.stable_strength[ANGLES.index(angle)].numpy()
            np.testing.assert_allclose(drawn[middle, middle], wanted[middle, middle])
            assert np.isnan(np.ma.filled(drawn, np.nan)[0, 0])  # the corners are off
        strip = row[-1].images[0].get_array()
        components = min(16, one.orbits.embeddings.shape[2])
        assert strip.shape == (components, len(ANGLES))
    # C4 at 90 degrees: the same picture, the same arrows, the same embedding.
    still, turned = (first[i].images[0].get_array() for i in (0, 2))
    np.testing.assert_allclose(still, turned, atol=1e-4)
    arrows = [first[i].collections[0] for i in (0, 2)]
    np.testing.assert_allclose(arrows[0].U, arrows[1].U, atol=1e-3)
    assert np.abs(arrows[0].U).max() > 0.1
    strip = first[-1].images[0].get_array()
    np.testing.assert_allclose(strip[:, 0], strip[:, 2], atol=1e-3)
    assert np.abs(strip[:, 0] - strip[:, 1]).max() > 0.01
    assert not second[0].collections  # no arrows without a group
    assert (tmp_path / "orbit.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_animation_has_a_frame_for_each_angle(maps, tmp_path):
    path = animate_orbit(maps, tmp_path / "orbit.gif", milliseconds=70)
    with Image.open(path) as animation:
        assert animation.n_frames == len(ANGLES) - 1  # 360 degrees is 0
        assert animation.info["duration"] == 70 and animation.info["loop"] == 0
        frames = []
        for i in range(animation.n_frames):
            animation.seek(i)
            frames.append(np.asarray(animation.convert("RGB"), dtype=int))
    height, width, _ = frames[0].shape
    # The columns are lens, C4, plain; the rows as it is, turned back, embedding.
    change = np.abs(frames[2] - frames[0]).mean(2)  # 90 degrees
    as_it_is, back = change[: height // 3], change[int(height * 0.4) : height * 2 // 3]
    column = slice(width // 3, 2 * width // 3)
    assert as_it_is[:, column].mean() > 3
    assert back[:, column].mean() < 0.2
    assert back[:, 2 * width // 3 :].mean() > 1


def test_orbits_of_different_lenses_do_not_mix(maps, networks, found):
    other = orbit_maps(networks["c4"], found[0], lens=0)
    with pytest.raises(ValueError, match="maps show different lenses"):
        plot_orbit([*maps, other])
    with pytest.raises(ValueError, match="maps is empty"):
        plot_orbit([])
