import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The examples import one another as they do when run as scripts.
sys.path.insert(0, str(ROOT / "examples"))


@pytest.fixture
def fresh_accelerator():
    """Accelerate keeps the first precision of a process for good, but for tests."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
