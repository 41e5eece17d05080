"""Full precision and reproducible products on the device under test."""

import os

import pytest
import torch

# cuBLAS asks for it where its results shall be the same every time.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture(autouse=True)
def _without_tf32():
    """CUDA's convolutions round to TF32's ten bits unless told otherwise."""
    places = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [place.allow_tf32 for place in places]
    for place in places:
        place.allow_tf32 = False
    yield
    for place, value in zip(places, before, strict=True):
        place.allow_tf32 = value
