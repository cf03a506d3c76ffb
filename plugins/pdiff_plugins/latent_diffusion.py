"""Fitting and sampling of p-diff: diffusion in a latent space."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pdiff.capture import captured
from pdiff.components import Generator
from pdiff.context import Context
from pdiff.memory import in_chunks
from pdiff.training import threads_for, train
from pdiff.zoo import Zoo
from pdiff_plugins import diffusion, latent_space
from pdiff_plugins.latent_space import LatentSpace
from pdiff_plugins.method_pdiff import PDiff

AT_ONCE = 2**18
"""Numbers of latents denoised at a time; fixed, because rounding may depend on it."""


class LatentDiffusion(Generator):
    """A fitted p-diff."""

    def __init__(self, method: PDiff, space: LatentSpace, denoiser: nn.Module):
        super().__init__(list(space.log), dict(space.facts))
        self.method, self.space, self.denoiser = method, space, denoiser.eval()
        self.schedule = schedule_of(method)

    @property
    def codec(self) -> nn.Module:
        return self.space.codec

    def sample(self, count: int, ctx: Context) -> Tensor:
        return self.space.decode(self._diffuse(count, ctx, ())[0], ctx)

    def path(self, count: int, points: int, ctx: Context) -> tuple[list[float], Tensor]:
        fractions = [point / (points - 1) for point in range(points)]
        kept = self._diffuse(count, ctx, fractions)[1]
        return fractions, torch.stack([self.space.decode(z_MZ, ctx) for z_MZ in kept])

    def _diffuse(self, count: int, ctx: Context, keep: Any) -> tuple[Tensor, list[Tensor]]:
        method, denoiser = self.method, self.denoiser.to(ctx.device)
        generator = ctx.generator("sample")
        z_MZ = torch.randn(count, self.space.dim, generator=generator).to(ctx.device)
        steps = method.sampling_steps or method.timesteps
        at_once = max(1, AT_ONCE // z_MZ.shape[1])

        def denoise(z_MZ: Tensor, t_M: Tensor) -> Tensor:
            return in_chunks(lambda z_BZ: denoiser(z_BZ, t_M[: len(z_BZ)], None), z_MZ, at_once)

        with threads_for(denoiser, ctx.threads), ctx.progress.step("sample", steps) as bar:
            return diffusion.sample(
                denoise, z_MZ, self.schedule, prediction=method.prediction, sampler=method.sampler, steps=steps,
                generator=generator, keep=keep, tell=bar.advance,
                capture=lambda step: captured(step, ctx.device, ctx.graphs, ctx.warn),
            )  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        own = {f"denoiser.{key}": value for key, value in self.denoiser.state_dict().items()}
        return self.space.tensors() | own


def schedule_of(method: PDiff) -> diffusion.Schedule:
    return diffusion.Schedule(method.schedule, method.timesteps, method.beta_start, method.beta_end)


def fit(method: PDiff, zoo: Zoo, ctx: Context) -> LatentDiffusion:
    """Train the codec, check it, then train the denoiser on its latents."""
    space, z_NZ = latent_space.fit(method, zoo, ctx)
    denoiser, rows = _fit_denoiser(method, z_NZ, zoo, ctx.scope("denoiser"))
    generator = LatentDiffusion(method, space, denoiser)
    generator.log += [row | {"part": "denoiser"} for row in rows]
    return generator


def load(method: PDiff, tensors: dict[str, Tensor], zoo: Zoo, ctx: Context) -> LatentDiffusion:
    """Rebuild a fitted p-diff."""
    space = latent_space.load(method, tensors, zoo)
    denoiser = method.denoiser.build(dim=space.dim, layout=zoo.layout)
    denoiser.load_state_dict(latent_space.part(tensors, "denoiser"))
    return LatentDiffusion(method, space, denoiser)


def _fit_denoiser(method: PDiff, z_NZ: Tensor, zoo: Zoo, ctx: Context) -> tuple[nn.Module, list[dict[str, float]]]:
    torch.manual_seed(ctx.seed)
    denoiser = method.denoiser.build(dim=z_NZ.shape[1], layout=zoo.layout).to(ctx.device).train()
    schedule = schedule_of(method)

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        rows = torch.randperm(len(z_NZ), generator=generator)[: method.batch_size]
        return rows, *diffusion.draw(len(rows), z_NZ.shape[1], schedule, generator)

    def loss(rows: Tensor, *drawn: Tensor) -> Tensor:
        return diffusion.loss(lambda z_BZ, t_B: denoiser(z_BZ, t_B, None), z_NZ[rows], drawn, method.prediction)

    log = train(
        denoiser, loss, steps=method.steps, ctx=ctx, what="diffusion", lr=method.lr,
        weight_decay=method.weight_decay, ema=method.ema, draw=draw,
    )  # fmt: skip
    return denoiser, log
