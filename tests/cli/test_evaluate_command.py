import json

import pytest

from lensequiv.cli import main
from lensequiv.evaluation import perturbations
from lensequiv.simulation import get_recipe


@pytest.mark.slow
def test_perturb(capsys, tmp_path):
    argv = ["evaluate", "--perturb", "modelF", "--weights", "c8-modelF"]
    argv += ["--images", "3", "--seed", "5", "--device", "cpu"]
    assert main([*argv, "--report", str(tmp_path / "r.json")]) == 0
    out, err = capsys.readouterr()
    head = "c8-modelF on changes of modelF@1, seed 5: 3 lenses a change"
    assert out.splitlines()[0] == head
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    changes = [*perturbations(get_recipe("modelF"))]
    assert [row["change"] for row in rows[: len(changes)]] == changes
    assert rows[0]["images"] == 3 and rows[0]["accuracy"] == 1
    assert f"{rows[1]['auc']:.4f}" in out
    assert "r.json" in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--perturb", "modelF", "--limit", "3"], "--limit: not with --perturb"),
        (["--perturb", "modelF", "--resamples", "0"], "--resamples: not with --per"),
        (["--perturb", "modelK"], "unknown recipe 'modelK'; did you mean"),
        (["--perturb", "modelF", "--report", "r.txt"], "r.txt: expected a folder"),
        (["data", "--images", "3"], "--images: only with --perturb RECIPE"),
    ],
)
def test_options_that_do_not_go_together(capsys, argv, message):
    assert main(["evaluate", "--weights", "c8-modelF", *argv]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["data", "--perturb", "modelF"]])
def test_either_data_or_a_recipe(capsys, argv):
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "--weights", "c8-modelF", *argv])
    assert "expected either DIR or --perturb RECIPE" in capsys.readouterr().err
