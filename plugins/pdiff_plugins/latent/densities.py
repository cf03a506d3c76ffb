"""Fitting and sampling of kernel densities over latents."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pdiff.bench import Bench
from pdiff.components import Generator
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.files import below
from pdiff.mapped import take
from pdiff.zoo import Zoo
from pdiff_plugins.backbones.codec_module import Tokened
from pdiff_plugins.latent import space as latent_space
from pdiff_plugins.latent.priors import Kde
from pdiff_plugins.latent.space import LatentSpace


class Density(Generator):
    """Latents of all checkpoints, their scores, and what to draw from them."""

    def __init__(self, method: Kde, space: LatentSpace, z_NZ: Tensor, score_N: Tensor):
        super().__init__(list(space.log), dict(space.facts))
        self.method, self.space, self.z_NZ, self.score_N = method, space, z_NZ, score_N

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        tries = count * self.method.select
        theta_MD = self.space.decode(self.draw(tries, ctx.generator("sample")), ctx)
        return theta_MD if tries == count else take(theta_MD, _best(theta_MD, count, bench), ctx.snapshot.folder)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Return latents z_MZ: of U units, each of E numbers, all have the same anchor and noise, or each its own."""
        units, size = self._units()
        anchors_AUE = self.anchors().unflatten(1, (units, size))
        different = 1 if self.method.anchor == "shared" else units
        chosen_MU = torch.randint(len(anchors_AUE), (count, different), generator=generator).expand(count, units)
        noise_MUE = torch.randn(count, different, size, generator=generator).expand(count, units, size)
        kernel_UE = self.method.bandwidth * self.z_NZ.std(dim=0).view(units, size)
        return (anchors_AUE[chosen_MU, torch.arange(units)] + kernel_UE * noise_MUE).flatten(1)

    def _units(self) -> tuple[int, int]:
        if self.method.unit == "token":
            return token_shape(self.method, self.space.codec)
        return (1, self.space.dim) if self.method.unit == "joint" else (self.space.dim, 1)

    def anchors(self) -> Tensor:
        """Return the latents of the best checkpoints."""
        count = max(1, round(self.method.top * len(self.z_NZ)))
        return self.z_NZ[self.score_N.argsort(descending=True, stable=True)[:count]]

    def tensors(self) -> dict[str, Tensor]:
        return self.space.tensors() | {"anchors.z": self.z_NZ, "anchors.score": self.score_N}


def _best(theta_MD: Tensor, count: int, bench: Bench) -> list[int]:
    """Return the numbers of the best networks on the selection split, in the order in which they were drawn."""
    return sorted(bench.score(theta_MD).argsort(descending=True, stable=True)[:count].tolist())


def token_shape(method: Kde, codec: nn.Module | None) -> tuple[int, int]:
    """Return (tokens, length of a token's latent). Raises UserError where the codec has none."""
    if not isinstance(codec, Tokened):
        raise UserError(
            f"method.unit = 'token': codec {method.codec.name!r} has no tokens; take codec 'transformer', or "
            "unit = 'joint' or 'dimension'"
        )
    return codec.token_shape


def fit(method: Kde, zoo: Zoo, bench: Bench, ctx: Context) -> Density:
    """Train the codec, check it, and keep the latents, and the scores on the selection split."""
    if method.unit == "token":
        token_shape(method, method.codec.build(dim=zoo.layout.dim, layout=zoo.layout))
    space, z_NZ = latent_space.fit(method, zoo, bench, ctx)
    return Density(method, space, z_NZ.cpu(), bench.score(zoo.theta_ND))


def load(method: Kde, tensors: dict[str, Tensor], zoo: Zoo) -> Density:
    """Rebuild a fitted density."""
    anchors = below(tensors, "anchors.")
    return Density(method, latent_space.load(method, tensors, zoo), anchors["z"], anchors["score"])
