"""Codecs made of linear layers: none at all, principal components, a small perceptron. D dim, Z latent, N rows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pdiff.mapped import COLUMNS, windows

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
        mean_D = torch.cat([x.double().mean(0) for _, x in windows(x_ND, width=COLUMNS)])
        components = principal_components(x_ND, mean_D, self.latent_dim)
        self.mean.copy_(mean_D)
        if len(components) < self.latent_dim:
            missing = components.new_zeros(self.latent_dim - len(components), components.shape[1])
            components = torch.cat([components, missing])
        self.components = components.to(self.components).contiguous()

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
        components = x_ND.new_empty(keep, x_ND.shape[1])
        for part, x in zip(components.split(COLUMNS, dim=1), _centred(x_ND, mean_D), strict=True):
            part.copy_(vectors.T @ x / singular[:keep, None])
    for component in components:
        component *= component[component.abs().argmax()].sign()
    return components


def _centred(x_ND: Tensor, mean_D: Tensor) -> Iterator[Tensor]:
    """Yield the columns less their mean in float64, at most COLUMNS at a time."""
    return (x - mean_D[columns] for columns, x in windows(x_ND, width=COLUMNS))


class MlpAutoencoder(nn.Module):
    """One hidden layer on the way to the latent and one on the way back."""

    def __init__(self, dim: int, latent: int, hidden: int):
        super().__init__()
        self.latent_dim = latent
        self.encode = nn.Sequential(nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, latent))
        self.decode = nn.Sequential(nn.Linear(latent, hidden), nn.SiLU(), nn.Linear(hidden, dim))
