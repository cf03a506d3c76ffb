"""Codecs made of linear layers: none at all, principal components, a small perceptron. D dim, Z latent, N rows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pdiff.mapped import COLUMNS

RANK_TOLERANCE = 1e-6  # of the largest singular value: what is below is rounding of float32 vectors


class IdentityModule(nn.Module):
    """The vector is its own latent."""

    def __init__(self, dim: int):
        super().__init__()
        self.latent_dim = dim

    def encode(self, x_BD: Tensor) -> Tensor:
        return x_BD

    def decode(self, z_BZ: Tensor) -> Tensor:
        return z_BZ


class PcaModule(nn.Module):
    """Scores on orthonormal components; components that the rows have no variance for are zero."""

    mean: Tensor
    components: Tensor

    def __init__(self, dim: int, latent: int):
        super().__init__()
        self.latent_dim = min(latent, dim)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("components", torch.zeros(self.latent_dim, dim))

    def fit(self, x_ND: Tensor) -> None:
        """Set mean and components from the rows; the same on every device."""
        x_ND = x_ND.detach().cpu()
        mean_D = torch.cat([x.double().mean(0) for x in x_ND.split(COLUMNS, dim=1)])
        components = principal_components(x_ND, mean_D, self.latent_dim)
        self.mean.copy_(mean_D)
        self.components.zero_()[: len(components)] = components.to(self.components)

    def encode(self, x_BD: Tensor) -> Tensor:
        return (x_BD - self.mean) @ self.components.T

    def decode(self, z_BZ: Tensor) -> Tensor:
        return self.mean + z_BZ @ self.components


def principal_components(x_ND: Tensor, mean_D: Tensor, count: int) -> Tensor:
    """Return at most `count` right singular vectors of the rows less their mean, largest first, largest entry positive.

    Works on the smaller of the two Gram matrices, N x N for the few long vectors of a zoo, in float64, and returns
    the components in the rows' own precision.
    """
    wide = x_ND.shape[0] < x_ND.shape[1]
    if wide:
        gram = sum(x @ x.T for x in _centred(x_ND, mean_D))
    else:
        x = torch.cat(list(_centred(x_ND, mean_D)), dim=1)
        gram = x.T @ x
    square, vectors = torch.linalg.eigh(gram)
    singular, vectors = square.clamp(min=0).sqrt().flip(0), vectors.flip(1)
    rank = int((singular > RANK_TOLERANCE * singular[0]).sum())
    keep = min(count, rank, len(x_ND) - 1)
    vectors = vectors[:, :keep]
    components = vectors.T
    if wide:
        parts = [(vectors.T @ x / singular[:keep, None]).to(x_ND) for x in _centred(x_ND, mean_D)]
        components = torch.cat(parts, dim=1)
    sign = components.gather(1, components.abs().argmax(1, keepdim=True)).sign()
    return components * sign


def _centred(x_ND: Tensor, mean_D: Tensor) -> Iterator[Tensor]:
    """Yield the columns less their mean in float64, at most COLUMNS at a time."""
    blocks = zip(x_ND.split(COLUMNS, dim=1), mean_D.split(COLUMNS), strict=True)
    return (x - mean for x, mean in blocks)


class MlpAutoencoder(nn.Module):
    """One hidden layer on the way to the latent and one on the way back."""

    def __init__(self, dim: int, latent: int, hidden: int):
        super().__init__()
        self.latent_dim = latent
        self.encode = nn.Sequential(nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, latent))
        self.decode = nn.Sequential(nn.Linear(latent, hidden), nn.SiLU(), nn.Linear(hidden, dim))
