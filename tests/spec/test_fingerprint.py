import torch

import lensequiv
from lensequiv.pretrained import pretrained_info
from lensequiv.spec import fingerprint


def test_published_weights_have_the_fingerprint_of_the_catalogue():
    model = lensequiv.from_pretrained("c4-modelJ")
    expected = pretrained_info("c4-modelJ")["sha256"]
    assert fingerprint(model) == expected
    assert fingerprint(model.double()) == expected


def test_every_tensor_counts():
    model = lensequiv.from_pretrained("c4-modelJ")
    found = {fingerprint(model)}
    with torch.no_grad():
        next(model.parameters()).view(-1)[0].mul_(1.1)
    found.add(fingerprint(model))
    model.domain = None
    found.add(fingerprint(model))
    assert len(found) == 3
