"""What the tests of the Hub share."""

import torch
from torch import nn

import lensequiv
from lensequiv.models import _builders
from lensequiv.models.base import InputSizes, LensNetwork

NAME = "lens-group/tiny"
X = torch.rand(1, 1, 17, 17, generator=torch.Generator().manual_seed(1))


class Tiny(LensNetwork):
    """Built and run in a millisecond."""

    input_size = 33

    def __init__(self, in_channels=1, num_classes=3, initialize=True):
        super().__init__(in_channels, num_classes, InputSizes(17, 16, 129))
        self.body = nn.Sequential(nn.Conv2d(in_channels, 32, 9), nn.BatchNorm2d(32))
        self.head = nn.Linear(32, num_classes)

    def _features(self, x):
        return self.body(x)

    def _pool(self, features):
        return features.mean((2, 3))


def register(monkeypatch):
    """Makes `tests-tiny` a model for as long as the test runs."""
    monkeypatch.setitem(_builders._BUILDERS, "tests-tiny", Tiny)


def tiny(seed):
    """A small model with weights of its own."""
    torch.manual_seed(seed)
    return lensequiv.create_model("tests-tiny").eval()


def logits(model):
    with torch.no_grad():
        return model(X)


def facts(model):
    """All that decides an answer, to be compared."""
    return (
        logits(model).tolist(),
        model.classes,
        model.input_size,
        model.preprocess.to_config(),
        dict(model.weights_info),
    )


def files_of(model, folder):
    """What is pushed: content by file name."""
    model.save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fetches(file, method):
    """Matches the requests for a file's metadata (HEAD) or its content (GET)."""

    def match(request):
        if file == "model.safetensors" and method == "GET":
            return request.method == "GET" and request.path.startswith("/cdn/")
        return request.method == method and request.path.endswith(f"/{file}")

    return match
