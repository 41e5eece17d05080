"""Calibrating a folder in place."""

import importlib.util
import sys
from pathlib import Path

import torch

import lensequiv
from lensequiv.simulation import write_class_folders

PATH = Path(__file__).parents[2] / "examples" / "calibrate.py"


def test_folder_is_calibrated_in_place(tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("calibrate_example", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = lensequiv.create_model("c4", stem_fields=2, stages=((2,), (2,)))
    weights = model.save_pretrained(tmp_path / "weights")
    data = tmp_path / "data"
    write_class_folders("modelF", 60, data, seed=1, progress=False)
    argv = ["calibrate.py", weights, "--images", data, "--false-alarms", 0.1]
    monkeypatch.setattr(sys, "argv", [str(a) for a in argv])
    module.main()
    found = lensequiv.from_pretrained(weights)
    assert f"temperature {found.temperature:.3f}" in capsys.readouterr().out
    assert found.domain.false_alarms == 0.1
    for name, value in model.eval().tensors().items():
        assert torch.equal(found.tensors()[name], value)
