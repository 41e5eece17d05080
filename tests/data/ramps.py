"""Images that differ in every pixel, for tests of what reads them."""

import numpy as np

SHAPE = (6, 5)


def ramp(shape=SHAPE, dtype=np.float64):
    """Small whole numbers, all different: exact in every type under test."""
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


def save(path, array):
    np.save(path, array)
    return path
