"""The few sample images that come with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from lensequiv.data.errors import ImageError
from lensequiv.data.finding import find_images


def sample_paths(model: str | None = None) -> list[Path]:
    """List the bundled sample images.

    They are simulated lenses of 150 x 150 pixels in counts, named
    `<simulation>-<class>-<number>.npy`; `read_image` reads them.

    Args:
        model: Simulation to keep, such as `modelF` or `modelJ`; None for all.

    Returns:
        The files, in natural order.

    Raises:
        FileNotFoundError: The package was installed without its samples.
        ValueError: There are no samples of this simulation.
    """
    folder = _folder()
    try:
        paths = find_images(folder)
    except (FileNotFoundError, ImageError) as error:
        raise FileNotFoundError(
            f"{folder} holds no sample image; expected files such as"
            " modelF-sphere-0.npy, which come with the package: reinstall lensequiv"
        ) from error
    if model is None:
        return paths
    chosen = [path for path in paths if _simulation(path) == model]
    if not chosen:
        known = ", ".join(sorted({_simulation(path) for path in paths}))
        raise ValueError(f"there are no samples of {model!r}; expected one of {known}")
    return chosen


def _folder() -> Path:
    """Return the folder of the bundled images, which need not exist."""
    return Path(str(resources.files("lensequiv.data"))) / "samples"


def _simulation(path: Path) -> str:
    """Return the first part of a sample's name: the simulation it comes from."""
    return path.name.split("-")[0]
