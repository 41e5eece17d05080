"""Fields of the continuous groups: functions on the group, cut at a frequency.

A regular field of C8 is a function on eight rotations. Its counterpart for all
rotations is a function f on the circle, held by its Fourier coefficients up to angular
frequency F,

    f(phi) = a_0 + sum_{k = 1}^{F} (a_k cos k phi + b_k sin k phi),

which a turn by theta maps to f(phi - theta): (a_k, b_k) turn by k theta. That is a
direct sum of SO(2)'s irreducible representations, each once, so steerable convolutions
between such fields come from e2cnn like all others. With reflections the function lives
on two circles, and every two-dimensional representation of O(2) appears twice.

A non-linearity must act on the function, not on its coefficients: it is applied to
samples of f at equal angles, and the result is projected back (de Haan et al.,
arXiv:2003.05425; Cesa et al., 2022). Turns by the angle between two samples commute
with that exactly; others the better, the more samples there are: what is lost are
products of frequencies that the samples cannot tell apart.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from lensequiv._e2cnn import directsum
from lensequiv._neutral import neutral
from lensequiv.models.conversion import widened
from lensequiv.models.norms import all_sum, follow
from lensequiv.plain import ACTIVATIONS

__all__ = ["FourierActivation", "FourierNorm", "fourier_fields"]


def fourier_fields(space: Any, max_frequency: int) -> Any:
    """The representation of a continuous group on its functions up to a frequency.

    Args:
        space: From `lensequiv._e2cnn.parse_group`.
        max_frequency: F.

    Returns:
        e2cnn's representation: the invariant part first, then by frequency.
    """
    group = space.fibergroup
    frequencies = range(1, max_frequency + 1)
    if group.name == "SO(2)":
        parts = [group.irrep(0), *(group.irrep(k) for k in frequencies)]
    else:
        parts = [group.irrep(0, 0), group.irrep(1, 0)]
        parts += [group.irrep(1, k) for k in frequencies for _ in range(2)]
    return directsum(parts, name=f"fourier_{max_frequency}")


def _elements(representation: Any, samples: int) -> list[Any]:
    """Equally spaced elements of the group, as e2cnn writes them."""
    angles = [2 * math.pi * i / samples for i in range(samples)]
    if representation.group.name == "SO(2)":
        return list(angles)
    return [(flip, angle) for flip in (0, 1) for angle in angles]


@lru_cache(maxsize=32)  # every activation of a network has the same one
@neutral()
def sampling_matrix(representation: Any, samples: int) -> Tensor:
    """From a field's coefficients to the values of its function.

    With rho the representation and v a vector that holds a unit vector of each
    irreducible part (of two equal parts the first and the second one), the function's
    value at g is <rho(g) v, x>: the field rho(h) x then has the value of x at h^-1 g,
    as a turned function must.

    Args:
        representation: From `fourier_fields`.
        samples: Angles.

    Returns:
        (S, size) float64, S the number of angles, or twice as many for O(2); scaled so
        that coefficients of variance 1 give values of variance 1.
    """
    start, seen = 0, dict[str, int]()
    vector = torch.zeros(representation.size, dtype=torch.float64)
    for name in representation.irreps:
        size = representation.group.irreps[name].size
        copy = seen.get(name, 0)
        seen[name] = copy + 1
        vector[start + copy] = math.sqrt(size)
        start += size
    rows = [
        torch.as_tensor(representation(element), dtype=torch.float64) @ vector
        for element in _elements(representation, samples)
    ]
    return torch.stack(rows) / math.sqrt(representation.size)


class FourierActivation(nn.Module):
    """A pointwise function of the values of a field's function.

    Args:
        representation: From `fourier_fields`.
        samples: Angles at which the function is sampled.
        name: `"relu"` or `"gelu"`.
    """

    to_values: Tensor
    to_coefficients: Tensor

    def __init__(self, representation: Any, samples: int, name: str) -> None:
        super().__init__()
        matrix = sampling_matrix(representation, samples)
        dtype = torch.get_default_dtype()
        back = torch.linalg.pinv(matrix)
        self.register_buffer("to_values", matrix.to(dtype, copy=True), persistent=False)
        self.register_buffer("to_coefficients", back.to(dtype), persistent=False)
        self.name, self.function = name, ACTIVATIONS[name]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, fields * size, H, W) to the same shape."""
        shape = x.shape
        # Of an empty batch a reshape with -1 would be ambiguous.
        x = x.unflatten(1, (-1, self.to_values.shape[1])).flatten(0, 1).flatten(2)
        y = self.function(torch.matmul(self.to_values.to(x.dtype), x))
        y = torch.matmul(self.to_coefficients.to(y.dtype), y)
        return y.view(shape)

    def add_plain(self, layers: Any) -> None:
        """Appends the plain form."""
        layers.add(
            "fourier",
            {"to_values": self.to_values, "to_coefficients": self.to_coefficients},
            samples=self.to_values.shape[0],
            size=self.to_values.shape[1],
            activation=self.name,
        )


class FourierNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation of Fourier series: one variance and scale for each field.

    The mean and the shift concern the invariant coefficient alone, since all others
    have the mean 0 over all turns of an image. The variance is the mean over all
    coefficients, which no turn changes.

    Args:
        fields: Number of fields.
        size: Coefficients of a field, the invariant one first.

    Attributes:
        shared: Whether all processes share statistics; see `synchronise_batch_norm`.
    """

    shared = False

    def __init__(self, fields: int, size: int) -> None:
        super().__init__(fields)
        self.size = size

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        """Normalises (N, fields * size, H, W)."""
        fields = x.unflatten(1, (self.num_features, self.size)).flatten(3)
        if self.training:
            mean, variance = self._measure(fields)
        else:
            mean, variance = (
                cast(Tensor, self.running_mean),
                cast(Tensor, self.running_var),
            )
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        # The shift of the invariant coefficient, zeros for all others.
        shifts = torch.nn.functional.pad(shift[:, None], (0, self.size - 1))
        y = torch.addcmul(
            shifts[..., None].to(x.dtype), fields, scale[:, None, None].to(x.dtype)
        )
        return y.view(x.shape)

    def _measure(self, fields: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of a batch, which the running ones follow."""
        wide = fields.to(torch.promote_types(fields.dtype, torch.float32))
        mean = wide[:, :, 0].mean((0, 2))
        square = wide.square().mean((0, 2, 3))
        if self.shared:
            images = mean.new_full((1,), len(fields))
            total = all_sum(torch.cat([mean * images, square * images, images]))
            mean, square = (total[:-1] / total[-1]).chunk(2)
        variance = square - mean.square() / self.size
        with torch.no_grad():
            follow(self, mean, variance)
        return mean, variance

    def fold(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Filter and bias of a convolution and this norm, in evaluation mode.

        Args:
            weight: (fields * size, ...) of the convolution.
        """
        assert self.running_mean is not None and self.running_var is not None
        variance = widened(self.running_var) + self.eps
        scale = widened(self.weight) * torch.rsqrt(variance)
        shift = widened(self.bias) - widened(self.running_mean) * scale
        bias = torch.nn.functional.pad(shift[:, None], (0, self.size - 1)).flatten()
        scale = scale.repeat_interleave(self.size)
        folded = widened(weight) * scale.view(-1, *[1] * (weight.ndim - 1))
        return folded.to(weight.dtype), bias.to(weight.dtype)
