"""Damaged and forged weight folders: none may load as anything but the original.

`pytest -v` prints how many of each kind were tried.
"""

import copy
import json
from collections import Counter

import pytest
import torch
from safetensors.torch import load, save

import lensequiv
from lensequiv.spec._formats import REQUIRED
from lensequiv.weights import _catalogue, _format

pytestmark = pytest.mark.slow

OPTIONS = {"stem_fields": 1, "stem_kernel": 3, "stages": [[1], [1]], "kernel": 3}
KEYS = [*REQUIRED, "sha256"]
HUGE = 10**9
DEEP = "[" * 100_000 + "]" * 100_000


class Folder:
    """A saved model in memory."""

    def __init__(self, path):
        self.weights = (path / "model.safetensors").read_bytes()
        self.text = (path / "config.json").read_bytes()
        self.config = json.loads(self.text)
        self.tensors = load(self.weights)

    def write(self, path, weights=None, text=None):
        path.mkdir(exist_ok=True)
        content = self.weights if weights is None else weights
        (path / "model.safetensors").write_bytes(content)
        (path / "config.json").write_bytes(self.text if text is None else text)
        return path

    def forged(self, weights=None, change=None):
        """Config text whose checksums are right, whatever else is wrong."""
        config = copy.deepcopy(self.config)
        if weights is not None:
            config["sha256"] = _format.hashlib.sha256(weights).hexdigest()
        if change is not None:
            change(config)
        if "config_sha256" in config:
            config["config_sha256"] = _format.checksum(config)
        return json.dumps(config).encode()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("tiny")
    return Folder(lensequiv.create_model("c4", **OPTIONS).save_pretrained(path))


@pytest.fixture(scope="module")
def bundled():
    return Folder(_catalogue.find_release("c8-modelF").directory)


def places(length, count):
    """Offsets all over a file, the first and last bytes among them."""
    spread = {i * (length - 1) // (count - 1) for i in range(count)}
    return sorted(spread | {0, 1, 7, 8, 9})


def flipped(content, at, bit):
    return content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :]


def same(model, folder):
    """Whether a model is, in all that is stored, the original."""
    state, config = model.state_dict(), folder.config
    return (
        state.keys() == folder.tensors.keys()
        and all(torch.equal(state[k], v) for k, v in folder.tensors.items())
        and list(model.classes) == config["classes"]
        and model.input_size == config["input_size"]
        and model.preprocess.to_config() == config["preprocess"]
        and model.pixel_scale == config["pixel_scale"]
        and model.temperature == config.get("temperature", 1.0)
        and (model.name, model.config) == (config["model"], config["options"])
        and model.weights_info == config["info"]
    )


def outcome(path, folder):
    """'refused', 'same', or 'slipped' through; a refusal names the file."""
    try:
        model = lensequiv.from_pretrained(path)
    except (lensequiv.WeightsError, FileNotFoundError) as error:
        message = str(error)
        assert message.startswith(str(path)) and ".json" in message + ".json"
        assert "config.json" in message or "model.safetensors" in message, message
        assert len(message) < 1500 and message.isprintable(), message
        return "refused"
    return "same" if same(model, folder) else "slipped"


def run(kind, folder, path, mutations, capsys):
    """Tries (weights, text) pairs; prints the count, returns the outcomes."""
    results = Counter()
    for weights, text in mutations:
        results[outcome(folder.write(path, weights, text), folder)] += 1
    if COUNTS["show"]:
        with capsys.disabled():
            print(f"\n{kind}: {sum(results.values())} tried, {dict(results)}", end="")
    return results


COUNTS = {"show": False}


@pytest.fixture(autouse=True)
def _table(request):
    COUNTS["show"] = request.config.get_verbosity() > 0


