"""A device is what was asked for, or there is one clear line."""

import pytest
import torch

import lensequiv
from lensequiv._devices import is_out_of_memory, resolve_device
from lensequiv._neutral import without_tf32
from lensequiv.cli import main

NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@pytest.mark.parametrize("given", ["cpu", "cpu:0", torch.device("cpu")])
def test_the_processor(given):
    assert resolve_device(given) == torch.device("cpu")


@pytest.mark.parametrize(
    "given", ["gpu", "cpu:1", "", "meta", "cuda:x", "mps:3", 0, None, True]
)
def test_what_is_no_device_is_refused(given):
    shown = repr(given).replace(".", r"\.")
    with pytest.raises(ValueError, match=f"^device={shown}: expected 'auto', 'cpu',"):
        resolve_device(given)


@NO_CUDA
@pytest.mark.parametrize("given", ["cuda", "cuda:1", torch.device("cuda:0")])
def test_cuda_that_is_not_there_is_refused_with_torchs_reason(given):
    """Torch says whether it was built without CUDA, or finds no driver."""
    reason = "CUDA|driver"
    with pytest.raises(ValueError, match=rf"^device='{given}': .*({reason}).*is cpu"):
        resolve_device(given)


@pytest.mark.skipif(torch.backends.mps.is_built(), reason="there may be MPS here")
def test_mps_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"'mps': torch .* was built without MPS"):
        resolve_device("mps")


@NO_CUDA
def test_auto_without_a_gpu():
    found = resolve_device("auto").type
    assert found == ("mps" if torch.backends.mps.is_available() else "cpu")


@CUDA
def test_auto_with_a_gpu():
    current = torch.device("cuda", torch.cuda.current_device())
    assert resolve_device("auto") == resolve_device("cuda") == current


@CUDA
def test_a_number_too_large_is_refused():
    count = torch.cuda.device_count()
    with pytest.raises(ValueError, match=f"this machine has {count} CUDA dev.*cpu, c"):
        resolve_device(f"cuda:{count}")


def test_errors_that_say_too_little_memory():
    assert is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (...)"))
    assert is_out_of_memory(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling"))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))
    assert not is_out_of_memory(ValueError("out of memory"))


@CUDA
def test_tf32_is_off_within_and_as_before_after():
    torch.ones(1, device="cuda")
    flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with without_tf32():
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    after = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    assert after == flags


# Networks and images on two devices


@pytest.mark.parametrize("plain", [False, True])
def test_networks_refuse_images_on_another_device(plain):
    model = lensequiv.create_model("c4", stem_fields=2, stages=((2,), (2,))).eval()
    network = model.to_torch() if plain else model
    x = torch.zeros(1, 1, model.input_size, model.input_size, device="meta")
    with pytest.raises(ValueError, match="c4 is on cpu, the images are on meta; exp"):
        network(x)
    with pytest.raises(ValueError, match="c4 is on cpu, the images are on meta"):
        network.logits_and_embedding(x)
    if not plain:
        with pytest.raises(ValueError, match=r"expected one device: x\.to\('cpu'\)"):
            model.embed(x)


# Where devices are asked for


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "x.npy"],
        ["evaluate", "x", "--weights", "c8-modelF"],
        ["equivariance", "c8-modelF"],
    ],
)
def test_commands_refuse_it_at_once(arguments, capsys):
    assert main([*arguments, "--device", "gpu"]) == 1
    said = capsys.readouterr().err
    assert "device='gpu': expected 'auto', 'cpu'" in said
    assert said.count("\n") == 1


def test_every_function_refuses_it_before_any_work(tmp_path):
    model = lensequiv.create_model("c4", stem_fields=2, stages=((2,), (2,))).eval()
    images, labels = torch.rand(2, 1, 129, 129), torch.tensor([0, 1])
    calls = [
        lambda: model.predict(images, device="gpu"),
        lambda: lensequiv.iter_predict(model, images, device="gpu"),
        lambda: lensequiv.inference.calibrate(model, images, labels, device="gpu"),
        lambda: lensequiv.equivariance.measure(model, images, device="gpu"),
        lambda: lensequiv.equivariance.lie_derivative(model, images, device="gpu"),
        lambda: lensequiv.evaluation.perturb(model, "modelF", device="gpu"),
        lambda: lensequiv.from_pretrained("c8-modelF", device="gpu"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"^device='gpu': expected 'auto'"):
            call()


def test_a_loaded_model_is_where_it_was_asked_for(device):
    model = lensequiv.from_pretrained("c8-modelF", device=device)
    tensors = [*model.parameters(), *model.buffers()]
    assert {tensor.device for tensor in tensors} == {device}
    assert not model.training
