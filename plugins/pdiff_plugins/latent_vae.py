"""Fitting and sampling of the variational autoencoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pdiff.components import Generator
from pdiff.context import Context
from pdiff.memory import in_chunks
from pdiff.training import threads_for, train
from pdiff.zoo import Zoo
from pdiff_plugins import normalise
from pdiff_plugins.latent_diffusion import encode, gate
from pdiff_plugins.normalise import Normaliser
from pdiff_plugins.vae import Vae


class Variational(nn.Module):
    """A codec whose latent is a mean, and the logarithm of a variance beside it.

    The second is linear in the first; for a codec that ends in a linear layer that is what a second layer beside that
    one would give.
    """

    def __init__(self, codec: nn.Module):
        super().__init__()
        self.codec, self.log_variance = codec, nn.Linear(codec.latent_dim, codec.latent_dim)

    def forward(self, x_BD: Tensor, noise_BZ: Tensor) -> tuple[Tensor, Tensor]:
        """Return (decoded `[B, D]`, divergence from N(0, I), averaged over batch and dimensions)."""
        mean_BZ = self.codec.encode(x_BD)
        log_variance_BZ = self.log_variance(mean_BZ)
        z_BZ = mean_BZ + (0.5 * log_variance_BZ).exp() * noise_BZ
        return self.codec.decode(z_BZ), divergence(mean_BZ.float(), log_variance_BZ.float())


def divergence(mean_BZ: Tensor, log_variance_BZ: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, 1)), averaged over all entries (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mean_BZ.square() + log_variance_BZ.exp() - 1 - log_variance_BZ).mean()


class Decoded(Generator):
    """A fitted variational autoencoder."""

    def __init__(self, normaliser: Normaliser, codec: nn.Module):
        super().__init__()
        self.normaliser, self.codec = normaliser, codec.eval()

    @torch.no_grad()
    def sample(self, count: int, ctx: Context) -> Tensor:
        codec = self.codec.to(ctx.device)
        z_MZ = torch.randn(count, codec.latent_dim, generator=ctx.generator("sample")).to(ctx.device)
        with threads_for(codec, ctx.threads):
            return self.normaliser.decode(in_chunks(lambda z_BZ: codec.decode(z_BZ).cpu(), z_MZ, 64))

    def tensors(self) -> dict[str, Tensor]:
        parts = {"codec": self.codec.state_dict(), "normaliser": self.normaliser.tensors()}
        return {f"{part}.{key}": value for part, own in parts.items() for key, value in own.items()}


def fit(method: Vae, zoo: Zoo, ctx: Context) -> Decoded:
    """Train the autoencoder and check what it keeps."""
    normaliser = normalise.per_tensor(zoo) if method.faithful else normalise.per_column(zoo)
    x_ND = normaliser.encode(zoo.theta_ND)
    torch.manual_seed(ctx.seed)
    codec = method.codec.build(dim=zoo.layout.dim, layout=zoo.layout)
    model, rows_ND = Variational(codec).to(ctx.device).train(), x_ND.to(ctx.device)

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randperm(len(x_ND), generator=generator)[: method.batch_size]
        return rows, torch.randn(len(rows), codec.latent_dim, generator=generator)

    def loss(rows: Tensor, noise_BZ: Tensor) -> Tensor:
        x_BD = rows_ND[rows]
        decoded_BD, kl = model(x_BD, noise_BZ)
        return F.mse_loss(decoded_BD.float(), x_BD) + method.kl * kl

    log = train(
        model, loss, steps=method.steps, ctx=ctx, what="vae", lr=method.lr, weight_decay=method.weight_decay, draw=draw
    )  # fmt: skip
    generator = Decoded(normaliser, codec)
    generator.log = [row | {"part": "vae"} for row in log]
    generator.facts = {"codec": gate(codec, normaliser, zoo, x_ND, encode(codec, rows_ND), ctx)}
    return generator


def load(method: Vae, tensors: dict[str, Tensor], zoo: Zoo, ctx: Context) -> Decoded:
    """Rebuild a fitted autoencoder."""
    parts: dict[str, dict[str, Tensor]] = {"codec": {}, "normaliser": {}}
    for key, value in tensors.items():
        part, _, own = key.partition(".")
        parts[part][own] = value
    codec = method.codec.build(dim=zoo.layout.dim, layout=zoo.layout)
    codec.load_state_dict(parts["codec"])
    return Decoded(normalise.load(zoo.layout, parts["normaliser"]), codec)
