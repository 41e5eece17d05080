"""Quantities of a lens: their posterior distribution as a mixture of Gaussians."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FLOOR = 1e-3  # least width of a Gaussian: a density without bound fits single lenses
_REACH = 8.0  # widths around the Gaussians in which quantiles are looked for
_HALVINGS = 32


class Mixture(NamedTuple):
    """A posterior of Q quantities for each of N lenses: K Gaussians, correlated.

    Quantities are in units of their spread among the training lenses, from its mean.

    Attributes:
        log_weights: (N, K), logarithms of weights that add up to 1.
        means: (N, K, Q).
        factors: (N, K, Q, Q): lower triangular; times its transpose the covariance.
    """

    log_weights: Tensor
    means: Tensor
    factors: Tensor

    def log_density(self, truth: Tensor) -> Tensor:
        """Logarithm of the density at the truth; quantities that are NaN are left out.

        Args:
            truth: (N, Q) in the units of the mixture.

        Returns:
            (N,); 0 where nothing is known.
        """
        # Differences of covariances need more than single precision; Apple's GPUs
        # have no other.
        wide = torch.float32 if truth.device.type == "mps" else torch.float64
        weights, means, factors = (part.to(wide) for part in self)
        missing = truth.isnan()[:, None]
        covariance = factors @ factors.mT
        one = torch.eye(means.shape[-1], dtype=wide, device=means.device)
        apart = missing[..., None] | missing[..., None, :]
        covariance = torch.where(apart, one, covariance)
        chosen, _ = torch.linalg.cholesky_ex(covariance)
        away = torch.where(missing, 0.0, truth[:, None].nan_to_num().to(wide) - means)
        z = torch.linalg.solve_triangular(chosen, away[..., None], upper=False)
        log = -0.5 * z[..., 0].square().sum(-1)
        log = log - chosen.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log = log - 0.5 * math.log(2 * math.pi) * (~missing).sum(-1)
        return (weights + log).logsumexp(1).to(torch.promote_types(truth.dtype, wide))

    def widths(self) -> Tensor:
        """(N, K, Q) standard deviations of each quantity by itself."""
        return self.factors.square().sum(-1).sqrt()

    def below(self, y: Tensor) -> Tensor:
        """Probability that each quantity lies below some values.

        Args:
            y: (N, Q, L) in the units of the mixture.

        Returns:
            (N, Q, L).
        """
        z = (y[:, None] - self.means[..., None]) / self.widths()[..., None]
        chance = 0.5 * (1 + torch.erf(z / math.sqrt(2)))
        return (self.log_weights.exp()[:, :, None, None] * chance).sum(1)

    def quantiles(self, levels: Tensor) -> Tensor:
        """Values below which each quantity by itself lies with given probabilities.

        Args:
            levels: (Q, L) between 0 and 1.

        Returns:
            (N, Q, L) in the units of the mixture.
        """
        widths = self.widths()
        low = (self.means - _REACH * widths).amin(1)[..., None].expand(-1, *levels.shape)
        high = (self.means + _REACH * widths).amax(1)[..., None].expand(
            -1, *levels.shape
        )
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            less = self.below(middle) < levels
            low, high = torch.where(less, middle, low), torch.where(less, high, middle)
        return (low + high) / 2

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draws from the posterior of each lens.

        Args:
            count: Draws a lens.
            generator: Of random numbers, on the mixture's device.

        Returns:
            (N, count, Q) in the units of the mixture.
        """
        weights = self.log_weights.exp()
        which = torch.multinomial(weights, count, True, generator=generator)
        n, _, q = self.means.shape
        row = torch.arange(n, device=weights.device)[:, None]
        z = torch.randn(
            n,
            count,
            q,
            1,
            generator=generator,
            dtype=weights.dtype,
            device=weights.device,
        )
        return self.means[row, which] + (self.factors[row, which] @ z)[..., 0]