@pytest.mark.parametrize("which", ["tiny", "bundled"])
def test_truncated_files_are_refused(which, request, tmp_path, capsys):
    folder = request.getfixturevalue(which)
    cut = [folder.weights[:at] for at in places(len(folder.weights), 20)]
    cut.append(folder.weights + b"\0")
    mutations = [(weights, None) for weights in cut]
    mutations += [(weights, folder.forged(weights)) for weights in cut]
    mutations += [(None, folder.text[:at]) for at in places(len(folder.text) - 2, 20)]
    results = run(f"truncated, {which}", folder, tmp_path / "w", mutations, capsys)
    assert results == {"refused": len(mutations)}


@pytest.mark.parametrize("which", ["tiny", "bundled"])
def test_flipped_bits_are_refused(which, request, tmp_path, capsys):
    folder = request.getfixturevalue(which)
    weights = [
        (flipped(folder.weights, at, at % 8), None)
        for at in places(len(folder.weights), 30)
    ]
    results = run(f"bit in weights, {which}", folder, tmp_path / "w", weights, capsys)
    assert results == {"refused": len(weights)}
    texts = [
        (None, flipped(folder.text, at, at % 8)) for at in places(len(folder.text), 60)
    ]
    results = run(f"bit in config, {which}", folder, tmp_path / "w", texts, capsys)
    # A flip may turn a space into another, or an escape into the same letter.
    assert results["slipped"] == 0 and results["refused"] > 40


@pytest.mark.slow
def test_flipped_bits_with_mended_checksums_never_change_the_structure(
    tiny, tmp_path, capsys
):
    """A forged checksum makes another valid weight of a changed number, no more."""
    header = 8 + int.from_bytes(tiny.weights[:8], "little")
    changed = [flipped(tiny.weights, at, at % 8) for at in places(header, 60)]
    mutations = [(weights, tiny.forged(weights)) for weights in changed]
    results = run("bit in header, forged", tiny, tmp_path / "w", mutations, capsys)
    assert results["slipped"] == 0
    step = (len(tiny.weights) - header) // 30
    numbers = [
        flipped(tiny.weights, at, at % 8)
        for at in range(header, len(tiny.weights), step)
    ]
    mutations = [(weights, tiny.forged(weights)) for weights in numbers]
    results = run("bit in a number, forged", tiny, tmp_path / "w", mutations, capsys)
    assert results["slipped"] > 0  # the counts' own check: `same` can tell


TENSOR_CHANGES = {
    "missing": lambda t, k: t.pop(k),
    "renamed": lambda t, k: t.update({k + "x": t.pop(k)}),
    "extra": lambda t, k: t.update({k + ".extra": t[k].clone()}),
    "shape": lambda t, k: t.update({k: t[k].reshape(1, -1)}),
    "longer": lambda t, k: t.update({k: torch.cat([t[k].flatten()] * 2)}),
    "float64": lambda t, k: t.update({k: t[k].double()}),
    "float16": lambda t, k: t.update({k: t[k].half()}),
    "int32": lambda t, k: t.update({k: t[k].int()}),
    "float8": lambda t, k: t.update({k: t[k].to(torch.float8_e4m3fn)}),
    "complex": lambda t, k: t.update({k: t[k].to(torch.complex64)}),
}
FLOAT_CHANGES = {
    "NaN": lambda t, k: t[k].fill_(torch.nan),
    "one NaN": lambda t, k: t[k].view(-1)[-1:].fill_(torch.nan),
    "infinite": lambda t, k: t[k].fill_(torch.inf),
    "minus infinity": lambda t, k: t[k].view(-1)[:1].fill_(-torch.inf),
}


