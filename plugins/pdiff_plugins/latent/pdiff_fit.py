"""Fitting and sampling of p-diff: diffusion in a latent space. M networks, L latents, C condition, B batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.bench import Bench
from pdiff.components import Generator
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.files import below
from pdiff.running.memory import in_chunks
from pdiff.running.ranks import by_rows
from pdiff.steps import in_turn
from pdiff.training.loop import threads_for, train
from pdiff.zoo import Zoo
from pdiff_plugins.batches import at_most
from pdiff_plugins.latent import conditions
from pdiff_plugins.latent import space as latent_space
from pdiff_plugins.latent.conditions import Conditions, asked, averaged, guided, shown
from pdiff_plugins.latent.kept import KeptSteps
from pdiff_plugins.latent.pdiff import PDiff
from pdiff_plugins.latent.space import LatentSpace
from pdiff_plugins.maths import diffusion

AT_ONCE = 2**18
"""Numbers of latents denoised at a time; fixed, because rounding may depend on it."""


class LatentDiffusion(Generator):
    """A fitted p-diff."""

    def __init__(self, method: PDiff, space: LatentSpace, denoiser: nn.Module, conditions: Conditions):
        super().__init__(list(space.log), dict(space.facts))
        self.method, self.space, self.denoiser = method, space, denoiser.eval()
        self.schedule, self.conditions, self.conditional = schedule_of(method), conditions, conditions.dim > 0
        self.kept = KeptSteps(denoiser)

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        condition_LC = self._asked(count, ctx, condition_MC)
        of = self.method.mean_of

        def some(rows: slice) -> Tensor:
            return self._mean(self._diffuse(condition_LC, ctx, (), slice(rows.start * of, rows.stop * of))[0])

        return self.space.decode(by_rows(count, some), ctx)

    def through(self, theta_MD: Tensor, bench: Bench, ctx: Context) -> Tensor | None:
        return self.space.through(theta_MD, bench, ctx)

    def path(self, count: int, points: int, ctx: Context) -> tuple[list[float], Tensor]:
        fractions = [point / (points - 1) for point in range(points)]
        states = self._diffuse(self._asked(count, ctx), ctx, fractions)[1]
        return fractions, self.space.decoded([self._mean(z_LZ) for z_LZ in states], ctx)

    def film(self, count: int, frames: int, ctx: Context) -> tuple[list[float], Tensor, Tensor]:
        steps, condition_LC = self.method.sampling_steps or self.method.timesteps, self._asked(count, ctx)
        stops = diffusion.frames(self.schedule, steps, frames)
        *noisy, end_LZ = self._diffuse(condition_LC, ctx, [stop / steps for stop in stops])[1]
        times = diffusion.timesteps(self.schedule.steps, steps)
        clean = [self._clean(z_LZ, times[stop], condition_LC, ctx) for z_LZ, stop in zip(noisy, stops, strict=False)]
        signal_F = [float(self.schedule.alpha_bar[times[stop]]) for stop in stops[:-1]]
        ways = ([self._mean(z_LZ) for z_LZ in (*way, end_LZ)] for way in (noisy, clean))
        noisy_FMD, clean_FMD = (self.space.decoded(way, ctx) for way in ways)
        return [*signal_F, 1.0], noisy_FMD, clean_FMD

    def _asked(self, count: int, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        return asked(self.conditions, self.method, count, condition_MC, ctx).to(ctx.device)

    def _mean(self, z_LZ: Tensor) -> Tensor:
        return averaged(z_LZ, self.method.mean_of)

    @torch.no_grad()
    def _clean(self, z_LZ: Tensor, t: int, condition_LC: Tensor, ctx: Context) -> Tensor:
        """Return the z_0 that the denoiser takes z_t for."""
        t_L = torch.full((len(z_LZ),), t)
        with threads_for(self.denoiser, ctx.threads):
            out_LZ = self._denoise(condition_LC)(z_LZ, t_L.to(z_LZ))
        return self.schedule.split(out_LZ, z_LZ, t_L, self.method.prediction)[0]

    def _denoise(self, condition_LC: Tensor) -> diffusion.Denoise:
        """Return the denoiser of latents of these conditions, a few at a time."""
        denoiser, size, guidance = self.denoiser, self.space.dim, self.method.guidance

        def denoise(z_LZ: Tensor, t_L: Tensor) -> Tensor:
            def some(rows: Tensor) -> Tensor:
                return guided(denoiser, rows[:, :size], t_L[: len(rows)], rows[:, size:], guidance)

            return in_chunks(some, torch.cat([z_LZ, condition_LC], dim=1), max(1, AT_ONCE // size))

        return denoise

    def _diffuse(
        self, condition_LC: Tensor, ctx: Context, keep: Any, mine: slice = slice(None)
    ) -> tuple[Tensor, list[Tensor]]:
        """Return those of the conditions' latents at the end, and at fractions of the way: they depend on no others."""
        method, denoiser, generator = self.method, self.denoiser.to(ctx.device), ctx.generator("sample")
        z_LZ = method.noise * torch.randn(len(condition_LC), self.space.dim, generator=generator).to(ctx.device)
        steps, own_LC = method.sampling_steps or method.timesteps, condition_LC[mine]
        kept = KeptSteps(denoiser) if self.conditional else self.kept  # conditions are bound in a step
        with threads_for(denoiser, ctx.threads), ctx.progress.step("sample", steps) as bar:
            return diffusion.sample(
                self._denoise(own_LC), z_LZ, self.schedule, prediction=method.prediction, sampler=method.sampler,
                steps=steps, generator=generator, rows=mine, keep=keep, tell=bar.advance,
                capture=lambda step: kept.captured(step, len(own_LC), ctx),
            )  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        denoiser = {f"denoiser.{key}": value for key, value in self.denoiser.state_dict().items()}
        return self.space.tensors() | self.conditions.tensors() | denoiser


