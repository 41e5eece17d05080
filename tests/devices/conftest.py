"""Full precision and reproducible products on the device under test."""

import os

import pytest

from lensequiv._neutral import without_tf32

# cuBLAS asks for it where its results shall be the same every time.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture(autouse=True)
def _without_tf32():
    """CUDA's convolutions round to TF32's ten bits unless told otherwise."""
    with without_tf32():
        yield
