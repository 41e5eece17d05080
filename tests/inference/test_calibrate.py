"""Calibrated probabilities, and the score that tells what is not like the training."""

import copy
import functools
import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import lensequiv
from lensequiv.data import sample_paths
from lensequiv.domain import Domain, OutOfDomainWarning, image_features
from lensequiv.inference import calibrate
from lensequiv.simulation import load_recipe, simulate
from lensequiv.weights import _format

TINY = {"stem_fields": 2, "stages": ((2,), (2,))}


def rings(n, width=3.5):
    """Rings of several radii with noise, and which of three radii."""
    steps = torch.arange(129) - 64.0
    radius = (steps[:, None] ** 2 + steps[None, :] ** 2).sqrt()
    labels = torch.arange(n) % 3
    wanted = 20 + 8 * labels.view(-1, 1, 1, 1) + torch.rand(n, 1, 1, 1)
    images = torch.exp(-0.5 * ((radius - wanted) / width) ** 2)
    return images + 0.05 * torch.randn(n, 1, 129, 129), labels


@pytest.fixture(scope="module")
def calibrated():
    """A small network, calibrated on rings."""
    torch.manual_seed(1)
    model = lensequiv.create_model("c4", **TINY)
    images, labels = rings(200)
    with torch.no_grad():
        model(model.preprocess(images[:30]))  # batch norms see data
    calibrate(model.eval(), images, labels, false_alarms=0.05)
    return model


@pytest.fixture
def tiny(calibrated):
    return copy.deepcopy(calibrated)


def test_probabilities_use_it(tiny):
    images, _ = rings(3)
    tiny.domain = None
    tiny.temperature = 2.5
    found = tiny.predict(images)
    assert torch.equal(found.probabilities, (found.logits / 2.5).softmax(1))
    tiny.temperature = 1.0
    assert torch.equal(tiny.predict(images).logits, found.logits)
    tiny.temperature = 2.5
    plain = tiny.to_torch()
    with torch.no_grad():
        from_plain = plain.probabilities(tiny.preprocess(images))
    torch.testing.assert_close(from_plain, found.probabilities)


# The score


def embedding_of(model, x):
    with torch.no_grad():
        return model.embed(x)


def test_either_part_may_raise_the_score(tiny):
    domain = tiny.domain
    x = tiny.preprocess(rings(1)[0])
    pixels, embedding = image_features(x)[0], embedding_of(tiny, x)[0]
    (note,), score = domain.judge([pixels], [embedding])
    assert note == [] and float(score) < 1
    (note,), score = domain.judge([pixels + 100], [embedding])
    assert float(score) > 1 and note[0].endswith("(training 0 to 1) by its pixels")
    (note,), score = domain.judge([pixels], [embedding + 100])
    assert float(score) > 1 and note[0].endswith("by the network's embedding")
    (note,), score = domain.judge([pixels], [embedding * float("nan")])
    assert score.tolist() == [float("inf")] and note
    assert domain.judge([], []) == ([], pytest.approx(torch.empty(0)))


def test_prediction_reports_it(tiny):
    images, _ = rings(40)
    images[5] = torch.randn(1, 129, 129)
    with pytest.warns(OutOfDomainWarning, match=r"5 % of images like the training"):
        found = tiny.predict(images)
    assert found.ood_score.shape == (40,) and found.ood_score.dtype == torch.float32
    assert torch.equal(found.unlike_training, found.ood_score > 1)
    assert found.unlike_training[5] and found.notes[5][0].startswith("score ")
    assert int(found.unlike_training.sum()) < 10
    strict = replace(tiny.domain, threshold=float(found.ood_score[5]) + 1)
    tiny.domain = strict
    assert not tiny.predict(images).unlike_training.any()


def test_without_a_domain_nothing_is_said(tiny):
    tiny.domain = None
    found = tiny.predict(rings(2)[0])
    assert found.ood_score is None
    assert found.unlike_training.tolist() == [False, False]


def test_score_is_invariant(tiny):
    images, _ = rings(4)
    tiny.domain = replace(tiny.domain, threshold=1e9)
    expected = tiny.predict(images).ood_score
    for k in (1, 2, 3):
        turned = tiny.predict(images.rot90(k, (2, 3))).ood_score
        torch.testing.assert_close(turned, expected, rtol=1e-3, atol=1e-4)


def test_calibrating_keeps_the_mode(tiny):
    images, labels = rings(60)
    before = {k: v.clone() for k, v in tiny.tensors().items()}
    calibrate(tiny.train(), images, labels, false_alarms=0.1)
    assert tiny.training
    assert all(torch.equal(before[k], v) for k, v in tiny.tensors().items())


