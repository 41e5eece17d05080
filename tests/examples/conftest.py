import sys
from pathlib import Path

import numpy as np
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


@pytest.fixture
def die_at_first_checkpoint(monkeypatch):
    """From its call on, the next training ends once its first checkpoint is written.

    It returns the steps of all checkpoints from then on, a list that grows.
    """
    import train

    def begin():
        save, steps = train.save_atomically, []

        def save_then_die(state, path):
            save(state, path)
            steps.append(state["step"])
            if len(steps) == 1:
                raise KeyboardInterrupt

        monkeypatch.setattr(train, "save_atomically", save_then_die)
        return steps

    return begin


@pytest.fixture
def write(tmp_path):
    """Writes sets of class folders with three images of noise a class."""

    def write(splits, classes=("a", "b")):
        random = np.random.default_rng(0)
        for split in splits:
            for name in classes:
                folder = tmp_path / split / name
                folder.mkdir(parents=True)
                for i in range(3):
                    np.save(folder / f"{i}.npy", random.random((64, 64)))
        return tmp_path

    return write