def schedule_of(method: PDiff) -> diffusion.Schedule:
    return diffusion.Schedule(method.schedule, method.timesteps, method.beta_start, method.beta_end)


def fit(method: PDiff, zoo: Zoo, bench: Bench, ctx: Context) -> LatentDiffusion:
    """Train the codec, check it, then train the denoiser on its latents."""
    learnt, zoo = conditions.learnt(method.condition, zoo), _augmented(method, zoo, bench, ctx)
    space, z_NZ = latent_space.fit(method, zoo, bench, ctx, not method.augment, method.whiten)
    denoiser, rows = _fit_denoiser(method, z_NZ, learnt, zoo, ctx.scope("denoiser"))
    generator = LatentDiffusion(method, space, denoiser, learnt)
    generator.log += latent_space.curve(rows, "denoiser")
    return generator


def _augmented(method: PDiff, zoo: Zoo, bench: Bench, ctx: Context) -> Zoo:
    """Return the zoo with what `augment` adds to it. Raises UserError for a step that takes checkpoints away."""
    known, zoo = zoo, replace(zoo, condition_NC=None)
    for step, step_ctx in in_turn(method.augment, ctx):
        before, zoo = len(zoo), step.zoo(zoo, bench, step_ctx)
        if len(zoo) < before:
            raise UserError(
                f"method.augment: {step.name} takes checkpoints away, and evaluators know nothing of it; "
                "write it as [[zoo]]"
            )
    return conditions.kept(zoo, known)


def load(method: PDiff, tensors: dict[str, Tensor], zoo: Zoo) -> LatentDiffusion:
    """Rebuild a fitted p-diff."""
    space, learnt = latent_space.load(method, tensors, zoo), conditions.load(tensors, zoo)
    denoiser = method.denoiser.build(dim=space.dim, condition_dim=learnt.dim, layout=zoo.layout)
    denoiser.load_state_dict(below(tensors, "denoiser."))
    return LatentDiffusion(method, space, denoiser, learnt)


def _fit_denoiser(
    method: PDiff, z_NZ: Tensor, learnt: Conditions, zoo: Zoo, ctx: Context
) -> tuple[nn.Module, list[dict[str, float]]]:
    torch.manual_seed(ctx.seed)
    denoiser = method.denoiser.build(dim=z_NZ.shape[1], condition_dim=learnt.dim, layout=zoo.layout)
    denoiser, schedule = denoiser.to(ctx.device).train(), schedule_of(method)
    condition_NC = learnt.of_zoo(zoo).to(ctx.device)

    size = at_most("method.batch_size", method.batch_size, len(z_NZ), ctx.warn)

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        rows = torch.randperm(len(z_NZ), generator=generator)[:size]
        noisy = diffusion.draw(len(rows), z_NZ.shape[1], schedule, generator)
        return rows, *noisy, *((shown(len(rows), generator),) if learnt.dim else ())

    def loss(rows: Tensor, t_B: Tensor, epsilon_BZ: Tensor, signal: Tensor, noise: Tensor, *shown_B1: Tensor) -> Tensor:
        condition_BC = condition_NC[rows] * shown_B1[0] if shown_B1 else None
        noisy = t_B, epsilon_BZ, signal, noise
        return diffusion.loss(lambda z_BZ, t_B: denoiser(z_BZ, t_B, condition_BC), z_NZ[rows], noisy, method.prediction)

    log = train(
        denoiser, loss, steps=method.steps, ctx=ctx, what="diffusion", lr=method.lr,
        weight_decay=method.weight_decay, ema=method.ema, draw=draw, by_rows=True,
    )  # fmt: skip
    return denoiser, log
