"""Diffusion in a latent space: schedules, targets, loss and samplers as plain functions.

Symbols follow the papers: z_t = sqrt(alpha_bar_t) z_0 + sqrt(1 - alpha_bar_t) epsilon, t = 0 .. T-1. Tables are
float64. A `denoise` is called as `(z_BZ, t_B) -> out_BZ` with t in float; a caller binds its condition beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pdiff.errors import UserError
from pdiff.running.device import sent
from pdiff.training.capture import Step
from pdiff.training.loop import ahead

Denoise = Callable[[Tensor, Tensor], Tensor]
Prediction = Literal["epsilon", "x0", "v"]
Sampler = Literal["ddpm", "ddim"]
Rate = TypeVar("Rate", float, Tensor)


@dataclass(frozen=True)
class Schedule:
    """How much noise there is at each of T steps.

    `linear`: Ho et al. 2020, section 4, the range not scaled with T. `cosine`: Nichol & Dhariwal 2021, eq. 17.
    """

    kind: Literal["linear", "cosine"] = "linear"
    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02

    @cached_property
    def beta(self) -> Tensor:
        """`[T]`, the variance that each step adds."""
        if self.kind == "linear":
            return torch.linspace(self.beta_start, self.beta_end, self.steps, dtype=torch.float64)
        time = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64)
        f = torch.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2
        return (1 - f[1:] / f[:-1]).clamp(max=0.999)

    @cached_property
    def alpha_bar(self) -> Tensor:
        """`[T]`, the share of the signal's variance that is left."""
        return torch.cumprod(1 - self.beta, 0)

    def rates(self, t_B: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return sqrt(alpha_bar) and sqrt(1 - alpha_bar) at t, `[B, 1]` each, on the device of `like`."""
        alpha_bar = self.alpha_bar[t_B.cpu()][:, None]
        return alpha_bar.sqrt().to(like), (1 - alpha_bar).sqrt().to(like)

    def add_noise(self, z0_BZ: Tensor, epsilon_BZ: Tensor, t_B: Tensor) -> Tensor:
        """Return z_t (Ho et al. 2020, eq. 4)."""
        signal, noise = self.rates(t_B, z0_BZ)
        return signal * z0_BZ + noise * epsilon_BZ

    def target(self, z0_BZ: Tensor, epsilon_BZ: Tensor, t_B: Tensor, prediction: Prediction) -> Tensor:
        """Return what the network has to say; v = sqrt(ab) epsilon - sqrt(1 - ab) z_0 (Salimans & Ho 2022, app. D)."""
        return _target(z0_BZ, epsilon_BZ, self.rates(t_B, z0_BZ), prediction)

    def split(self, out_BZ: Tensor, z_BZ: Tensor, t_B: Tensor, prediction: Prediction) -> tuple[Tensor, Tensor]:
        """Return (x0, epsilon) that the network's output stands for, given the noisy z_t."""
        (a, b), (c, d) = _split(*self.rates(t_B, z_BZ), prediction)
        return a * z_BZ + b * out_BZ, c * z_BZ + d * out_BZ


def _target(z0_BZ: Tensor, epsilon_BZ: Tensor, rates: tuple[Tensor, Tensor], prediction: Prediction) -> Tensor:
    if prediction != "v":
        return epsilon_BZ if prediction == "epsilon" else z0_BZ
    return rates[0] * epsilon_BZ - rates[1] * z0_BZ


def draw(count: int, dim: int, schedule: Schedule, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return uniform t `[B]` (float), epsilon `[B, Z]`, and the rates of signal and noise `[B, 1]`, on the CPU."""
    t_B = torch.randint(schedule.steps, (count,), generator=generator)
    epsilon_BZ = torch.randn(count, dim, generator=generator)
    return t_B.float(), epsilon_BZ, *schedule.rates(t_B, epsilon_BZ)


def loss(
    denoise: Denoise, z0_BZ: Tensor, noisy: tuple[Tensor, Tensor, Tensor, Tensor], prediction: Prediction
) -> Tensor:
    """Return the mean squared error (Ho et al. 2020, eq. 14) at what `draw` gave."""
    t_B, epsilon_BZ, signal, noise = noisy
    out_BZ = denoise(signal * z0_BZ + noise * epsilon_BZ, t_B)
    return F.mse_loss(out_BZ.float(), _target(z0_BZ, epsilon_BZ, (signal, noise), prediction))


@torch.no_grad()
def sample(
    denoise: Denoise,
    z_T: Tensor,
    schedule: Schedule,
    *,
    prediction: Prediction,
    sampler: Sampler = "ddpm",
    steps: int,
    eta: float = 0.0,
    generator: torch.Generator,
    rows: slice = slice(None),
    keep: Sequence[float] = (),
    capture: Callable[[Step], Step] = lambda step: step,
    tell: Callable[[], None] = lambda: None,
) -> tuple[Tensor, list[Tensor]]:
    """Return z_0 `[M, Z]`, and z as it was at each fraction of the way (0: `z_T`, 1: `z_0`) in `keep`.

    All M are one batch. `ddpm` draws from the posterior with its own variance (Ho et al. 2020, eq. 6-7), which is the
    member eta = 1 of the DDIM family (Song et al. 2021, eq. 12 and 16) at every number of steps; `eta` is read by
    `ddim` only. Nothing is clipped. `rows`: those alone are sampled, and are as they would be among all. `capture` may
    replace a step by a replayed graph; `tell` is called after each. Raises UserError when `steps` is more than the
    schedule has.
    """
    stops = [round(fraction * steps) for fraction in keep]
    shape, z = z_T.shape, z_T[rows]
    states = {0: z}
    table = coefficients(schedule, prediction, steps, 1.0 if sampler == "ddpm" else eta)
    table_S4 = torch.tensor([[t, *folded] for t, folded in table], dtype=torch.float64).to(z_T)
    noisy = any(sigma for _, (_, _, sigma) in table)

    def update(z_MZ: Tensor, row: Tensor, *noise_MZ: Tensor) -> Tensor:
        t, a, b, c = row.unbind()
        z_MZ = a * z_MZ + b * denoise(z_MZ, t.float().expand(len(z_MZ)))
        return z_MZ + c * noise_MZ[0] if noise_MZ else z_MZ

    update = capture(update)
    noise = ahead(lambda _: [torch.randn(shape, generator=generator)[rows]] if noisy else [], 0, steps, z.device)
    for i, (row, drawn) in enumerate(zip(table_S4, noise, strict=True), start=1):
        z = update(z, row, *[sent(noise_MZ, z.device).to(z) for noise_MZ in drawn])
        tell()
        if i in stops:
            states[i] = z
    return z, [states[stop] for stop in stops]


def timesteps(total: int, steps: int) -> list[int]:
    """Return `steps` times from T-1 down, evenly spaced ("trailing": Lin et al. 2023, arXiv 2305.08891, table 2)."""
    if steps > total:
        raise UserError(f"sampling steps: {steps} is more than the {total} of the schedule; set it to at most {total}")
    return [round(total * (steps - i) / steps) - 1 for i in range(steps)]


def frames(schedule: Schedule, steps: int, count: int) -> list[int]:
    """Return at most `count` numbers of sampling steps, 0 and `steps` among them, that show as much change each.

    They are spaced evenly in phi = arctan(noise / signal) (Salimans & Ho 2022, appendix D), which falls to 0.
    """
    alpha_bar = schedule.alpha_bar[timesteps(schedule.steps, steps)]
    phi = torch.cat([alpha_bar.sqrt().acos(), torch.zeros(1, dtype=alpha_bar.dtype)])
    wanted = torch.linspace(float(phi[0]), 0, count, dtype=phi.dtype)
    return (phi - wanted[:, None]).abs().argmin(dim=1).unique().tolist()


def coefficients(
    schedule: Schedule, prediction: Prediction, steps: int, eta: float
) -> list[tuple[int, tuple[float, float, float]]]:
    """Return (t, (a, b, c)) per step of z <- a z + b out + c noise: one DDIM update, folded in float64."""
    times = timesteps(schedule.steps, steps)
    before = [schedule.alpha_bar[t].item() for t in times]
    folded = []
    for now, after in zip(before, [*before[1:], 1.0], strict=True):
        sigma = eta * math.sqrt((1 - after) / (1 - now) * (1 - now / after))
        to_x0, to_epsilon = math.sqrt(after), math.sqrt(max(1 - after - sigma**2, 0.0))
        x0, epsilon = _split(math.sqrt(now), math.sqrt(1 - now), prediction)
        a, b = (to_x0 * p + to_epsilon * q for p, q in zip(x0, epsilon, strict=True))
        folded.append((a, b, sigma))
    return list(zip(times, folded, strict=True))


def _split(
    signal: Rate, noise: Rate, prediction: Prediction
) -> tuple[tuple[Rate | float, Rate | float], tuple[Rate | float, Rate | float]]:
    """Return x0 = a z + b out and epsilon = c z + d out as ((a, b), (c, d)), for numbers or tensors."""
    if prediction == "epsilon":
        return (1 / signal, -noise / signal), (0.0, 1.0)
    if prediction == "x0":
        return (0.0, 1.0), (1 / noise, -signal / noise)
    return (signal, -noise), (noise, signal)
