"""Small networks of every kind and preprocessed images, for tests of devices."""

import copy
import functools

import torch

import lensequiv

GROUPS = ["c4", "c8", "d4", "d8", "so2", "o2"]
BUNDLED = ["c8-modelJ", "d4-modelF"]
TRAINABLE = [*GROUPS, "singh2021-c4", "resnet18"]
NAMES = [*TRAINABLE, *BUNDLED]
SLIM = {"stem_fields": 2, "stem_kernel": 7, "stages": ((2,), (2, 2), (3,))}


@functools.cache
def _network(name):
    if name in BUNDLED:
        return lensequiv.from_pretrained(name)
    options = SLIM if name in GROUPS else {}
    if name == "singh2021-c4":
        options = {"fields": (2, 2, 3, 2, 2, 2)}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = lensequiv.create_model(name, **options)
        for key, tensor in model.tensors().items():
            if tensor.is_floating_point() and ("norm" in key or "bn" in key):
                tensor += 0.3 * torch.rand_like(tensor)
    return model.eval()


def network(name):
    """A network of its own on the processor, in evaluation mode, always the same.

    Norms of those that are not bundled are away from 0 and 1.
    """
    return copy.deepcopy(_network(name))


@functools.cache
def images(name, count=4):
    """(N, 1, H, W) on the processor, of a size that the network takes."""
    if name in BUNDLED:
        model = _network(name)
        paths = lensequiv.data.sample_paths(name.rpartition("-")[2])[:count]
        read = [lensequiv.data.read_image(path) for path in paths]
        return torch.stack([model.preprocess(image) for image in read])
    side = 129 if name.startswith("singh2021") else 65
    steps = torch.linspace(-1, 1, side)
    drawn = torch.Generator().manual_seed(2)
    x, y, width = torch.rand(3, count, 1, 1, 1, generator=drawn).unbind()
    right, down = steps - 0.3 * x, steps[:, None] - 0.3 * y
    ring = torch.exp(-0.5 * ((torch.hypot(right, down) - 0.5) / (0.2 * width)) ** 2)
    ring = ring * (0.6 + 0.4 * torch.cos(torch.atan2(down, right) - 6 * x))
    return ring + 0.1 * width * torch.randn(ring.shape, generator=drawn)


def tensors_within(thing, path="", seen=None):
    """Every tensor that a module holds in whatever attribute, with the way to it."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, str | bytes | type):
        return
    seen.add(id(thing))
    if isinstance(thing, torch.Tensor):
        yield path, thing
        return
    inner = {}
    if isinstance(thing, dict):
        inner = {f"[{key!r}]": value for key, value in thing.items()}
    elif isinstance(thing, list | tuple | set):
        inner = {f"[{i}]": value for i, value in enumerate(thing)}
    elif hasattr(thing, "__dict__") and not isinstance(thing, type(torch)):
        inner = {f".{key}": value for key, value in vars(thing).items()}
    for key, value in inner.items():
        yield from tensors_within(value, path + key, seen)
