"""Learning: networks' inputs and one number of each, by several small networks whose mean is told.

N networks, B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from pdiff.context import Context, derive
from pdiff.running.memory import in_chunks
from pdiff.training.loop import train
from pdiff_plugins.batches import at_most
from pdiff_plugins.maths.schedules import one_cycle

AT_ONCE = 256
"""Networks that are read at a time."""
BEND = 0.5
"""Deviations of the property beyond which the loss is linear."""
CLIP = 1.0
RISE = 0.1
"""Part of the steps in which the learning rate rises."""


class Options(Protocol):
    """What readers that are trained have in common."""

    name: ClassVar[str]
    members: int
    steps: int
    lr: float
    weight_decay: float
    batch_size: int


@dataclass(frozen=True)
class Scale:
    """Numbers moved and stretched so that each feature has mean 0 and deviation 1."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, value: Tensor, dims: tuple[int, ...]) -> Scale:
        """Take the scale over some axes; a number that is always the same keeps its own."""
        deviation, mean = torch.std_mean(value, dim=dims, correction=0)
        return cls(mean, torch.where(deviation > 1e-6 * mean.abs() + 1e-12, deviation, 1.0))

    def __call__(self, value: Tensor) -> Tensor:
        return (value - self.mean) / self.deviation

    def back(self, value: Tensor) -> Tensor:
        """Invert it."""
        return value * self.deviation + self.mean


@dataclass(frozen=True)
class Told:
    """Networks that were trained to tell a property, `[M, ...]` each -> `[M]`; and its scale."""

    members: list[nn.Module]
    scale: Scale
    device: torch.device

    @torch.no_grad()
    def tell(self, inputs: Sequence[Tensor], ask: Callable[..., Tensor] = nn.Module.__call__) -> Tensor:
        """Return the mean of what all members tell when asked, `ask(member, *inputs)`, `[M]` in float64 on the CPU."""

        def mean(rows: Tensor) -> Tensor:
            values = [value[rows].to(self.device) for value in inputs]
            return torch.stack([ask(member, *values).double().cpu() for member in self.members]).mean(dim=0)

        return self.scale.back(in_chunks(mean, torch.arange(len(inputs[0])), AT_ONCE))


def learn(
    build: Callable[[], nn.Module], inputs: Sequence[Tensor], value_N: Tensor, options: Options, ctx: Context,
    noise: float = 0.0,
) -> Told:  # fmt: skip
    """Train `options.members` networks that `build` makes, each from its own start and in its own order.

    At every step each number of the inputs `[N, ...]` is multiplied by 1 plus noise of that deviation.
    """
    scale = Scale.of(value_N.double(), (0,))
    target_N = scale(value_N.double()).float().to(ctx.device)
    values = [value.to(ctx.device) for value in inputs]
    size = at_most(f"reader {options.name}: batch_size", options.batch_size, len(value_N), ctx.warn)
    members = []
    for number in range(options.members):
        scope = ctx.scope(f"member {number}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(scope.seed, "start"))
            member = build().to(ctx.device).train()
        _train(member, values, target_N, size, options, scope, noise)
        members.append(member.eval())
    return Told(members, scale, ctx.device)


def _train(
    member: nn.Module, values: list[Tensor], target_N: Tensor, size: int, options: Options, ctx: Context, noise: float
) -> None:
    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        return (torch.randperm(len(target_N), generator=generator)[:size],)

    def loss(rows: Tensor) -> Tensor:
        seen = [value[rows] for value in values]
        if noise:
            seen = [value * (1 + noise * torch.randn_like(value)) for value in seen]
        return nn.functional.smooth_l1_loss(member(*seen).float(), target_N[rows], beta=BEND)

    train(
        member, loss, steps=options.steps, ctx=ctx, what=f"reader {options.name}", lr=options.lr,
        weight_decay=options.weight_decay, schedule=one_cycle(options.steps, RISE), clip=CLIP, draw=draw,
    )  # fmt: skip