@pytest.mark.parametrize("kind", [*TENSOR_CHANGES, *FLOAT_CHANGES])
def test_wrong_tensors_are_named(kind, tiny, tmp_path, capsys):
    change = {**TENSOR_CHANGES, **FLOAT_CHANGES}[kind]
    if kind == "complex":
        try:
            save({"x": torch.zeros(1, dtype=torch.complex64)})
        except KeyError:
            pytest.skip("this safetensors writes no complex numbers")
    mutations, names = [], []
    for name, value in tiny.tensors.items():
        if kind in FLOAT_CHANGES and not value.is_floating_point():
            continue
        tensors = {k: v.clone() for k, v in tiny.tensors.items()}
        change(tensors, name)
        weights = save(tensors)
        mutations.append((weights, tiny.forged(weights)))
        names.append(name)
    results = run(f"tensor: {kind}", tiny, tmp_path / "w", mutations, capsys)
    assert results == {"refused": len(mutations)}
    for name, mutation in zip(names[::5], mutations[::5], strict=True):
        with pytest.raises(lensequiv.WeightsError, match=rf"tensor '{name}"):
            lensequiv.from_pretrained(tiny.write(tmp_path / "w", *mutation))


def test_wrong_statistics_are_named(tiny, tmp_path, capsys):
    mutations = []
    for name in tiny.tensors:
        if name.endswith(("running_var", "num_batches_tracked")):
            tensors = {k: v.clone() for k, v in tiny.tensors.items()}
            tensors[name].view(-1)[0] = -1
            weights = save(tensors)
            mutations.append((weights, tiny.forged(weights)))
    results = run("negative variance", tiny, tmp_path / "w", mutations, capsys)
    assert results == {"refused": len(mutations)} and len(mutations) >= 8
    with pytest.raises(lensequiv.WeightsError, match="negative values"):
        lensequiv.from_pretrained(tiny.write(tmp_path / "w", *mutations[0]))


def test_swapped_files_are_refused(tiny, bundled, tmp_path, capsys):
    torch.manual_seed(1)
    other = lensequiv.create_model("c4", **OPTIONS).save_pretrained(tmp_path / "other")
    other, wider = Folder(other), dict(OPTIONS, stages=[[2], [1]])
    wider = lensequiv.create_model("c4", **wider).save_pretrained(tmp_path / "wider")
    foreign = [other, Folder(wider), bundled]
    mutations = [(one.weights, None) for one in foreign]
    mutations += [(None, one.text) for one in foreign]
    mutations += [(one.weights, tiny.forged(one.weights)) for one in foreign[1:]]
    mutations += [(tiny.text, None), (None, tiny.weights), (b"", None), (None, b"")]
    results = run("swapped", tiny, tmp_path / "w", mutations, capsys)
    assert results == {"refused": len(mutations)}


def setting(*path_and_value):
    *path, last, value = path_and_value

    def change(config):
        for key in path:
            config = config[key]
        config[last] = value

    return change


