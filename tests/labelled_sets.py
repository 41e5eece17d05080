"""A small model and a labelled data set, for tests of what is made of the two."""

import json

import numpy as np
import pytest
import torch

import lensequiv
from lensequiv.transforms import CropAndScale

CLASSES = ("no", "sphere", "vort")

CARD = {
    "trained_on": {
        "recipe": "modelF",
        "train": {"images": 60, "seed": 1},
        "val": {"images": 9, "seed": 2},
        "test": {"images": 15, "seed": 4},
    },
    "metrics": {
        "test": {"auc_micro": 0.9, "auc": {"no": 0.8}, "images": 15},
        "test_rotated": {"auc_micro": 0.7, "auc": {"no": 0.6}, "images": 15},
    },
}


@pytest.fixture
def model(shaken):
    tiny = lensequiv.create_model("c4", stem_fields=2, stem_kernel=7, stages=((2,),))
    tiny = shaken(tiny).eval()
    tiny.input_size, tiny.preprocess = 49, CropAndScale(49)
    return tiny


@pytest.fixture(scope="session")
def pictures():
    """Images with a source in the centre that differs by class: (15, 1, 60, 60)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:60, :60] - 29.5
    images = []
    for i in range(15):
        radius = 4 + 2 * (i % 3) + rng.normal()
        images.append(np.exp(-(x**2 + 2 * y**2) / (2 * radius**2)))
    noise = 0.05 * rng.normal(size=(15, 60, 60))
    return torch.tensor(np.stack(images) + noise, dtype=torch.float32)[:, None]


@pytest.fixture
def folder(tmp_path, pictures):
    """The same as class folders, with a manifest: five images a class."""
    root = tmp_path / "set"
    for c, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for i, image in enumerate(pictures[c::3]):
            np.save(root / name / f"{i}.npy", image[0])
    manifest = {
        "recipe": {"name": "modelF"},
        "images": 15,
        "seed": 4,
        "versions": {"lensequiv": "0.1.0"},
    }
    (root / "manifest.json").write_text(json.dumps(manifest))
    return root
