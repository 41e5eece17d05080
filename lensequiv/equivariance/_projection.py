"""Embeddings of turned lenses: how far they wander, and a map of them."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["orbit_spread", "project"]


def orbit_spread(embeddings: Tensor) -> float:
    """How far a lens's embedding wanders while the lens turns.

    The mean distance of an orbit's points from their centre, over the mean distance
    between the centres of two lenses. 0 for an invariant embedding; 1 where turning a
    lens does as much as taking another one. A constant embedding has no spread.

    Args:
        embeddings: (A, N, D): N lenses at each of A angles.

    Returns:
        The ratio.

    Raises:
        ValueError: There are fewer than two lenses or all have the same centre.
    """
    if embeddings.ndim != 3 or embeddings.shape[1] < 2:
        raise ValueError(
            f"embeddings of shape {tuple(embeddings.shape)}; expected (angles, lenses, "
            "D) with at least two lenses"
        )
    points = embeddings.double()
    centres = points.mean(0)
    wander = (points - centres).norm(dim=2).mean()
    apart = torch.pdist(centres).mean()
    if apart == 0:
        raise ValueError("all lenses have the same embedding; expected different ones")
    return float(wander / apart)


def project(
    embeddings: Tensor, method: Literal["pca", "umap"] = "pca", seed: int = 0
) -> NDArray[np.float64]:
    """A flat map of embeddings.

    Args:
        embeddings: (A, N, D).
        method: `"pca"`: the plane in which the points spread most. `"umap"`: UMAP
            (McInnes et al., arXiv:1802.03426), which keeps neighbours, not distances.
        seed: Of UMAP.

    Returns:
        (A, N, 2).

    Raises:
        ImportError: `method="umap"` and umap-learn is not installed.
        ValueError: Unknown method.
    """
    points = embeddings.double().flatten(0, 1).numpy()
    shape = (*embeddings.shape[:2], 2)
    if method == "pca":
        centred = points - points.mean(0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        flat: NDArray[np.float64] = centred @ axes[:2].T
        return flat.reshape(shape)
    if method == "umap":
        try:
            import umap
        except ImportError as error:
            raise ImportError(
                "method='umap' needs umap-learn: pip install umap-learn"
            ) from error
        flat = umap.UMAP(random_state=seed, n_jobs=1).fit_transform(points)
        return flat.astype(np.float64).reshape(shape)
    raise ValueError(f"method={method!r}: expected 'pca' or 'umap'")
