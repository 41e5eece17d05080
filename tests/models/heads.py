"""What the tests of further heads share: small networks, and forms that carry heads."""

import copy
import pickle

import numpy as np
import pytest
import torch

import lensequiv

SMALL = {"stem_fields": 2, "stages": ((2,), (2, 2), (3,)), "stem_stride": 2}
SIDE = 97


@pytest.fixture
def x():
    """(3, 1, SIDE, SIDE), preprocessed."""
    torch.manual_seed(1)
    return torch.randn(3, 1, SIDE, SIDE)


def small_network(name, **options):
    """In training mode, of any number of channels."""
    torch.manual_seed(0)
    options = {} if name == "resnet18" else {**SMALL, **options}
    model = lensequiv.create_model(name, **options).set_input_size(SIDE)
    model.pixel_scale = 0.05
    return model.train()


def other_forms(model, other, folder):
    """A pickle, a copy, a file, and another network that took the state dict."""
    other.load_state_dict(model.state_dict())
    return (
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        lensequiv.from_pretrained(model.save_pretrained(folder)),
        other,
    )


def check_onnx(model, x, told, path):
    """Exports logits and what a further head tells, and compares both."""
    onnxruntime = pytest.importorskip("onnxruntime")
    heads = model.to_torch().all_heads()
    torch.onnx.export(
        heads,
        (x,),
        path,
        dynamo=True,
        input_names=["images"],
        output_names=["logits", told],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},),
        verbose=False,
    )
    session = onnxruntime.InferenceSession(path)
    for n in (2, 5):
        x = torch.randn(n, 1, SIDE, SIDE)
        found = session.run(None, {"images": x.numpy()})
        for got, expected in zip(found, heads(x), strict=True):
            scale = expected.abs().max()
            assert np.abs(got - expected.numpy()).max() < 1e-4 * scale