VALUES = [None, True, 0, -1, 1.5, HUGE, 10**400, "text", [], [1], {}, {"a": 1}, ""]
CONFIG_CHANGES = [
    *[setting(key, v) for key in KEYS for v in VALUES if key != "info"],
    *[setting("info", v) for v in VALUES if not isinstance(v, dict)],
    *[
        setting("preprocess", key, value)
        for key in ("name", "size", "keep", "sky", "peak", "extra")
        for value in (None, True, -1, 10**400, "129", [1.5], {}, 1e300, 128)
    ],
    *[
        setting("options", key, value)
        for key in (*OPTIONS, "num_classes", "in_channels")
        for value in (None, True, 0, -1, HUGE, 10**400, "3", 2.0, [], [[HUGE], [1]])
    ],
    *[
        setting("options", key, value)
        for key in ("dropout", "contrast_sigma", "contrast_floor")
        for value in (None, True, -1, 1e300, "3", [])
    ],
    *[setting("options", "stages", [[4096] * 64] * n) for n in (2, 8, 1000)],
    *[setting("options", "stages", v) for v in ([[]], [[1]] * 9, [[1] * 65], [["1"]])],
    *[
        setting("options", "statistics", v)
        for v in ([], ["mean", "mean"], ["median"], "mean", [["mean"]], 3, None)
    ],
    *[
        setting("options", k, 1)
        for k in ("initialize", "name", "group", "self", "kwargs", "a.b", "")
    ],
    *[setting("options", "stem_kernel", v) for v in (1, 2, 33)],
    *[setting("options", "kernel", v) for v in (2, 13, 63)],
    *[setting("model", v) for v in ("C4", "c4 ", "singh2021-c4", "resnet18", "d4")],
    *[
        setting("classes", v)
        for v in (
            *(["no", "sphere"], ["no"] * 3, ["no", "sphere", "no"], [1, 2, 3]),
            *(["no", "sphere", ""], ["no", "sphere", None], ["no", ["s"], "v"]),
            ["no", "sphere", "vort", "more"],
        )
    ],
    *[setting("format", v) for v in (6, 1, 0, -1, 2.0, "2")],
    *[setting("input_size", v) for v in (128, 130, 1, 129.0, "129", 10**6)],
    *[
        setting("info", "image_statistics", v)
        for v in (3, [], {"odd": [0, 1]}, {"noise": 1}, {"noise": [1, 0]})
    ],
    *[
        setting(key, v)
        for key in ("pixel_scale", "temperature")
        for v in (True, 0.0, -1.0, "1", [], 10**400, 2)
    ],
    *[setting("sha256", v) for v in ("0" * 64, "0" * 63, "A" * 64, "g" * 64, "é" * 64)],
    lambda config: config.update(sha256=config["sha256"].upper()),
    lambda config: config.update(sha256=config["sha256"][:-1]),
    lambda config: config.update(surprise=1),
    *[lambda config, k=key: config.pop(k) for key in KEYS],
    *[lambda config, k=key: config.update({k + "s": config.pop(k)}) for key in KEYS],
    *[
        lambda config, k=key: config["preprocess"].pop(k)
        for key in ("name", "size", "keep", "sky", "peak")
    ],
]


def test_forged_configs_are_refused(tiny, tmp_path, capsys):
    """Their checksums are right: the values themselves are looked at."""
    mutations = [(None, tiny.forged(change=change)) for change in CONFIG_CHANGES]
    results = run("config, forged", tiny, tmp_path / "w", mutations, capsys)
    assert results["slipped"] == 0 and results["refused"] > 200
    assert results["same"] <= 2  # options that say what is so by default


def texts(folder):
    """Config files that are no plain JSON."""
    plain = folder.text.decode()
    return {
        "key twice": plain.replace('"info"', '"format": 1,\n "info"').encode(),
        "inner key twice": plain.replace('"sky"', '"sky": 0.3, "sky"').encode(),
        "NaN": plain.replace("0.25", "NaN").encode(),
        "Infinity": plain.replace("0.25", "-Infinity").encode(),
        "1e999": plain.replace("0.25", "1e999").encode(),
        "5000 digits": plain.replace("129", "1" * 5000).encode(),
        "byte-order mark": b"\xef\xbb\xbf" + folder.text,
        "UTF-16": plain.encode("utf-16"),
        "UTF-32": plain.encode("utf-32"),
        "Latin-1": plain.replace("sphere", "sph\xe9re").encode("latin-1"),
        "half a character": plain.replace("sphere", "\\ud800").encode(),
        "nested deeply": plain.replace("{}", DEEP).encode(),
        "5 MB": plain.replace("sphere", "s" * 5_000_000).encode(),
        "NUL": folder.text.replace(b"sphere", b"sph\0re"),
        "trailing comma": plain.replace('"vort"', '"vort",').encode(),
        "comment": b"// a comment\n" + folder.text,
        "two objects": folder.text * 2,
        "a list": b"[" + folder.text + b"]",
        "a word": b"null",
        "nothing": b"",
        "single quotes": plain.replace('"', "'").encode(),
    }


def test_configs_that_are_no_plain_json_are_refused(tiny, tmp_path, capsys):
    mutations = [(None, text) for text in texts(tiny).values()]
    results = run("config, not JSON", tiny, tmp_path / "w", mutations, capsys)
    assert results == {"refused": len(mutations)}
