"""What `import lensequiv` brings, and when."""

import subprocess
import sys

import pytest

import lensequiv
from lensequiv._suggestions import did_you_mean

PUBLIC = [
    "data",
    "domain",
    "equivariance",
    "evaluation",
    "files",
    "models",
    "plain",
    "plots",
    "prediction",
    "pretrained",
    "saliency",
    "simulation",
    "streaming",
    "transforms",
    "trust",
]


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.slow
def test_import_loads_no_torch_and_everything_is_reachable():
    code = (
        "import sys, lensequiv; print('torch' in sys.modules)\n"
        "print(*dir(lensequiv))\n"
        f"for name in {PUBLIC}: print(getattr(lensequiv, name).__name__)\n"
        "print(lensequiv.equivariance.measure.__name__)"
    )
    first, *rest = run(code)
    assert first == "False"
    assert {*PUBLIC, *lensequiv.__all__} <= set(rest)
    assert [f"lensequiv.{name}" for name in PUBLIC] == rest[-1 - len(PUBLIC) : -1]
    assert rest[-1] == "measure"


@pytest.mark.slow
def test_star_import_gives_what_is_public():
    names = run("from lensequiv import *; print(*vars())")
    assert set(lensequiv.__all__) <= set(names)
    assert not {"data", "lazy", "TYPE_CHECKING"} & set(names)


@pytest.mark.slow
def test_models_are_registered_when_they_are_asked_for():
    code = "from lensequiv.models.registry import create_model; "
    assert run(code + "print(create_model('resnet18').name)") == ["resnet18"]


@pytest.mark.parametrize("package", [lensequiv, lensequiv.models, lensequiv.pretrained])
def test_unknown_attributes(package):
    with pytest.raises(AttributeError, match=f"'{package.__name__}' has no attribute"):
        _ = package.simulations
    assert set(package.__all__) <= set(dir(package))
    for name in package.__all__:
        assert getattr(package, name) is getattr(package, name)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("modelj", "did you mean 'modelJ'? "),
        ("model-J", "did you mean 'modelJ'? "),
        ("modelG", "did you mean 'modelJ' or 'modelF'? "),
        ("deep", "did you mean 'deeplensesim1' or 'deeplensesim2'? "),
        ("elephant", ""),
        ("", ""),
    ],
)
def test_suggestions(given, expected):
    names = ["modelF", "modelJ", "deeplensesim1", "deeplensesim2", "deeplensesim3"]
    assert did_you_mean(given, names) == expected