def test_domain_of_another_model_is_refused(tiny):
    other = lensequiv.create_model("c4", stem_fields=2, stages=((2,), (3,))).eval()
    other.domain = tiny.domain
    with pytest.raises(ValueError, match="describes 4 features, not 6"):
        other.predict(rings(1)[0])


# On disk


def test_round_trip(tiny, tmp_path):
    folder = tiny.save_pretrained(tmp_path)
    assert {p.name for p in folder.iterdir()} == {
        *("model.safetensors", "config.json", "README.md")
    }
    for loaded in (
        lensequiv.from_pretrained(folder),
        pickle.loads(pickle.dumps(tiny)),
        copy.deepcopy(tiny),
    ):
        assert loaded.temperature == tiny.temperature
        assert loaded.domain.to_config() == tiny.domain.to_config()
        for name, value in tiny.domain.tensors().items():
            assert torch.equal(loaded.domain.tensors()[name], value)
    again = lensequiv.from_pretrained(folder).save_pretrained(tmp_path / "again")
    for name in ("model.safetensors", "config.json"):
        assert (folder / name).read_bytes() == (again / name).read_bytes()


def test_new_head_drops_both(tiny, tmp_path):
    tiny.temperature = 2.0
    model = lensequiv.from_pretrained(tiny.save_pretrained(tmp_path), num_classes=3)
    assert model.temperature == 1 and model.domain is None


def test_uncalibrated_folders_have_neither(tmp_path):
    model = lensequiv.create_model("c4", **TINY)
    config = json.loads((model.save_pretrained(tmp_path) / "config.json").read_text())
    assert not {"temperature", "domain"} & set(config)
    loaded = lensequiv.from_pretrained(tmp_path)
    assert loaded.temperature == 1 and loaded.domain is None


def change_tensors(change):
    def apply(folder, config):
        path = folder / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)
        config["sha256"] = _format.sha256(path)

    return apply


def change_domain(**values):
    return lambda folder, config: config["domain"].update(values)


CENTER, MEANS = "domain.pixels.center", "domain.embedding.means"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f, c: c.pop("domain"), f"unexpected tensor '{MEANS[:17]}"),
        (lambda f, c: c["domain"].pop("reach"), "key 'reach' is missing"),
        (change_domain(more=1), "key 'more' is unknown"),
        (change_domain(kind="x"), "'kind' is 'x'; expected 'mahalanobis'"),
        (change_domain(threshold="1"), "'threshold' is '1'; expected a positive"),
        (change_domain(threshold=-1.0), "'threshold' is -1.0; expected a positive"),
        (change_domain(false_alarms=True), "'false_alarms' is True; expected"),
        (change_domain(reach=2.0), "'reach' is 2.0; expected an object"),
        (change_domain(reach={"pixels": 1.0}), "'embedding' is missing"),
        (
            change_domain(reach={"pixels": 1.0, "embedding": float("nan")}),
            "NaN is no JSON number",
        ),
        (lambda f, c: c.update(temperature=0.0), "'temperature' is 0.0; expected"),
        (
            lambda f, c: c.update(temperature="1"),
            "'temperature' is a text; expected a number",
        ),
        (
            change_tensors(lambda t: t.pop(CENTER)),
            "tensor 'pixels.center' is missing",
        ),
        (
            change_tensors(lambda t: t.update({"domain.x": torch.ones(1)})),
            "tensor 'x' is unknown",
        ),
        (
            change_tensors(lambda t: t[CENTER].fill_(float("nan"))),
            f"tensor '{CENTER}' has NaN or infinite values",
        ),
        (
            change_tensors(lambda t: t.update({CENTER: torch.ones(3)})),
            r"'pixels.whitening' is \(16, 16\) torch.float32; expected \(3, 3\)",
        ),
        (
            change_tensors(lambda t: t.update({CENTER: t[CENTER].double()})),
            r"'pixels.center' is \(16,\) torch.float64; expected \(16,\) torch.float32",
        ),
        (
            change_tensors(lambda t: t.update({MEANS: t[MEANS][:2].clone()})),
            "2 classes; expected 3",
        ),
    ],
)
def test_damage_is_named(tiny, tmp_path, damage, message):
    tiny.temperature = 2.0
    folder = tiny.save_pretrained(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    del config["config_sha256"]  # it would notice
    damage(folder, config)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(lensequiv.WeightsError, match=message):
        lensequiv.from_pretrained(folder)


# The bundled weights

NAMES = lensequiv.list_pretrained()
# What has seen lenses of any depth flags the faintest: docs/trust.md.
WIDE = "d8-wide-small"
RECIPES = Path(__file__).parents[2] / "examples" / "recipes"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_bundled_weights_are_calibrated(name):
    model = lensequiv.from_pretrained(name)
    assert 0.3 < model.temperature < 3
    assert isinstance(model.domain, Domain)
    assert model.domain.false_alarms == (0.05 if name == WIDE else 0.01)
    assert model.domain.threshold == 1
    extra = sum(4 * t.numel() for t in model.domain.tensors().values())
    assert extra < 150_000


@functools.cache
def fresh_images(recipe):
    """The same for all weights of a recipe."""
    own = RECIPES / f"{recipe}.json"
    return simulate(load_recipe(own if own.exists() else recipe), 300, seed=4711).images


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::lensequiv.domain.OutOfDomainWarning")
@pytest.mark.parametrize("name", NAMES)
def test_false_alarms_on_fresh_images(name):
    """More than 10 of 300 have a chance of 3 in 10,000 if each is flagged in 100."""
    model = lensequiv.from_pretrained(name)
    images = fresh_images(model.weights_info["trained_on"]["recipe"])
    most = 120 if name == WIDE else 10  # the recipe has the faintest of what it knows
    assert int(model.predict(images).unlike_training.sum()) <= most


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::lensequiv.domain.OutOfDomainWarning")
@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_lens_is_flagged(name):
    model = lensequiv.from_pretrained(name)
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, 150)] * 2, indexing="ij")
    sky = torch.full((150, 150), 30.0)
    galaxy = sky + 1000 * torch.exp(-5 * (x**2 + y**2).sqrt())
    star = sky + 5000 * torch.exp(-500 * (x**2 + y**2))
    images = torch.poisson(torch.stack([sky, sky * (1 + 0.5 * x), galaxy, star]))
    assert model.predict(images).unlike_training.all()
    assert model.predict(images).ood_score.min() > 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::lensequiv.domain.OutOfDomainWarning")
