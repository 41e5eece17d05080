"""What is different on a device: placement, waiting, compiled kernels, pieces."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lensequiv.simulation import (
    RECIPES,
    LensStream,
    _checks,
    _chunk,
    _deflection,
    _kernels,
    _light_lists,
    _physics,
    _rerender,
    _scene,
    _stream,
    model_j,
    render_lenses,
    simulate,
)
from lensequiv.simulation._draw import draw

SMALL = replace(model_j, name="small", pixels=24)


def _sum(dx, dy, strength, softening):
    """What the kernel does, in torch."""
    columns, rows = dx[:, :, None, :], dy[:, :, :, None]
    weight = strength[:, :, None, None] / (columns**2 + softening + rows**2)
    return (columns * weight).sum(1), (rows * weight).sum(1)


@pytest.fixture
def sums_points(monkeypatch):
    """Takes the way of devices that have kernels, without a kernel."""
    for module in (_deflection, _scene):
        monkeypatch.setattr(module, "has_kernels", lambda device: True)
    monkeypatch.setattr(_deflection, "sum_masses", _sum)


# Torch 2.4 draws on real devices alone.
_POISSON = torch._C._dispatch_has_kernel_for_dispatch_key("aten::poisson", "Meta")


@pytest.mark.skipif(not _POISSON, reason="this torch knows no poisson() on meta")
@pytest.mark.parametrize("name", RECIPES)
def test_nothing_is_left_on_the_processor(name, sums_points, monkeypatch):
    """On `meta` a tensor of another device is an error, and so is asking for values."""
    for module in (_rerender, _stream):
        monkeypatch.setattr(module, "rendering_device", torch.device)
    # There are no generators of this device, and none is needed.
    monkeypatch.setattr(_chunk, "generator_of", lambda *_: None)
    recipe = replace(RECIPES[name], pixels=40)
    chunk = LensStream(recipe, seed=0, size=21, chunk=24, device="meta").chunk(0)
    assert {value.device.type for value in chunk} == {"meta"}
    assert chunk.images.shape == (24, 1, 21, 21)
    lens = draw(recipe, 1, np.random.default_rng(0), 5)
    images = render_lenses(recipe, lens, device="meta")
    assert images.device.type == "meta"
    assert images.shape == (5, 40, 40)


@pytest.mark.accelerator("chunks of a stream do not wait for the device")
@pytest.mark.parametrize("name", ["modelJ", "modelF-varied", "deeplensesim1", "wide"])
def test_chunks_do_not_wait_for_the_device(name, device):
    if device.type != "cuda":
        pytest.skip("only CUDA tells when it is waited for")
    stream = LensStream(name, seed=0, chunk=96, device=device)
    stream.chunk(0)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        stream.chunk(1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.accelerator("that it renders what the processor does")
@pytest.mark.parametrize("name", ["modelJ", "modelF-varied", "deeplensesim1", "wide"])
@pytest.mark.parametrize("label", range(3))
def test_a_device_renders_what_the_processor_does(name, label, device):
    recipe = replace(RECIPES[name], pixels=40)
    lens = draw(recipe, label, np.random.default_rng(0), 9)
    straight = label == 2
    expected = render_lenses(recipe, lens, straight=straight)
    images = render_lenses(recipe, lens, straight=straight, device=device)
    assert images.device.type == device.type
    peak = expected.amax((1, 2), keepdim=True)
    # Either rounds rays to 1e-7 of the field, which steep light, as of small clumps
    # or next to masses, amplifies: the processor is up to 2.6e-5 from double precision.
    assert ((images.cpu() - expected).abs() / peak).max() < 5e-5


@pytest.mark.parametrize("name", ["light", "clump"])
def test_profiles_place_by_place(name, device):
    """Devices do what the processor does, and unused places may be all zeros."""
    drawn = draw(RECIPES["wide"], 1, np.random.default_rng(0), 20)
    drawn = {key: value for key, value in drawn.items() if key.startswith(name)}
    unused = drawn[_light_lists.LISTS[name]] == 0
    # Zeros behind the used places, as in chunks, and before them, as someone may pass.
    lens = {
        key: torch.from_numpy(np.roll(np.where(unused, 0.0, value), 1, 1)).to(device)
        for key, value in drawn.items()
    }
    used = _rerender._last_used(lens[_light_lists.LISTS[name]].cpu().numpy())
    assert used.min() == 0 and used.max() > 2
    axis = torch.linspace(-1, 1, 21, device=device)
    x, y = axis.expand(20, 21, 21), axis.expand(20, 21, 21).mT
    smooth = (x + 2 * y).exp()
    by_place = _light_lists._add_by_place(smooth.clone(), x, y, lens, name, used)
    by_lens = _light_lists._add_by_lens(smooth.clone(), x, y, lens, name)
    assert (by_lens != smooth).any(2).any(1).tolist() == (used > 0).tolist()
    assert torch.isfinite(by_place).all()
    torch.testing.assert_close(by_place, by_lens, rtol=1e-5, atol=1e-5)


@pytest.mark.accelerator("that the kernel for point masses adds them up")
@pytest.mark.parametrize("label", [1, 2])
def test_summed_deflection_is_the_sum(label, device):
    """Point by point, to the rounding of float32, whatever the number of masses."""
    lens = draw(SMALL, label, np.random.default_rng(0), 7)
    masses = [
        torch.from_numpy(lens[name]).to(device)
        for name in ("mass_x", "mass_y", "mass_theta2")
    ]
    axis = _physics.ray_grid(SMALL, device)
    if not _kernels.has_kernels(device):
        pytest.skip("there is no Triton here that works")
    for count in (1, 16, masses[0].shape[1]):
        some = [value[:, :count] for value in masses]
        double = _deflection.point_deflection(axis, *some, dtype=torch.float64)
        single = _deflection.summed_deflection(axis, *some)
        for got, expected in zip(single, double, strict=True):
            assert got.dtype == torch.float32
            torch.testing.assert_close(
                got.double(), expected, rtol=1e-5, atol=1e-5 * expected.abs().mean()
            )


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [75, 80, 90])
def test_the_kernel_compiles_for_gpus(architecture):
    """Down to machine code, which needs no GPU."""
    triton = pytest.importorskip("triton", "3.2")  # where ASTSource is as used here
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from lensequiv.simulation._triton import add_up

    tensors = ("dx", "dy", "strength", "total_x", "total_y")
    numbers = {"masses": "i32", "n": "i32", "softening": "fp32"}
    tile = {"COLUMNS": 64, "ROWS": 16}
    types = dict.fromkeys(tensors, "*fp32") | numbers | dict.fromkeys(tile, "constexpr")
    source = ASTSource(add_up, types, constexprs=tile)
    kernel = triton.compile(source, target=GPUTarget("cuda", architecture, 32))
    assert "div" in kernel.asm["ptx"] and len(kernel.asm["cubin"]) > 1000


def test_kernels_are_left_out_where_they_cannot_work(monkeypatch):
    assert not _kernels.has_kernels(torch.device("cpu"))
    asked = _kernels.has_kernels.__wrapped__
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(_kernels, "find_spec", lambda _: True)
    monkeypatch.setenv("CC", "gcc")
    monkeypatch.setattr(
        _kernels.sysconfig, "get_paths", lambda: {"include": "/nowhere"}
    )
    assert not asked(gpu)  # no headers of Python
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 1))
    assert not asked(gpu)  # a card that Triton does not know


@pytest.mark.parametrize("rays", [24 * 24 * 4 * 2, 10**9])
def test_pieces_do_not_matter(rays, monkeypatch):
    whole = simulate(SMALL, 30, seed=1, noise=False)
    monkeypatch.setattr(_rerender, "_RAYS", rays)
    again = simulate(SMALL, 30, seed=1, noise=False)
    torch.testing.assert_close(again.images, whole.images, rtol=1e-5, atol=1e-5)


def test_memory_bounds_the_pieces(monkeypatch):
    class Small:
        total_memory = 4 * 2**30

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Small)
    few = _rerender._rays_together(torch.device("cuda", 0))
    # Twenty numbers a ray, in a fifth of the memory.
    assert few * 20 * 4 <= 4 * 2**30 / 5
    Small.total_memory = 80 * 2**30
    assert _rerender._rays_together(torch.device("cuda", 0)) == 30_000_000
    assert _rerender._rays_together(torch.device("cpu")) == 360_000


@pytest.mark.parametrize("call", [LensStream, render_lenses, simulate])
def test_devices_that_are_not_there(call, monkeypatch):
    lens = draw(SMALL, 0, np.random.default_rng(0), 3)
    arguments = {
        LensStream: {"seed": 0, "size": 15, "shift": 3},
        render_lenses: {"parameters": lens},
        simulate: {"n": 3, "seed": 0},
    }[call]
    with pytest.raises(ValueError, match="device='cuda:99'"):
        call(SMALL, **arguments, device="cuda:99")
    there = torch.device("mps")
    monkeypatch.setattr(_checks, "resolve_device", lambda _: there)
    with pytest.raises(ValueError, match="device='mps' has no float64"):
        call(SMALL, **arguments, device="mps")
    assert _checks.rendering_device("auto") == torch.device("cpu")