class QuantityHead(nn.Module):
    """From the embedding to the posterior of some quantities.

    Two hidden layers; a mixture density (Bishop 1994) with full covariances, so that
    quantities may depend on one another.

    Args:
        inputs: Length of the embedding.
        hidden: Width of the hidden layers.
        components: Gaussians of the mixture.
        count: Quantities.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, inputs: int, hidden: int, components: int, count: int) -> None:
        super().__init__()
        self.components, self.count = components, count
        # Of the embeddings: what the first layer takes as 0 and 1.
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        pairs = count * (count - 1) // 2
        outputs = components * (1 + 2 * count + pairs)
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.LayerNorm(hidden),
            nn.GELU(),
            nn.Linear(hidden, outputs),
        )
        last: Any = self.layers[-1]
        with torch.no_grad():
            last.weight.mul_(0.1)
            bias = last.bias.view(components, -1)
            bias.zero_()
            # The Gaussians begin apart from one another.
            bias[:, 1 : 1 + count].normal_()
        rows, columns = torch.tril_indices(count, count, -1)
        places = torch.zeros(max(pairs, 1), count, count)
        places[torch.arange(pairs), rows, columns] = 1.0
        self.register_buffer("_places", places, persistent=False)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Inputs, width, Gaussians and quantities: what decides the tensors."""
        first: Any = self.layers[0]
        sizes = first.in_features, first.out_features, self.components, self.count
        return sizes

    def forward(self, embedding: Tensor) -> Mixture:
        """The posterior, in single precision or better whatever autocast says.

        Args:
            embedding: (N, inputs).
        """
        with torch.autocast(embedding.device.type, enabled=False):
            x = (embedding.to(self.centre.dtype) - self.centre) / self.spread
            raw: Tensor = self.layers(x)
            raw = raw.to(torch.promote_types(raw.dtype, torch.float32))
            return self._mixture(raw.unflatten(1, (self.components, -1)))

    def _mixture(self, raw: Tensor) -> Mixture:
        """Of (N, K, ...) outputs."""
        q = self.count
        widths = _FLOOR + F.softplus(raw[..., 1 + q : 1 + 2 * q] + 0.54)
        factors = torch.diag_embed(widths)
        if q > 1:
            places: Any = self._places
            below = raw[..., 1 + 2 * q :] @ places.to(raw.dtype).flatten(1)
            # In units of the row's own width.
            factors = factors + below.unflatten(-1, (q, q)) * widths[..., None]
        return Mixture(raw[..., 0].log_softmax(1), raw[..., 1 : 1 + q], factors)


def told_quantiles(mixture: Mixture, described: Tensor) -> Tensor:
    """What is told of a posterior: quantiles in the quantities' own units.

    Args:
        mixture: Of N lenses.
        described: (Q, 2 + L): mean, scale and levels of each quantity.

    Returns:
        (N, Q, L).
    """
    described = described.to(mixture.means)
    mean, scale, levels = described[:, :1], described[:, 1:2], described[:, 2:]
    return mean + scale * mixture.quantiles(levels)


def describe_quantities(config: Mapping[str, Any]) -> Tensor:
    """The second argument of `told_quantiles`, float64 on the CPU.

    Args:
        config: `quantities` of a network's record.
    """
    rows = [[q["mean"], q["scale"], *q["levels"]] for q in config["quantities"]]
    return torch.tensor(rows, dtype=torch.float64, device="cpu")


class PlainQuantities(QuantityHead):
    """The same head in a `PlainModel`, with what it needs to tell quantiles.

    Args:
        config: `quantities` of the network's record.
    """

    described: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        sizes = (config[name] for name in ("inputs", "hidden", "components"))
        super().__init__(*sizes, len(config["quantities"]))
        described = describe_quantities(config).float()
        self.register_buffer("described", described, persistent=False)

    def quantiles(self, embedding: Tensor) -> Tensor:
        """(N, Q, 5) of (N, inputs) embeddings; see `told_quantiles`."""
        return told_quantiles(self(embedding), self.described)
