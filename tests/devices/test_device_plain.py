"""The plain form is made and runs on whatever device its network is on.

Measured on a processor: bf16 convolutions change logits by up to 0.009 of the largest.
"""

import pytest
import torch
from small_networks import NAMES, images, network, tensors_within

import lensequiv
from lensequiv.plain import load_plain

SOME = ["c8", "o2", "d4-modelF"]
TINY = {"stem_fields": 2, "stem_kernel": 5, "stages": ((2,),)}


def compare(found, expected, within):
    scale = float(expected.abs().max())
    torch.testing.assert_close(
        found.double().cpu(), expected.double().cpu(), rtol=0, atol=within * scale
    )


@pytest.mark.parametrize("name", NAMES)
def test_plain_form(name, device, tmp_path):
    x = images(name)
    with torch.inference_mode():
        expected = network(name).double()(x.double())
        plain = network(name).to(device).to_torch()
        assert {t.device for _, t in tensors_within(plain)} == {device}
        compare(plain(x.to(device)), expected, 1e-4)
        logits, embedding = plain.logits_and_embedding(x.to(device))
        assert logits.device == embedding.device == device
        loaded = load_plain(plain.save(tmp_path / "plain.pt"))
        assert {t.device.type for _, t in tensors_within(loaded)} == {"cpu"}
        compare(loaded(x), expected, 1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_bf16_convolutions(name, device):
    x = images(name).to(device)
    with torch.inference_mode():
        expected = network(name)(images(name))
        plain = network(name).to(device).to_torch().bfloat16_convolutions()
        compare(plain(x), expected, 0.03)


@pytest.mark.parametrize("name", SOME)
def test_moves_as_a_whole(name, device):
    plain = network(name).to_torch()
    other = device if device.type != "cpu" else torch.device("meta")
    moved = plain.to(other)
    assert {t.device for _, t in tensors_within(moved)} == {other}
    assert moved(images(name).to(other)).device == other


@pytest.mark.slow
def test_compiled(device):
    x = images("c8").to(device)
    model = network("c8")
    if device.type == "cpu":  # half a minute less of C++ compiling
        model = lensequiv.create_model("c8", **TINY).eval()
    plain = model.to(device).to_torch()
    with torch.inference_mode():
        expected = plain(x)
        found = torch.compile(plain, fullgraph=True)(x)
    compare(found, expected, 1e-4)
