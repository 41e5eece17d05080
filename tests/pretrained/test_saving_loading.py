import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import lensequiv
from lensequiv import files
from lensequiv.weights import _format

X = torch.rand(2, 1, 129, 129)


@pytest.fixture
def saved(tmp_path, shaken):
    """A saved model, and the model."""
    model = shaken(lensequiv.create_model("c4"))
    return model.save_pretrained(tmp_path / "weights"), model


def rewrite_config(folder, change):
    """Changes the config of a saved model and mends its checksum."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    config["config_sha256"] = _format.checksum(config)
    path.write_text(json.dumps(config))


def rewrite(folder, change):
    """Changes the tensors of a saved model and mends the checksums."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    rewrite_config(folder, lambda c: c.update(sha256=_format.sha256(path)))


@pytest.mark.parametrize("name", ["c4", "d4", "resnet18", "singh2021-c4"])
@pytest.mark.parametrize("mode", [True, False])
def test_round_trip_is_exact_from_both_modes(name, mode, tmp_path, shaken):
    model = shaken(lensequiv.create_model(name)).train(mode)
    model.save_pretrained(tmp_path)
    loaded = lensequiv.from_pretrained(tmp_path)
    assert not loaded.training
    with torch.no_grad():
        difference = (loaded(X) - model.eval()(X)).abs().max()
    assert difference == 0.0


def test_options_and_classes_survive(tmp_path):
    model = lensequiv.create_model(
        "c4", in_channels=2, num_classes=5, stages=((2,), (3,)), stem_fields=2
    )
    loaded = lensequiv.from_pretrained(model.save_pretrained(tmp_path))
    assert loaded.classes == ("class0", "class1", "class2", "class3", "class4")
    assert loaded.in_channels == 2
    assert loaded.eval()(torch.rand(1, 2, 129, 129)).shape == (1, 5)


def test_only_learnable_tensors_and_statistics_are_stored(saved):
    folder, model = saved
    learnable = {name for name, _ in model.named_parameters()}
    for name in set(load_file(folder / "model.safetensors")) - learnable:
        assert name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def test_mode_does_not_change_the_file(tmp_path, saved):
    folder, model = saved
    other = model.eval().save_pretrained(tmp_path / "other")
    for name in ("model.safetensors", "config.json", "README.md"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()


def test_new_head_keeps_the_body(saved):
    folder, _ = saved
    old = lensequiv.from_pretrained(folder)
    new = lensequiv.from_pretrained(folder, num_classes=5)
    assert new.num_classes == 5 and len(new.classes) == 5
    with torch.no_grad():
        assert torch.equal(new.embed(X), old.embed(X))
        assert new(X).shape == (2, 5)
    same_number = lensequiv.from_pretrained(folder, num_classes=3)
    assert not torch.equal(same_number.head[0].weight, old.head[0].weight)


def test_new_head_with_names(saved):
    model = lensequiv.from_pretrained(saved[0], classes=["cdm", "axion"])
    assert model.classes == ("cdm", "axion") and model.num_classes == 2
    with pytest.raises(ValueError, match="num_classes=3, but 2 class names"):
        lensequiv.from_pretrained(saved[0], classes=["a", "b"], num_classes=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c4", "d4", "resnet18", "singh2021-c4"])
def test_equal_channels_give_what_one_did(name, tmp_path, shaken):
    model = shaken(lensequiv.create_model(name)).eval()
    folder = model.save_pretrained(tmp_path / "one")
    with torch.no_grad():
        expected = model(X)
        three = lensequiv.from_pretrained(folder, in_channels=3)
        assert three.in_channels == 3 and three.classes == model.classes
        assert torch.allclose(three(X.expand(-1, 3, -1, -1)), expected, rtol=1e-4)
        folder = three.save_pretrained(tmp_path / "three")
        two = lensequiv.from_pretrained(folder, in_channels=2, classes=["a", "b"])
        features = two.embed(X.expand(-1, 2, -1, -1))
        assert torch.allclose(features, model.embed(X), rtol=1e-4, atol=1e-5)
    assert two.classes == ("a", "b") and two.weights_info == {}


def test_a_changed_byte_is_refused(saved):
    path = saved[0] / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(lensequiv.WeightsError, match=r"model\.safetensors: its sha256"):
        lensequiv.from_pretrained(saved[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("stem.conv.weights"), "'stem.conv.weights' is missing"),
        (lambda t: t.update(extra=torch.ones(1)), "unexpected tensor 'extra'"),
        (
            lambda t: t.update({"stem.conv.weights": torch.ones(3)}),
            r"'stem.conv.weights' is \(3,\) torch.float32; expected",
        ),
        (
            lambda t: t.update({"head.0.bias": t["head.0.bias"].double()}),
            r"'head.0.bias' is \(64,\) torch.float64; expected \(64,\) torch.float32",
        ),
        (
            lambda t: t["head.0.bias"].fill_(float("nan")),
            "'head.0.bias' has NaN or infinite values",
        ),
    ],
)
def test_wrong_tensors_are_named(saved, change, message):
    rewrite(saved[0], change)
    with pytest.raises(lensequiv.WeightsError, match=message):
        lensequiv.from_pretrained(saved[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("classes"), "key 'classes' is missing"),
        (lambda c: c.update(surprise=1), "unknown key 'surprise'"),
        (
            lambda c: c.update(format=99),
            "format 99; this lensequiv reads formats 1 to 5",
        ),
        (lambda c: c.update(model="c9000"), "unknown model 'c9000'"),
        (lambda c: c.update(options={"depth": 3}), "cannot build the model.*depth"),
        (
            lambda c: c.update(classes=["a", "b"]),
            "'classes': 2 class names; expected 3",
        ),
        (lambda c: c.update(classes="abc"), "'classes' is a text; expected a list"),
        (lambda c: c.update(input_size=128), "'input_size' is 128; c4 takes 33, 49"),
        (lambda c: c["preprocess"].update(name="odd"), "'preprocess'.*'odd'"),
        (lambda c: c["preprocess"].pop("sky"), "'preprocess'.*'sky' is missing"),
    ],
)
def test_wrong_configs_are_named(saved, change, message):
    rewrite_config(saved[0], change)
    with pytest.raises(lensequiv.WeightsError, match=message):
        lensequiv.from_pretrained(saved[0])


