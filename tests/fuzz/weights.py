"""Coverage-guided fuzzing of `config.json` and `model.safetensors`; see README.md."""

import contextlib
import json
import sys
import tempfile
from pathlib import Path

import atheris
import torch

PARTS = ["_checks", "models.steerable", "models.base", "transforms._normalise"]
PARTS += [
    "weights._format",
    "weights._tensors",
    "pretrained._loading",
    "transforms._singh2021",
]
with atheris.instrument_imports(include=[f"lensequiv.{part}" for part in PARTS]):
    import lensequiv
    from lensequiv.weights import _format

TINY = {"stem_fields": 1, "stem_kernel": 3, "stages": [[1], [1]], "kernel": 3}
WORDS = ["c4", "c8", "d4", "resnet18", "crop-and-scale", "singh2021-eval", "dropout"]
WORDS += ["in_channels", "num_classes", "initialize", "contrast_sigma", "1e999", "NaN"]
WORDS += ["contrast_floor", "padded", "F32", "F64", "I64", "F8_E4M3", "BF16", "shape"]
WORDS += ["data_offsets", "__metadata__", "image_statistics", "noise", "null", "true"]


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def one(data):
    """Either the documented error, or a model that computes."""
    if not data:
        return
    mode, content = data[0] % 3, data[1:]
    weights, config = WEIGHTS, dict(CONFIG)
    if mode == 0:  # the text of the config, without a checksum
        text = content
    else:
        if mode == 1:
            weights = content
        else:  # values of the config
            try:
                change = json.loads(content)
            except (ValueError, RecursionError):
                return
            if not isinstance(change, dict):
                return
            config.update(change)
        if config["sha256"] == CONFIG["sha256"]:
            config["sha256"] = _format.hashlib.sha256(weights).hexdigest()
        text = json.dumps(config | {"config_sha256": _format.checksum(config)}).encode()
    (FOLDER / "config.json").write_bytes(text)
    (FOLDER / "model.safetensors").write_bytes(weights)
    try:
        model = lensequiv.from_pretrained(FOLDER)
    except (lensequiv.WeightsError, FileNotFoundError) as error:
        message = str(error)
        assert message.startswith(str(FOLDER)) and len(message) < 1500, message
        assert message.isprintable(), message
        return
    assert len(model.classes) == model.num_classes == len(set(model.classes))
    image = IMAGE.expand(model.in_channels, -1, -1)
    with contextlib.suppress(ValueError):  # it makes larger images than this one
        assert model.preprocess(image).shape[-1] in model.input_sizes
    side = model.input_sizes.minimum
    with torch.no_grad():
        logits = model(image[None, :, :side, :side])
    assert logits.shape == (1, model.num_classes)


def dictionary(folder):
    """Names and values for the fuzzer to insert."""
    words = {*WORDS, *CONFIG, *CONFIG["preprocess"], *CONFIG["options"]}
    path = folder / "words"
    path.write_text("".join(f'"\\"{word}\\""\n"{word}"\n' for word in sorted(words)))
    return path


def write_seeds(corpus):
    """Valid files, parts of them, and a few that are not valid."""
    changes = [{key: value} for key, value in CONFIG.items()]
    changes += [{"options": {**TINY, key: value}} for key, value in TINY.items()]
    changes += [{"model": name} for name in ("c8", "d4", "singh2021-c9")]
    changes.append({"preprocess": {"name": "singh2021-eval", "size": 9, "padded": 129}})
    changes.append({"info": {"image_statistics": {"noise": [0.0, 1.0]}}})
    contents = [b"\0" + json.dumps(CONFIG, indent=1).encode(), b"\1" + WEIGHTS]
    contents += [b"\2" + json.dumps(change).encode() for change in changes]
    for i, content in enumerate(contents):
        (corpus / str(i)).write_bytes(content)


if __name__ == "__main__":
    torch.manual_seed(0)
    here = Path(tempfile.mkdtemp(prefix="weights-", dir="/dev/shm"))
    FOLDER = lensequiv.create_model("c4", **TINY).save_pretrained(here / "model")
    CONFIG = config_of(FOLDER)
    del CONFIG["config_sha256"]
    WEIGHTS = (FOLDER / "model.safetensors").read_bytes()
    IMAGE = torch.rand(129, 129)
    (here / "corpus").mkdir()
    write_seeds(here / "corpus")
    limits = ["-max_len=8192", "-timeout=60", "-rss_limit_mb=4000", "-len_control=0"]
    limits.append(f"-dict={dictionary(here)}")
    atheris.Setup([sys.argv[0], str(here / "corpus"), *limits, *sys.argv[1:]], one)
    atheris.Fuzz()
