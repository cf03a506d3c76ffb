"""Fitting and sampling of the variational autoencoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pdiff.bench import Bench
from pdiff.components import Generator
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.training.loop import train
from pdiff.zoo import Zoo
from pdiff_plugins.backbones.codec_module import codec_module
from pdiff_plugins.batches import at_most
from pdiff_plugins.latent import conditions
from pdiff_plugins.latent import space as latent_space
from pdiff_plugins.latent.conditions import Conditions
from pdiff_plugins.latent.space import Coded, LatentSpace, curve, encode, gate, normalised, reconstruction
from pdiff_plugins.latent.vae import Vae
from pdiff_plugins.maths import normalise


class Variational(nn.Module):
    """A codec whose latent is a mean, and the logarithm of a variance beside it; and the prior's mean, of a condition.

    The second is linear in the first; for a codec that ends in a linear layer that is what a second layer beside that
    one would give.
    """

    def __init__(self, codec: nn.Module, condition_dim: int):
        super().__init__()
        latent = codec_module(codec).latent_dim
        self.codec, self.log_variance = codec, nn.Linear(latent, latent)
        self.prior = nn.Linear(condition_dim, latent, bias=False) if condition_dim else None

    def forward(self, x_BD: Tensor, noise_BZ: Tensor, condition_BC: Tensor) -> tuple[Tensor, Tensor]:
        """Return (decoded `[B, D]`, divergence from the prior, averaged over batch and dimensions)."""
        codec = codec_module(self.codec)
        mean_BZ = codec.encode(x_BD)
        log_variance_BZ = self.log_variance(mean_BZ)
        z_BZ = mean_BZ + (0.5 * log_variance_BZ).exp() * noise_BZ
        far_BZ = mean_BZ if self.prior is None else mean_BZ - self.prior(condition_BC)
        return codec.decode(z_BZ), divergence(far_BZ.float(), log_variance_BZ.float())


def divergence(mean_BZ: Tensor, log_variance_BZ: Tensor) -> Tensor:
    """Return KL(N(mean, variance) || N(0, 1)), averaged over all entries (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mean_BZ.square() + log_variance_BZ.exp() - 1 - log_variance_BZ).mean()


class Decoded(Generator):
    """A fitted variational autoencoder; `prior_ZC` gives the prior's mean of a condition."""

    def __init__(self, space: LatentSpace, conditions: Conditions, prior_ZC: Tensor):
        super().__init__(list(space.log), dict(space.facts))
        self.space, self.conditions, self.prior_ZC = space, conditions, prior_ZC
        self.conditional = conditions.dim > 0

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        z_MZ = torch.randn(count, self.space.dim, generator=ctx.generator("sample"))
        if self.conditional:
            z_MZ += self.conditions.of(count, condition_MC, ctx.generator("conditions")) @ self.prior_ZC.T
        return self.space.decode(z_MZ, ctx)

    def through(self, theta_MD: Tensor, bench: Bench, ctx: Context) -> Tensor | None:
        return self.space.through(theta_MD, bench, ctx)

    def tensors(self) -> dict[str, Tensor]:
        prior = {"prior": self.prior_ZC} if self.conditional else {}
        return self.space.tensors() | self.conditions.tensors() | prior


def fit(method: Vae, zoo: Zoo, bench: Bench, ctx: Context) -> Decoded:
    """Train the autoencoder and check what it keeps."""
    normaliser = normalise.per_tensor(zoo) if method.faithful else normalise.per_column(zoo)
    x_ND = normalised(normaliser, zoo.theta_ND, ctx)
    torch.manual_seed(ctx.seed)
    codec = method.codec.build(dim=zoo.layout.dim, layout=zoo.layout)
    if not any(True for _ in codec.parameters()):
        raise UserError(
            f"method.codec: {method.codec.name} has nothing that a vae can train; take 'autoencoder' or 'conv1d'"
        )
    learnt = conditions.learnt(method.condition, zoo)
    condition_NC = learnt.of_zoo(zoo).to(ctx.device)
    model = Variational(codec, learnt.dim).to(ctx.device).train()
    latent = codec_module(codec).latent_dim

    size = at_most("method.batch_size", method.batch_size, len(x_ND), ctx.warn)

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randperm(len(x_ND), generator=generator)[:size]
        return rows, torch.randn(len(rows), latent, generator=generator)

    def loss(rows: Tensor, noise_BZ: Tensor) -> Tensor:
        x_BD = x_ND[rows.cpu()].to(ctx.device)
        decoded_BD, kl = model(x_BD, noise_BZ, condition_NC[rows])
        return F.mse_loss(decoded_BD.float(), x_BD) + method.kl * kl

    log = train(
        model, loss, steps=method.steps, ctx=ctx, what="vae", lr=method.lr, weight_decay=method.weight_decay, draw=draw
    )  # fmt: skip
    fitted, z_NZ = Coded(normaliser, codec), encode(codec.eval(), x_ND, ctx.device)
    facts = {"codec": gate(fitted, reconstruction(fitted, x_ND, z_NZ, ctx), zoo, z_NZ, bench, ctx)}
    prior = torch.zeros(latent), torch.ones(latent)
    weight_ZC = torch.empty(latent, 0) if model.prior is None else model.prior.weight.detach().cpu()
    return Decoded(LatentSpace(zoo.layout, fitted, *prior, curve(log, "vae"), facts), learnt, weight_ZC)


def load(method: Vae, tensors: dict[str, Tensor], zoo: Zoo) -> Decoded:
    """Rebuild a fitted autoencoder."""
    space, learnt = latent_space.load(method, tensors, zoo), conditions.load(tensors, zoo)
    return Decoded(space, learnt, tensors.get("prior", torch.empty(space.dim, 0)))
