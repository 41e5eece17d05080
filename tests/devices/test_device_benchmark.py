"""Every kind of configuration of benchmarks/gpu.py runs on the device under test."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("gpu")


@pytest.fixture
def measured(gpu, device):
    clock = gpu.Clock(device, seconds=0.0, most=1)

    def measure(case):
        return gpu.measured(replace(case, batch=3), device, clock, 100.0)

    return measure


@pytest.mark.slow
@pytest.mark.parametrize("task, memory", [("train", "NHWC"), ("predict", "NCHW")])
def test_rates(task, memory, gpu, measured):
    row = measured(gpu.Case(task, "c8", 3, memory=memory))
    assert "skipped" not in row, row
    assert row["images/s"] > 0
    assert row["task"] == task and row["memory"] == memory


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_from_files_to_probabilities(precision, gpu, measured):
    row = measured(gpu.Case("files", "c8-modelF", 3, precision))
    assert "skipped" not in row, row
    assert row["images/s"] > 0


@pytest.mark.accelerator("that training steps can be recorded as CUDA graphs")
@pytest.mark.parametrize("memory", ["NCHW", "NHWC"])
@pytest.mark.parametrize("launch", ["graphs", "one graph"])
@pytest.mark.parametrize("model", ["c8", "c8 newer", "resnet18", "singh2021-c8"])
def test_graphs(model, launch, memory, gpu, measured, device):
    if device.type != "cuda":
        pytest.skip("CUDA graphs are CUDA's")
    row = measured(gpu.Case("train", model, 3, launch=launch, memory=memory))
    assert "skipped" not in row, row


@pytest.mark.slow
def test_what_fails_is_skipped_with_its_reason(gpu, measured):
    row = measured(gpu.Case("train", "no-such-network", 3))
    assert "no-such-network" in row["skipped"]
    assert "images/s" not in row


@pytest.mark.slow
def test_what_takes_too_long_is_ended(gpu, device):
    clock = gpu.Clock(device, seconds=0.0, most=1)
    row = gpu.measured(gpu.Case("train", "c8", 3), device, clock, 0.05)
    assert row["skipped"].startswith("TooLongError: took more than")
