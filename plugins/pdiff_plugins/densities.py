"""Fitting and sampling of kernel densities over latents."""

from __future__ import annotations

import torch
from torch import Tensor

from pdiff.components import Generator
from pdiff.context import Context
from pdiff.zoo import Zoo
from pdiff_plugins import latent_space
from pdiff_plugins.latent_priors import Kde
from pdiff_plugins.latent_space import LatentSpace


class Density(Generator):
    """Latents of all checkpoints, their scores, and what to draw from them."""

    def __init__(self, method: Kde, space: LatentSpace, z_NZ: Tensor, score_N: Tensor):
        super().__init__(list(space.log), dict(space.facts))
        self.method, self.space, self.z_NZ, self.score_N = method, space, z_NZ, score_N

    def sample(self, count: int, ctx: Context) -> Tensor:
        return self.space.decode(self.draw(count, ctx.generator("sample")), ctx)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return latents z_MZ from the density of the anchors."""
        anchors_AZ = self.anchors()
        shape = (count, 1) if self.method.draw == "joint" else (count, self.space.dim)
        chosen = torch.randint(len(anchors_AZ), shape, generator=generator).expand(count, self.space.dim)
        noise_MZ = torch.randn(count, self.space.dim, generator=generator)
        return anchors_AZ.gather(0, chosen) + self.method.bandwidth * self.z_NZ.std(dim=0) * noise_MZ

    def anchors(self) -> Tensor:
        """Return the latents of the best checkpoints."""
        kept = max(1, round(self.method.top * len(self.z_NZ)))
        return self.z_NZ[self.score_N.argsort(descending=True, stable=True)[:kept]]

    def tensors(self) -> dict[str, Tensor]:
        return self.space.tensors() | {"anchors.z": self.z_NZ, "anchors.score": self.score_N}


def fit(method: Kde, zoo: Zoo, ctx: Context) -> Density:
    """Train the codec, check it, and keep the latents, and the scores on the selection split."""
    space, z_NZ = latent_space.fit(method, zoo, ctx)
    score_N = ctx.score(zoo.theta_ND) if ctx.score is not None else torch.zeros(len(zoo), dtype=torch.float64)
    return Density(method, space, z_NZ.cpu(), score_N)


def load(method: Kde, tensors: dict[str, Tensor], zoo: Zoo) -> Density:
    """Rebuild a fitted density."""
    own = latent_space.part(tensors, "anchors")
    return Density(method, latent_space.load(method, tensors, zoo), own["z"], own["score"])
