"""Full precision and reproducible products; which networks a processor runs.

On a processor these tests show little that others do not: there they run with a few
networks, in half precision (which most processors emulate) with one.
"""

import os
from pathlib import Path

import pytest
import torch

from lensequiv._neutral import without_tf32

ON_PROCESSORS = ("d4", "o2", "singh2021-c4")
IN_HALF = "d4"
HALF = (torch.bfloat16, torch.float16)

# cuBLAS asks for it where its results shall be the same every time.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@pytest.fixture(autouse=True)
def _without_tf32():
    """CUDA's convolutions round to TF32's ten bits unless told otherwise."""
    with without_tf32():
        yield


def _worth_a_processor(item):
    """Whether a test of this folder shows something where there is no accelerator."""
    values = item.callspec.params if hasattr(item, "callspec") else {}
    name = values.get("name")
    if name is None:
        return True
    half = values.get("dtype") in HALF or "bf16" in item.originalname
    return name == IN_HALF if half else name in ON_PROCESSORS


def pytest_collection_modifyitems(config, items):
    if config.accelerated:
        return
    here = Path(__file__).parent
    kept, left_out = [], []
    for item in items:
        worth = here not in item.path.parents or _worth_a_processor(item)
        (kept if worth else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept
