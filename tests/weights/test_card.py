"""The card says what is known of a model, and nothing else."""

import json

import numpy as np
import pytest
import torch

import lensequiv
from lensequiv.pretrained import model_card

TINY = {"stem_fields": 1, "stem_kernel": 3, "stages": [[1], [1]]}
SCORES = {"images": 30, "auc_micro": 0.91239, "accuracy": 0.8, "auc": {"cdm": 0.75}}
CLAIMS = ("re-simulated", "2021 study", "isothermal", "same recipe", "Alexander")


def card(tmp_path, info=None, **options):
    model = lensequiv.create_model("c4", **TINY, **options)
    if options.get("num_classes") == 2:
        model.classes = ("cdm", "axion|b`c\n")
    return (model.save_pretrained(tmp_path, info=info) / "README.md").read_text()


def test_an_untrained_model(tmp_path):
    text = card(tmp_path, in_channels=3, num_classes=5)
    assert "Classifies square 3-channel images into `class0`, `class1`," in text
    assert "Untrained, as far as is recorded" in text and "No scores" in text
    assert "\n# c4\n" in text and "license: unknown" in text
    assert "does not warn of such images" in text
    assert not [claim for claim in CLAIMS if claim in text]


def test_a_fine_tuned_model(tmp_path):
    run = {
        "from": "c8-modelJ",
        "images": 750,
        "steps": 1000,
        "seed": 0,
        "linear_check": 0.5,
        "validation": {**SCORES, "accuracy": 0.9},
        "test": {**SCORES, "confusion": [[10, 5], [1, 14]]},
    }
    text = card(tmp_path, {"fine_tuned": run, "licence": "MIT"}, num_classes=2)
    assert "# c4, fine-tuned from c8-modelJ\n" in text and "No scores" not in text
    assert "From `c8-modelJ`, 750 training images, 1000 steps, seed 0." in text
    assert "| | validation (30 images) | test (30 images) |" in text
    assert "| accuracy | 0.9000 | 0.8000 |" in text
    assert "| micro-average ROC AUC | 0.9124 | 0.9124 |" in text
    assert "| ROC AUC, `cdm` against the rest | 0.7500 | 0.7500 |" in text
    assert "| `cdm` | 10 | 5 |" in text and "`axion\\|b'c`" in text
    assert "Untrained" not in text and "license: mit" in text
    assert not [claim for claim in CLAIMS if claim in text]


@pytest.mark.parametrize("recipe", ["modelF", "modelJ", "deeplensesim1", "mine"])
def test_what_is_said_of_the_training_images_depends_on_the_recipe(recipe, tmp_path):
    text = card(tmp_path, {"trained_on": {"recipe": recipe}})
    study = recipe.startswith("model")
    assert ("are re-simulated after a recipe recovered" in text) == study
    assert (f"are simulated after the recipe `{recipe}`" in text) == (not study)
    assert ("same total mass" in text) == (recipe == "modelF")
    assert "same recipe" not in text  # as no scores are recorded


def test_free_information_is_shown_as_it_is(tmp_path):
    info = {
        "note": "trained on ``` my own Ünique images",
        "trained_on": "HST",
        "metrics": 0.9,
        "training": {"runs": 3, "minutes": "long"},
        "score": np.float32(0.5),
    }
    text = card(tmp_path, info)
    assert "## Recorded by the user\n\n````json\n" in text
    shown = text.split("````json\n")[1].split("\n````")[0]
    assert json.loads(shown) == {**info, "score": 0.5}
    assert "Nothing is recorded of training but" in text and "Untrained" not in text
    loaded = lensequiv.from_pretrained(tmp_path)
    assert loaded.weights_info == {**info, "score": 0.5}


FULL = lensequiv.pretrained_info("c8-modelF")


def leaves_out():
    """A full `info` with each of its parts left out in turn, at every depth."""

    def places(value, path=()):
        for key in value if isinstance(value, dict) else ():
            yield (*path, key)
            yield from places(value[key], (*path, key))

    return list(places(FULL["info"]))


@pytest.mark.slow
def test_any_part_may_be_missing_or_odd():
    for path in leaves_out():
        for odd in (None, {}, [], 3, "text", {"a": 1}):
            config = json.loads(json.dumps(FULL))
            *outer, last = path
            part = config["info"]
            for key in outer:
                part = part[key]
            part[last] = odd
            assert model_card(config).startswith("---\nlicense:")
            del part[last]
            assert model_card(config).startswith("---\nlicense:")


def test_scores_without_the_rotated_ones(tmp_path):
    text = card(tmp_path, {"metrics": {"test": SCORES}})
    assert "On 30 test images:" in text and "| | as they are |\n" in text
    assert "| accuracy | 0.8000 |\n" in text and "Confusion" not in text


def test_licences():
    config = json.loads(json.dumps(FULL))
    for licence, lines in (
        ("CC-BY-4.0", "license: cc-by-4.0\n"),
        ('ask "me": first\nplease', 'license: other\nlicense_name: "ask \\"me\\": fi'),
    ):
        config["info"]["licence"] = licence
        assert model_card(config).startswith(f"---\n{lines}")


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"a": [torch.ones(2)]}, r"info\['a'\]\[0\] is a torch.Tensor, which is not"),
        ({"scores": {"auc": float("nan")}}, r"info\['scores'\]\['auc'\] is nan"),
        ({"image_statistics": {"noise": [1, 0]}}, "noise"),
        ({"text": "\ud800"}, r"config\.json could not be read"),
        ({"text": "a" * 5_000_000}, r"config\.json could not be read"),
    ],
)
def test_what_cannot_be_stored_is_named_and_nothing_is_written(info, message, tmp_path):
    model = lensequiv.create_model("c4", **TINY)
    with pytest.raises(ValueError, match=message):
        model.save_pretrained(tmp_path / "new", info=info)
    assert not (tmp_path / "new").exists()
