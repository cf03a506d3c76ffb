"""Codecs made of linear layers: none at all, principal components, a small perceptron. D dim, Z latent, N rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
        x = x_ND.detach().to("cpu", torch.float64)
        mean = x.mean(0)
        components = principal_components(x - mean, self.latent_dim)
        self.mean.copy_(mean)
        self.components.zero_()[: len(components)] = components.to(self.components)

    def encode(self, x_BD: Tensor) -> Tensor:
        return (x_BD - self.mean) @ self.components.T

    def decode(self, z_BZ: Tensor) -> Tensor:
        return self.mean + z_BZ @ self.components


def principal_components(x_ND: Tensor, count: int) -> Tensor:
    """Return at most `count` right singular vectors of centred rows, largest first, largest entry positive.

    Works on the smaller of the two Gram matrices: N x N for the few long vectors of a zoo.
    """
    wide = x_ND.shape[0] < x_ND.shape[1]
    square, vectors = torch.linalg.eigh(x_ND @ x_ND.T if wide else x_ND.T @ x_ND)
    singular, vectors = square.clamp(min=0).sqrt().flip(0), vectors.flip(1)
    rank = int((singular > RANK_TOLERANCE * singular[0]).sum())
    keep = min(count, rank, len(x_ND) - 1)
    vectors = vectors[:, :keep]
    components = (vectors.T @ x_ND) / singular[:keep, None] if wide else vectors.T
    sign = components.gather(1, components.abs().argmax(1, keepdim=True)).sign()
    return components * sign


class MlpAutoencoder(nn.Module):
    """One hidden layer on the way to the latent and one on the way back."""

    def __init__(self, dim: int, latent: int, hidden: int):
        super().__init__()
        self.latent_dim = latent
        self.encode = nn.Sequential(nn.Linear(dim, hidden), nn.SiLU(), nn.Linear(hidden, latent))
        self.decode = nn.Sequential(nn.Linear(latent, hidden), nn.SiLU(), nn.Linear(hidden, dim))