@pytest.mark.parametrize("text", ["{", "[]", '"text"'])
def test_config_that_is_no_object_is_named(saved, text):
    (saved[0] / "config.json").write_text(text)
    with pytest.raises(
        lensequiv.WeightsError, match=r"config\.json (is not JSON|holds)"
    ):
        lensequiv.from_pretrained(saved[0])


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_file_is_named(saved, name):
    (saved[0] / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        lensequiv.from_pretrained(saved[0])


def test_swapped_weights_are_refused(tmp_path, saved):
    other = lensequiv.create_model("c4").save_pretrained(tmp_path / "other")
    shutil.copy(other / "model.safetensors", saved[0])
    with pytest.raises(lensequiv.WeightsError, match="belongs to another config"):
        lensequiv.from_pretrained(saved[0])


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_atomically(path, b"old")

    def no_space(_):
        raise OSError("no space")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="no space"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_name_lists_what_exists():
    with pytest.raises(ValueError, match=r"'c8-modelX' is neither.*c8-modelF"):
        lensequiv.from_pretrained("c8-modelX")


def test_saving_over_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file; expected a folder"):
        lensequiv.create_model("c4").save_pretrained(tmp_path / "file")


# Keywords that change nothing


@pytest.mark.parametrize(
    "keywords",
    [
        {"in_channels": 1},
        {"classes": ["no", "sphere", "vort"]},
        {"classes": ("no", "sphere", "vort"), "in_channels": 1},
        {"num_classes": None, "classes": None},
    ],
)
def test_keywords_that_change_nothing_leave_the_model(keywords):
    plain = lensequiv.from_pretrained("c8-modelF")
    model = lensequiv.from_pretrained("c8-modelF", **keywords)
    assert model.domain is not None and model.temperature == plain.temperature != 1
    assert model.spec.to_config() == plain.spec.to_config()
    assert model.origin == plain.origin
    for name, tensor in plain.tensors().items():
        assert torch.equal(model.tensors()[name], tensor)


@pytest.mark.slow
def test_a_new_head_has_neutral_names_but_the_scale_of_its_body():
    for keywords, classes in (
        ({"num_classes": 3}, ("class0", "class1", "class2")),
        ({"num_classes": 2}, ("class0", "class1")),
        ({"classes": ["vort", "sphere", "no"]}, ("vort", "sphere", "no")),
        ({"num_classes": 3, "classes": ["no", "sphere", "vort"]}, None),
    ):
        model = lensequiv.from_pretrained("c8-modelF", **keywords)
        assert model.classes == (classes or ("no", "sphere", "vort"))
        assert model.domain is None and model.temperature == 1
        assert model.weights_info == {} and model.pixel_scale == 0.05
        assert model.input_size == 97


def test_a_folder_of_format_1_loads(saved):
    folder, model = saved

    def to_format_1(config):
        for key in ("pixel_scale",):
            del config[key]
        config.update(format=1, options={})

    rewrite_config(folder, to_format_1)
    loaded = lensequiv.from_pretrained(folder)
    assert loaded.spec.to_config() == model.spec.to_config()
    loaded.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["format"] == 2


@pytest.mark.parametrize(
    ("keyword", "message"),
    [
        ("in_chans", "'in_chans'; here it is in_channels="),
        ("num_labels", "here it is num_classes="),
        ("class_names", r"here it is classes=\[\.\.\.\]"),
        ("img_size", r"model\.set_input_size\(size\) afterwards"),
        ("pretrained", "the first argument"),
        ("strict", "always loaded strictly"),
        ("clases", "'clases'; did you mean 'classes' or 'num_classes'.*known are name"),
    ],
)
def test_keywords_of_other_libraries(keyword, message):
    with pytest.raises(TypeError, match=message):
        lensequiv.from_pretrained("no such weight", **{keyword: 3})


@pytest.mark.slow
def test_names_and_numbers_of_numpy(tmp_path):
    names = np.array(["no", "sphere", "vort"])
    model = lensequiv.from_pretrained(
        "d4-modelJ", classes=names, in_channels=np.int64(1)
    )
    assert model.domain is not None and model.classes == tuple(names.tolist())
    new = lensequiv.from_pretrained("d4-modelJ", num_classes=np.int64(2))
    new.classes = np.array(["a", "b"])
    new.save_pretrained(tmp_path / "new")
    assert lensequiv.from_pretrained(tmp_path / "new").classes == ("a", "b")
    assert type(new.config["num_classes"]) is int


@pytest.mark.parametrize("classes", ["ab", {"a", "b"}, 2])
def test_names_without_an_order(classes):
    with pytest.raises(ValueError, match=r"class names .*; expected a list of texts"):
        lensequiv.from_pretrained("d4-modelJ", classes=classes)


def test_name_that_is_none():
    with pytest.raises(TypeError, match="name is None; expected the name of a weight"):
        lensequiv.from_pretrained(None)


@pytest.mark.parametrize("name", ["README.md", "config.json", "model.safetensors"])
def test_a_file_that_no_save_wrote_stays(tmp_path, saved, name):
    """`save_pretrained(".")` in a project is not to cost it its README."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / name).write_text("# mine")
    with pytest.raises(FileExistsError, match=f"holds {name}, but no model"):
        saved[1].save_pretrained(tmp_path / "project")
    assert (tmp_path / "project" / name).read_text() == "# mine"
    assert len(list((tmp_path / "project").iterdir())) == 1
    saved[1].save_pretrained(saved[0])  # over an older model


def test_trained_names_in_another_order_are_told_of(saved):
    with pytest.warns(UserWarning, match="another order: they get a new head") as seen:
        model = lensequiv.from_pretrained(saved[0], classes=["vort", "sphere", "no"])
    assert model.classes == ("vort", "sphere", "no")
    assert [w.filename for w in seen] == [__file__]


def test_a_file_in_place_of_its_folder(saved):
    for name in ("model.safetensors", "config.json"):
        with pytest.raises(ValueError, match=f"{name}' is a file; expected the folder"):
            lensequiv.from_pretrained(str(saved[0] / name))
