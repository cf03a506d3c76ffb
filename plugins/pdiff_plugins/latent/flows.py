"""Fitting and sampling of flow matching in a latent space. M networks, L latents, C condition, B batch."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pdiff.bench import Bench
from pdiff.components import Generator
from pdiff.context import Context
from pdiff.files import below
from pdiff.training.loop import threads_for, train
from pdiff.zoo import Zoo
from pdiff_plugins.batches import at_most
from pdiff_plugins.latent import conditions
from pdiff_plugins.latent import space as latent_space
from pdiff_plugins.latent.conditions import Conditions, asked, averaged, guided, shown
from pdiff_plugins.latent.kept import KeptSteps
from pdiff_plugins.latent.priors import FlowMatching
from pdiff_plugins.latent.space import LatentSpace

TIMES = 1000
"""Denoisers take a step in 0..T-1; a time in 0..1 becomes TIMES of it."""


class Flow(Generator):
    """A fitted flow."""

    def __init__(self, method: FlowMatching, space: LatentSpace, velocity: nn.Module, conditions: Conditions):
        super().__init__(list(space.log), dict(space.facts))
        self.method, self.space, self.velocity = method, space, velocity.eval()
        self.conditions, self.conditional = conditions, conditions.dim > 0
        self.kept = KeptSteps(velocity)

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        return self.space.decode(self._follow(count, ctx, condition_MC)[-1], ctx)

    def through(self, theta_MD: Tensor, bench: Bench, ctx: Context) -> Tensor | None:
        return self.space.through(theta_MD, bench, ctx)

    def path(self, count: int, points: int, ctx: Context) -> tuple[list[float], Tensor]:
        states, last = self._follow(count, ctx), self.method.sampling_steps
        steps = [round(point * last / (points - 1)) for point in range(points)]
        return [step / last for step in steps], self.space.decoded([states[step] for step in steps], ctx)

    def film(self, count: int, frames: int, ctx: Context) -> tuple[list[float], Tensor, Tensor]:
        steps, condition_LC = self.method.sampling_steps, self._asked(count, ctx)
        states, stops = self._states(condition_LC, ctx), frames_of(steps, frames)
        clean = [self._clean(states[stop], stop / steps, condition_LC, ctx) for stop in stops]
        ways = ([averaged(z_LZ, self.method.mean_of) for z_LZ in way] for way in ([states[s] for s in stops], clean))
        noisy_FMD, clean_FMD = (self.space.decoded(way, ctx) for way in ways)
        return [stop / steps for stop in stops], noisy_FMD, clean_FMD

    def _asked(self, count: int, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        return asked(self.conditions, self.method, count, condition_MC, ctx).to(ctx.device)

    @torch.no_grad()
    def _clean(self, z_LZ: Tensor, time: float, condition_LC: Tensor, ctx: Context) -> Tensor:
        """Return where the velocity at a time points to: the latents at time 1, were it to stay as it is."""
        if time == 1:
            return z_LZ
        with threads_for(self.velocity, ctx.threads):
            return z_LZ + (1 - time) * self._velocity(z_LZ, z_LZ.new_tensor(TIMES * time), condition_LC)

    def _follow(self, count: int, ctx: Context, condition_MC: Tensor | None = None) -> list[Tensor]:
        """Return the latents z_MZ at every step, noise first. Raises UserError."""
        states = self._states(self._asked(count, ctx, condition_MC), ctx)
        return [averaged(z_LZ, self.method.mean_of) for z_LZ in states]

    @torch.no_grad()
    def _states(self, condition_LC: Tensor, ctx: Context) -> list[Tensor]:
        """Return the latents z_LZ of conditions at every step, noise first."""
        steps, velocity = self.method.sampling_steps, self.velocity.to(ctx.device)
        times = [[TIMES * time for time in (step / steps, step / steps + 1 / steps)] for step in range(steps)]
        rows = torch.tensor(times, dtype=torch.float64).to(ctx.device, torch.float32)
        kept = KeptSteps(velocity) if self.conditional else self.kept  # conditions are bound in a step
        update = kept.captured(functools.partial(self._step, condition_LC), len(condition_LC), ctx)
        z_LZ = torch.randn(len(condition_LC), self.space.dim, generator=ctx.generator("sample"))
        states = [(self.method.noise * z_LZ).to(ctx.device)]
        with threads_for(velocity, ctx.threads), ctx.progress.step("sample", steps) as bar:
            for times_2 in rows:
                states.append(update(states[-1], times_2))
                bar.advance()
        return states

    def _step(self, condition_LC: Tensor, z_LZ: Tensor, times_2: Tensor) -> Tensor:
        """Return the latents one step on, by Euler's or by Heun's method."""
        width, (now, then) = 1 / self.method.sampling_steps, times_2.unbind()
        slope_LZ = self._velocity(z_LZ, now, condition_LC)
        ahead_LZ = z_LZ + width * slope_LZ
        if self.method.solver == "euler":
            return ahead_LZ
        return z_LZ + width / 2 * (slope_LZ + self._velocity(ahead_LZ, then, condition_LC))

    def _velocity(self, z_LZ: Tensor, time: Tensor, condition_LC: Tensor) -> Tensor:
        time_L = time.expand(len(z_LZ)).contiguous()
        return guided(self.velocity, z_LZ, time_L, condition_LC, self.method.guidance)

    def tensors(self) -> dict[str, Tensor]:
        velocity = {f"velocity.{key}": value for key, value in self.velocity.state_dict().items()}
        return self.space.tensors() | self.conditions.tensors() | velocity


def frames_of(steps: int, frames: int) -> list[int]:
    """Return at most so many steps, from first to last, evenly spaced in the angle between signal and noise."""
    angles = [math.pi / 2 * (1 - frame / (frames - 1)) for frame in range(frames)]
    return sorted({round(steps * math.cos(phi) / (math.cos(phi) + math.sin(phi))) for phi in angles})


def fit(method: FlowMatching, zoo: Zoo, bench: Bench, ctx: Context) -> Flow:
    """Train the codec, check it, then train the velocity on its latents."""
    space, z_NZ = latent_space.fit(method, zoo, bench, ctx, whiten=method.whiten)
    velocity_ctx = ctx.scope("velocity")
    torch.manual_seed(velocity_ctx.seed)
    learnt = conditions.learnt(method.condition, zoo)
    velocity = method.denoiser.build(dim=space.dim, condition_dim=learnt.dim, layout=zoo.layout)
    velocity, condition_NC = velocity.to(ctx.device).train(), learnt.of_zoo(zoo).to(ctx.device)

    size = at_most("method.batch_size", method.batch_size, len(z_NZ), ctx.warn)

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        rows = torch.randperm(len(z_NZ), generator=generator)[:size]
        noise_BZ = torch.randn(len(rows), space.dim, generator=generator)
        time_B = torch.rand(len(rows), generator=generator)
        return rows, time_B, noise_BZ, *((shown(len(rows), generator),) if learnt.dim else ())

    def loss(rows: Tensor, time_B: Tensor, noise_BZ: Tensor, *shown_B1: Tensor) -> Tensor:
        z_BZ, at_B1 = z_NZ[rows], time_B[:, None]
        condition_BC = condition_NC[rows] * shown_B1[0] if shown_B1 else None
        slope_BZ = velocity((1 - at_B1) * noise_BZ + at_B1 * z_BZ, time_B * TIMES, condition_BC)
        return F.mse_loss(slope_BZ.float(), z_BZ - noise_BZ)

    rows = train(
        velocity, loss, steps=method.steps, ctx=velocity_ctx, what="flow", lr=method.lr,
        weight_decay=method.weight_decay, ema=method.ema, draw=draw, by_rows=True,
    )  # fmt: skip
    flow = Flow(method, space, velocity, learnt)
    flow.log += latent_space.curve(rows, "velocity")
    return flow


def load(method: FlowMatching, tensors: dict[str, Tensor], zoo: Zoo) -> Flow:
    """Rebuild a fitted flow."""
    space, learnt = latent_space.load(method, tensors, zoo), conditions.load(tensors, zoo)
    velocity = method.denoiser.build(dim=space.dim, condition_dim=learnt.dim, layout=zoo.layout)
    velocity.load_state_dict(below(tensors, "velocity."))
    return Flow(method, space, velocity, learnt)
