"""Checkpoints, the clock and diverged losses of the training loops."""

from pathlib import Path
from types import SimpleNamespace

import loop
import pytest
import torch


def test_a_checkpoint_is_whole_or_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    loop.save_atomically({"step": 1}, path)

    def fail(state, place):
        Path(place).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="no space"):
        loop.save_atomically({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    assert loop.read_checkpoint(path, {"lr": "0.1"}) is None
    loop.save_atomically({"step": 3, "arguments": {"lr": "0.1"}}, path)
    assert loop.read_checkpoint(path, {"lr": "0.1", "new": "1"})["step"] == 3
    with pytest.raises(FileExistsError, match=r"checkpoint.pt.*lr 0.1, not 0.2"):
        loop.read_checkpoint(path, {"lr": "0.2"})


def test_steps_are_counted_or_timed(monkeypatch):
    left = list(loop.places(2, steps=5, minutes=None, began=0.0))
    assert [place.step for place in left] == [2, 3, 4]
    assert [place.progress for place in left] == [0.5, 0.75, 1.0]
    assert [place.share for place in left] == [0.6, 0.8, 1.0]
    assert [place.last for place in left] == [False, False, True]
    times = iter([100.0, 130.0, 175.0])
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(times)))
    left = list(loop.places(7, steps=5, minutes=1.0, began=100.0))
    assert [place.step for place in left] == [7, 8, 9]
    assert [place.share for place in left] == [0.0, 0.5, 1.25]
    assert [place.progress for place in left] == [0.0, 0.5, 1.0]
    assert [place.last for place in left] == [False, False, True]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_run_ends(value):
    loop.check_finite(torch.tensor(2.0), 1)
    with pytest.raises(ValueError, match=r"step 21: .*OUT/best; try a lower --lr"):
        loop.check_finite(torch.tensor(value), 21, "OUT/best")
    with pytest.raises(ValueError, match="diverged; try a lower --lr"):
        loop.check_finite(torch.tensor(value), 21)
