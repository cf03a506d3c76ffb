"""Principal components of a zoo without a basis: every direction is a sum of checkpoints.

N checkpoints span N - 1 directions, however many numbers they have. Their Gram matrix `[N, N]` says all that the
components say: with G = U S^2 U^T the scores of the checkpoints are U S, and a score z stands for the network mean +
(z S^-1 U^T) (X - mean). So nothing of length D is held or stored; the zoo is read window by window, once to fit and
once for each population. N checkpoints, M samples, D parameters, Z latents, W columns of a window.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pdiff.bench import Bench
from pdiff.context import Context
from pdiff.zoo import Zoo
from pdiff_plugins.backbones.nets.linear_codec import RANK_TOLERANCE
from pdiff_plugins.maths import normalise
from pdiff_plugins.maths.normalise import Normaliser, mixed, read


class Span:
    """The directions in which checkpoints differ, largest first; those beyond their rank are zero."""

    def __init__(self, zoo: Zoo, weight_ZN: Tensor, level: Tensor | None, faithful: bool):
        """`weight_ZN`: of each checkpoint's deviation from the mean, float64; `level`: see `Normaliser`."""
        self.zoo, self.weight_ZN, self.level, self.faithful = zoo, weight_ZN, level, faithful

    def decode(self, z_MZ: Tensor, ctx: Context) -> Tensor:
        """Return theta_MD in the original scale, on the CPU, from latents on the CPU."""
        return mixed(self.zoo, z_MZ.double() @ self.weight_ZN, ctx, self.level)

    def encode(self, theta_MD: Tensor, bench: Bench, ctx: Context) -> Tensor:
        """Return the latents z_MZ of networks in the original scale, which need not be the zoo's."""
        normaliser = normalise.per_tensor(self.zoo) if self.faithful else normalise.per_column(self.zoo)
        product_MN = torch.zeros(len(theta_MD), len(self.zoo), dtype=torch.float64)
        for columns, block, theta_NW in read(self.zoo.theta_ND, self.zoo.layout):
            near = normaliser.window(columns, block)
            x_MW, x_NW = (near.encode(part).double() for part in (theta_MD[:, columns], theta_NW))
            mean_W = x_NW.mean(dim=0)
            product_MN += (x_MW - mean_W) @ (x_NW - mean_W).T
        return (product_MN @ self.weight_ZN.T).float()

    def tensors(self) -> dict[str, Tensor]:
        return {"span.weight": self.weight_ZN} | ({} if self.level is None else {"span.level": self.level})


def fit(zoo: Zoo, latent: int, faithful: bool) -> tuple[Span, Tensor, dict[str, Any]]:
    """Return the span's first directions, the checkpoints' latents z_NZ in float64, and what is kept of them.

    Tensors count as in `normalise.per_column`, each in units of its own spread between checkpoints, or, with
    `faithful`, as in `normalise.per_tensor`.
    """
    count, whole = len(zoo), normalise.per_tensor(zoo) if faithful else None
    level = whole.level if whole else None
    near = Normaliser(zoo.layout, torch.zeros(1), torch.ones(1), level)
    gram_NN, part_NN = torch.zeros(2, count, count, dtype=torch.float64)
    ends = {entry.stop: entry for entry in zoo.layout.entries}
    for columns, block, theta_NW in read(zoo.theta_ND, zoo.layout):
        free_NW = near.window(columns, block).free(theta_NW).double()
        free_NW -= free_NW.mean(dim=0)
        part_NN += free_NW @ free_NW.T
        if entry := ends.get(columns.stop):  # the last block of its tensor
            own = float(whole.scale[entry.start]) if whole else normalise.spread(float(part_NN.trace()), count, entry)
            gram_NN += part_NN / own**2
            part_NN = torch.zeros_like(part_NN)
    fitted, z_NZ, kept = of_gram(gram_NN, zoo.layout.dim, latent)
    return Span(zoo, fitted, level, faithful), z_NZ, kept


def of_gram(gram_NN: Tensor, dim: int, latent: int) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Return weights of deviations, latents and what is kept, from products of deviations of `dim` numbers."""
    count = len(gram_NN)
    square_N, vector_NN = torch.linalg.eigh(gram_NN)
    square_N, vector_NN = square_N.clamp_min(0).flip(0), vector_NN.flip(1)
    rank = int((square_N.sqrt() > RANK_TOLERANCE * square_N[0].sqrt()).sum()) if square_N[0] > 0 else 0
    keep = min(latent, rank, count - 1)
    length_K, vector_NK = square_N[:keep].sqrt(), vector_NN[:, :keep]
    largest_1K = vector_NK.abs().argmax(dim=0, keepdim=True)
    vector_NK = vector_NK * vector_NK.gather(0, largest_1K).sign()
    missing = min(latent, dim) - keep
    z_NZ = nn.functional.pad(vector_NK * length_K, (0, missing))
    weight_ZN = nn.functional.pad(vector_NK / length_K, (0, missing)).T.contiguous()
    variance, lost = float(square_N.sum()) / (count * dim), float(square_N[keep:].sum()) / (count * dim)
    explained = 1 - lost / variance if variance > 0 else 1.0
    kept = {"latent": z_NZ.shape[1], "error": lost, "variance": variance, "explained": explained}
    return weight_ZN, z_NZ, kept


def load(tensors: dict[str, Tensor], zoo: Zoo, faithful: bool) -> Span:
    """Rebuild a span from its tensors and the zoo that it is of."""
    return Span(zoo, tensors["weight"], tensors.get("level"), faithful)
