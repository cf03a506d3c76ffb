"""Fitting and sampling of flow matching in a latent space."""

from __future__ import annotations

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
from pdiff_plugins.latent import space as latent_space
from pdiff_plugins.latent.kept import KeptSteps
from pdiff_plugins.latent.priors import FlowMatching
from pdiff_plugins.latent.space import LatentSpace

TIMES = 1000
"""Denoisers take a step in 0..T-1; a time in 0..1 becomes TIMES of it."""


class Flow(Generator):
    """A fitted flow."""

    def __init__(self, method: FlowMatching, space: LatentSpace, velocity: nn.Module):
        super().__init__(list(space.log), dict(space.facts))
        self.method, self.space, self.velocity = method, space, velocity.eval()
        self.kept = KeptSteps(velocity)

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        return self.space.decode(self._follow(count, ctx)[-1], ctx)

    def path(self, count: int, points: int, ctx: Context) -> tuple[list[float], Tensor]:
        states, last = self._follow(count, ctx), self.method.sampling_steps
        steps = [round(point * last / (points - 1)) for point in range(points)]
        return [step / last for step in steps], self.space.decoded([states[step] for step in steps], ctx)

    @torch.no_grad()
    def _follow(self, count: int, ctx: Context) -> list[Tensor]:
        """Return the latents z_MZ at every step, noise first."""
        steps, velocity = self.method.sampling_steps, self.velocity.to(ctx.device)
        times = [[TIMES * time for time in (step / steps, step / steps + 1 / steps)] for step in range(steps)]
        rows = torch.tensor(times, dtype=torch.float64).to(ctx.device, torch.float32)
        update = self.kept.captured(self._step, count, ctx)
        states = [torch.randn(count, self.space.dim, generator=ctx.generator("sample")).to(ctx.device)]
        with threads_for(velocity, ctx.threads), ctx.progress.step("sample", steps) as bar:
            for times_2 in rows:
                states.append(update(states[-1], times_2))
                bar.advance()
        return states

    def _step(self, z_MZ: Tensor, times_2: Tensor) -> Tensor:
        """Return the latents one step on, by Euler's or by Heun's method."""
        width, (now, then) = 1 / self.method.sampling_steps, times_2.unbind()
        slope_MZ = self._velocity(z_MZ, now)
        ahead_MZ = z_MZ + width * slope_MZ
        if self.method.solver == "euler":
            return ahead_MZ
        return z_MZ + width / 2 * (slope_MZ + self._velocity(ahead_MZ, then))

    def _velocity(self, z_MZ: Tensor, time: Tensor) -> Tensor:
        return self.velocity(z_MZ, time.expand(len(z_MZ)).contiguous(), None)

    def tensors(self) -> dict[str, Tensor]:
        return self.space.tensors() | {f"velocity.{key}": value for key, value in self.velocity.state_dict().items()}


def fit(method: FlowMatching, zoo: Zoo, bench: Bench, ctx: Context) -> Flow:
    """Train the codec, check it, then train the velocity on its latents."""
    space, z_NZ = latent_space.fit(method, zoo, bench, ctx)
    velocity_ctx = ctx.scope("velocity")
    torch.manual_seed(velocity_ctx.seed)
    velocity = method.denoiser.build(dim=space.dim, layout=zoo.layout).to(ctx.device).train()

    size = at_most("method.batch_size", method.batch_size, len(z_NZ), ctx.warn)

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        rows = torch.randperm(len(z_NZ), generator=generator)[:size]
        noise_BZ = torch.randn(len(rows), space.dim, generator=generator)
        return rows, torch.rand(len(rows), generator=generator), noise_BZ

    def loss(rows: Tensor, time_B: Tensor, noise_BZ: Tensor) -> Tensor:
        z_BZ, at_B1 = z_NZ[rows], time_B[:, None]
        slope_BZ = velocity((1 - at_B1) * noise_BZ + at_B1 * z_BZ, time_B * TIMES, None)
        return F.mse_loss(slope_BZ.float(), z_BZ - noise_BZ)

    rows = train(
        velocity, loss, steps=method.steps, ctx=velocity_ctx, what="flow", lr=method.lr,
        weight_decay=method.weight_decay, ema=method.ema, draw=draw, by_rows=True,
    )  # fmt: skip
    flow = Flow(method, space, velocity)
    flow.log += latent_space.curve(rows, "velocity")
    return flow


def load(method: FlowMatching, tensors: dict[str, Tensor], zoo: Zoo) -> Flow:
    """Rebuild a fitted flow."""
    space = latent_space.load(method, tensors, zoo)
    velocity = method.denoiser.build(dim=space.dim, layout=zoo.layout)
    velocity.load_state_dict(below(tensors, "velocity."))
    return Flow(method, space, velocity)
