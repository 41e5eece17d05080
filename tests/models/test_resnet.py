"""The yardstick against torchvision's own."""

import pytest
import torch

import lensequiv

# Tests against torchvision are not of the quick choice: it takes seconds to import.


@pytest.fixture(scope="module")
def pair():
    """Ours with three channels and torchvision's, with the same random weights."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    theirs = resnet18(num_classes=4)
    with torch.no_grad():
        for tensor in theirs.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.02 * torch.rand_like(tensor))
    ours = lensequiv.create_model("resnet18", in_channels=3, num_classes=4)
    state = {k.replace("fc.", "head."): v for k, v in theirs.state_dict().items()}
    assert ours.tensors().keys() == state.keys()
    with pytest.warns(UserWarning, match="has no '_extra_state'"):
        ours.load_state_dict(state)
    return ours, theirs


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [65, 129])
def test_equals_torchvision(pair, training, size):
    # In the same memory layout, which decides the order of sums.
    ours, theirs = (
        model.train(training).to(memory_format=torch.channels_last) for model in pair
    )
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected = theirs(x)
        assert torch.equal(ours(x), expected)
    assert expected.std() > 0.01
    assert torch.equal(ours.bn1.running_mean, theirs.bn1.running_mean)


@pytest.mark.parametrize("in_channels", [1, 2])
def test_any_number_of_channels(in_channels):
    model = lensequiv.create_model("resnet18", in_channels=in_channels).eval()
    assert model.conv1.weight.shape == (64, in_channels, 7, 7)
    # Kaiming, fan out: as torchvision's own first layer.
    std = float(model.conv1.weight.detach().std())
    assert std == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.1)
    x = torch.randn(2, in_channels, 65, 65)
    with torch.no_grad():
        logits, embedding = model(x), model.embed(x)
        assert model.forward_features(x).shape == (2, 512, 3, 3)
    assert logits.shape == (2, 3) and embedding.shape == (2, 512)
    assert torch.equal(model.head(embedding), logits)
    with pytest.raises(ValueError, match=rf"expected \(N, {in_channels}, H, W\)"):
        model(torch.randn(2, 3, 65, 65))


@pytest.mark.slow
def test_one_channel_learns():
    model = lensequiv.create_model("resnet18")
    model(torch.randn(2, 1, 33, 33)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_sizes():
    model = lensequiv.create_model("resnet18")
    with pytest.raises(ValueError, match=r"resnet18: input of 32 x 32 .* 32: 33$"):
        model(torch.randn(1, 1, 32, 32))
    with pytest.raises(ValueError, match=r"33 x 65 pixels;.* expected a square"):
        model(torch.randn(1, 1, 33, 65))


def test_is_not_invariant():
    """What makes it a yardstick."""
    model = lensequiv.create_model("resnet18").eval()
    x = torch.randn(2, 1, 65, 65)
    with torch.no_grad():
        logits, turned = model(x), model(torch.rot90(x, 1, (2, 3)))
    assert (turned - logits).abs().max() > 1e-3 * logits.abs().max()
