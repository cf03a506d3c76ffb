"""Fitting and sampling of p-diff: diffusion in a latent space."""

from __future__ import annotations

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
from pdiff_plugins.latent import labels
from pdiff_plugins.latent import space as latent_space
from pdiff_plugins.latent.kept import KeptSteps
from pdiff_plugins.latent.pdiff import PDiff
from pdiff_plugins.latent.space import LatentSpace
from pdiff_plugins.maths import diffusion

AT_ONCE = 2**18
"""Numbers of latents denoised at a time; fixed, because rounding may depend on it."""


class LatentDiffusion(Generator):
    """A fitted p-diff."""

    def __init__(self, method: PDiff, space: LatentSpace, denoiser: nn.Module, labels_NK: Tensor | None = None):
        super().__init__(list(space.log), dict(space.facts))
        self.method, self.space, self.denoiser = method, space, denoiser.eval()
        self.schedule, self.labels_NK = schedule_of(method), labels_NK
        self.kept = KeptSteps(denoiser)

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        z_MZ = by_rows(count, lambda rows: self._diffuse(count, ctx, (), rows)[0])
        return self.space.decode(z_MZ, ctx)

    def path(self, count: int, points: int, ctx: Context) -> tuple[list[float], Tensor]:
        fractions = [point / (points - 1) for point in range(points)]
        states = self._diffuse(count, ctx, fractions)[1]
        return fractions, self.space.decoded(states, ctx)

    def film(self, count: int, frames: int, ctx: Context) -> tuple[list[float], Tensor, Tensor]:
        steps = self.method.sampling_steps or self.method.timesteps
        stops = diffusion.frames(self.schedule, steps, frames)
        *noisy, end_MZ = self._diffuse(count, ctx, [stop / steps for stop in stops])[1]
        times = diffusion.timesteps(self.schedule.steps, steps)
        clean = [self._clean(z_MZ, times[stop], ctx) for z_MZ, stop in zip(noisy, stops, strict=False)]
        signal_F = [float(self.schedule.alpha_bar[times[stop]]) for stop in stops[:-1]]
        ways = ([*noisy, end_MZ], [*clean, end_MZ])
        noisy_FMD, clean_FMD = (self.space.decoded(way, ctx) for way in ways)
        return [*signal_F, 1.0], noisy_FMD, clean_FMD

    @torch.no_grad()
    def _clean(self, z_MZ: Tensor, t: int, ctx: Context) -> Tensor:
        """Return the z_0 that the denoiser takes z_t for."""
        t_M = torch.full((len(z_MZ),), t)
        with threads_for(self.denoiser, ctx.threads):
            out_MZ = self._denoise(len(z_MZ), ctx, slice(None))(z_MZ, t_M.to(z_MZ))
        return self.schedule.split(out_MZ, z_MZ, t_M, self.method.prediction)[0]

    def _denoise(self, count: int, ctx: Context, mine: slice) -> diffusion.Denoise:
        """Return the denoiser of those of so many latents, a few at a time, their labels bound where it knows them."""
        method, denoiser, size = self.method, self.denoiser, self.space.dim
        labels_MK = torch.empty(count, 0, device=ctx.device)
        if self.labels_NK is not None:
            labels_MK = labels.asked(self.labels_NK, method.label, count, ctx.generator("labels")).to(ctx.device)

        def denoise(z_MZ: Tensor, t_M: Tensor) -> Tensor:
            def some(rows: Tensor) -> Tensor:
                z_BZ, labels_BK = rows[:, :size], rows[:, size:]
                return labels.guided(denoiser, z_BZ, t_M[: len(rows)], labels_BK, method.guidance)

            return in_chunks(some, torch.cat([z_MZ, labels_MK[mine]], dim=1), max(1, AT_ONCE // size))

        return denoise

    def _diffuse(self, count: int, ctx: Context, keep: Any, mine: slice = slice(None)) -> tuple[Tensor, list[Tensor]]:
        """Return those of `count` latents at the end, and at fractions of the way: they depend on no others."""
        method, denoiser = self.method, self.denoiser.to(ctx.device)
        generator = ctx.generator("sample")
        z_MZ = torch.randn(count, self.space.dim, generator=generator).to(ctx.device)
        steps = method.sampling_steps or method.timesteps
        kept = KeptSteps(denoiser) if self.labels_NK is not None else self.kept  # labels are bound in a step
        with threads_for(denoiser, ctx.threads), ctx.progress.step("sample", steps) as bar:
            return diffusion.sample(
                self._denoise(count, ctx, mine), z_MZ, self.schedule, prediction=method.prediction,
                sampler=method.sampler, steps=steps, generator=generator, rows=mine, keep=keep, tell=bar.advance,
                capture=lambda step: kept.captured(step, len(range(count)[mine]), ctx),
            )  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        return self.space.tensors() | {f"denoiser.{key}": value for key, value in self.denoiser.state_dict().items()}


def schedule_of(method: PDiff) -> diffusion.Schedule:
    return diffusion.Schedule(method.schedule, method.timesteps, method.beta_start, method.beta_end)


def fit(method: PDiff, zoo: Zoo, bench: Bench, ctx: Context) -> LatentDiffusion:
    """Train the codec, check it, then train the denoiser on its latents."""
    zoo = _augmented(method, zoo, bench, ctx)
    space, z_NZ = latent_space.fit(method, zoo, bench, ctx, whole=not method.augment)
    denoiser, rows = _fit_denoiser(method, z_NZ, zoo, ctx.scope("denoiser"))
    generator = LatentDiffusion(method, space, denoiser, _labels(method, zoo))
    generator.log += latent_space.curve(rows, "denoiser")
    return generator


def _augmented(method: PDiff, zoo: Zoo, bench: Bench, ctx: Context) -> Zoo:
    """Return the zoo with what `augment` adds to it. Raises UserError for a step that takes checkpoints away."""
    for step, step_ctx in in_turn(method.augment, ctx):
        before, zoo = len(zoo), step.zoo(zoo, bench, step_ctx)
        if len(zoo) < before:
            raise UserError(
                f"method.augment: {step.name} takes checkpoints away, and evaluators know nothing of it; "
                "write it as [[zoo]]"
            )
    return zoo


def load(method: PDiff, tensors: dict[str, Tensor], zoo: Zoo) -> LatentDiffusion:
    """Rebuild a fitted p-diff."""
    space = latent_space.load(method, tensors, zoo)
    labels_NK = _labels(method, zoo)
    denoiser = _new_denoiser(method, space.dim, labels_NK, zoo)
    denoiser.load_state_dict(below(tensors, "denoiser."))
    return LatentDiffusion(method, space, denoiser, labels_NK)


def _labels(method: PDiff, zoo: Zoo) -> Tensor | None:
    return labels.one_hot(zoo) if method.labels else None


def _new_denoiser(method: PDiff, dim: int, labels_NK: Tensor | None, zoo: Zoo) -> nn.Module:
    known = 0 if labels_NK is None else labels_NK.shape[1]
    return method.denoiser.build(dim=dim, condition_dim=known, layout=zoo.layout)


def _fit_denoiser(method: PDiff, z_NZ: Tensor, zoo: Zoo, ctx: Context) -> tuple[nn.Module, list[dict[str, float]]]:
    torch.manual_seed(ctx.seed)
    labels_NK = _labels(method, zoo)
    denoiser = _new_denoiser(method, z_NZ.shape[1], labels_NK, zoo).to(ctx.device).train()
    schedule = schedule_of(method)
    labels_NK = None if labels_NK is None else labels_NK.to(ctx.device)

    size = at_most("method.batch_size", method.batch_size, len(z_NZ), ctx.warn)

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        rows = torch.randperm(len(z_NZ), generator=generator)[:size]
        noisy = diffusion.draw(len(rows), z_NZ.shape[1], schedule, generator)
        return rows, *noisy, *(() if labels_NK is None else (labels.shown(len(rows), generator),))

    def loss(rows: Tensor, t_B: Tensor, epsilon_BZ: Tensor, signal: Tensor, noise: Tensor, *shown_B1: Tensor) -> Tensor:
        labels_BK = labels_NK[rows] * shown_B1[0] if labels_NK is not None else None
        noisy = t_B, epsilon_BZ, signal, noise
        return diffusion.loss(lambda z_BZ, t_B: denoiser(z_BZ, t_B, labels_BK), z_NZ[rows], noisy, method.prediction)

    log = train(
        denoiser, loss, steps=method.steps, ctx=ctx, what="diffusion", lr=method.lr,
        weight_decay=method.weight_decay, ema=method.ema, draw=draw, by_rows=True,
    )  # fmt: skip
    return denoiser, log