@pytest.mark.parametrize("name", NAMES)
def test_telescope_images_are_flagged(name, telescope_images):
    found = lensequiv.from_pretrained(name).predict(telescope_images)
    assert len(found) == 2
    if name == WIDE:  # knows lenses like real ones, and does not know their class
        assert found.ood_score.max() < 2 and found.probabilities.max() < 0.5
    else:
        assert found.ood_score.min() > 2


@pytest.mark.filterwarnings("ignore::lensequiv.domain.OutOfDomainWarning")
def test_models_do_not_take_each_others_images():
    # Of version 1: version 2 knows varied lenses, and lets most of Model J pass.
    model = lensequiv.from_pretrained("c8-modelF@1")
    assert model.predict(sample_paths("modelJ")).unlike_training.all()


def test_arrays_are_taken(tiny):
    images, labels = rings(200)
    again = copy.deepcopy(tiny)
    calibrate(tiny, images, labels, false_alarms=0.05)
    calibrate(again, images.numpy(), labels.numpy(), false_alarms=0.05)
    assert tiny.temperature == again.temperature


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, y: (x, y.float()), TypeError, r"labels of type torch\.float32"),
        (lambda x, y: (x, y + 1), ValueError, "labels from 1 to 3; expected 0 to 2"),
        (lambda x, y: (x, y[:5]), ValueError, r"labels of shape \(5,\)"),
        (lambda x, y: (x[:, 0], y), ValueError, r"images of shape \(6, 129, 129\)"),
    ],
)
def test_labels_that_do_not_fit(tiny, change, error, message):
    before = tiny.temperature, tiny.domain
    with pytest.raises(error, match=message):
        calibrate(tiny, *change(*rings(6)))
    assert (tiny.temperature, tiny.domain) == before


def test_images_that_are_unlike_are_farther_with_examples(tiny):
    torch.manual_seed(4)
    images, labels = rings(200)
    fresh, _ = rings(60)
    others, _ = rings(60, width=4.5)
    found = {}
    for name, unlike in (("without", None), ("with", rings(100, width=4.5)[0])):
        calibrate(tiny, images, labels, false_alarms=0.05, unlike=unlike)
        with torch.no_grad():
            rows = [tiny.preprocess(x) for x in (fresh, others)]
            seen = [tiny.logits_and_embedding(x)[1] for x in rows]
        near, far = (tiny.domain.embedding.distance(x) for x in seen)
        found[name] = float((far[:, None] > near).float().mean())  # ROC AUC
    assert 1 - found["with"] < 0.5 * (1 - found["without"])


@pytest.mark.parametrize("shape", [(0, 1, 129, 129), (4, 129, 129)])
def test_unlike_images_of_another_shape(tiny, shape):
    images, labels = rings(60)
    before = tiny.domain
    with pytest.raises(ValueError, match=r"unlike of shape .*expected \(M, C, H, W\)"):
        calibrate(tiny, images, labels, false_alarms=0.1, unlike=torch.zeros(shape))
    assert tiny.domain is before
