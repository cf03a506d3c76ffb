"""Conditions of methods with a latent space. N checkpoints, M samples, L latents, B batch, C condition, Z latent.

A condition is standardised by the zoo's; one that is left out counts as zeros, which is their average.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.files import below
from pdiff.zoo import Zoo, about
from pdiff_plugins.latent.options import Asked, unread

LEFT_OUT = 0.1
"""Share of draws in training without a condition (Ho & Salimans 2022, arXiv 2207.12598, section 4.1)."""
STILL = 1e-6
"""Deviation below which a number of the conditions never changed: it says nothing, and is never looked at."""


@dataclass(frozen=True)
class Conditions:
    """The zoo's conditions, if there are such, and how others are brought to what was learnt: (c - mean) * gain."""

    known_NC: Tensor
    """As the encoder gives them, on the CPU; C = 0: none are learnt."""
    mean_C: Tensor
    gain_C: Tensor

    @property
    def dim(self) -> int:
        return len(self.mean_C)

    def standard(self, condition_MC: Tensor) -> Tensor:
        return (condition_MC.cpu() - self.mean_C) * self.gain_C

    def of_zoo(self, zoo: Zoo) -> Tensor:
        """Return `[N, C]`, standardised: those of a zoo's checkpoints."""
        return self.known_NC if zoo.condition_NC is None or not self.dim else self.standard(zoo.condition_NC)

    def of(self, count: int, condition_MC: Tensor | None, generator: torch.Generator) -> Tensor:
        """Return `[M, C]`, standardised: those asked for, or as often as checkpoints have them."""
        if condition_MC is None or not self.dim:
            condition_MC = self.known_NC[torch.randint(len(self.known_NC), (count,), generator=generator)]
        return self.standard(condition_MC)

    def tensors(self) -> dict[str, Tensor]:
        return {"condition.mean": self.mean_C, "condition.gain": self.gain_C} if self.dim else {}


def learnt(wanted: bool, zoo: Zoo) -> Conditions:
    """Return the zoo's conditions, each number to be standardised by its mean and deviation; none where not wanted."""
    known_NC = zoo.condition_NC if wanted and zoo.condition_NC is not None else torch.empty(len(zoo), 0)
    mean_C = known_NC.double().mean(dim=0)
    std_C = (known_NC - mean_C).square().mean(dim=0).sqrt()
    return Conditions(known_NC, mean_C.float(), torch.where(std_C > STILL, 1 / std_C, 0.0).float())


def load(tensors: dict[str, Tensor], zoo: Zoo) -> Conditions:
    """Rebuild what was learnt of conditions."""
    own = below(tensors, "condition.")
    if not own or zoo.condition_NC is None:
        return learnt(False, zoo)
    return Conditions(zoo.condition_NC, own["mean"], own["gain"])


def kept(zoo: Zoo, known: Zoo) -> Zoo:
    """Return a zoo made of a known one, its checkpoints with the conditions of what they are about."""
    if known.condition_NC is None:
        return zoo
    numbers = {_text(row): number for number, row in enumerate(known.rows)}
    return replace(zoo, condition_NC=known.condition_NC[[numbers[_text(row)] for row in zoo.rows]])


def _text(row: Mapping[str, Any]) -> str:
    return json.dumps(about(row), sort_keys=True)


def asked(conditions: Conditions, method: Asked, count: int, condition_MC: Tensor | None, ctx: Context) -> Tensor:
    """Return the conditions `[L, C]` of all latents, standardised: `mean_of` of them for each of so many networks.

    Raises UserError where an option is given that has a use with conditions only, and there are none.
    """
    if not conditions.dim and (line := unread(method, "method")):
        raise UserError(line)
    return conditions.of(count, condition_MC, ctx.generator("conditions")).repeat_interleave(method.mean_of, dim=0)


def averaged(z_LZ: Tensor, count: int) -> Tensor:
    """Return z_MZ: the mean of so many latents that follow each other, which are of one condition."""
    return z_LZ if count == 1 else z_LZ.unflatten(0, (-1, count)).mean(dim=1)


def shown(count: int, generator: torch.Generator) -> Tensor:
    """Return `[B, 1]`: 0 where a condition is left out, else 1."""
    return (torch.rand(count, 1, generator=generator) >= LEFT_OUT).float()


def guided(denoiser: Callable[..., Tensor], z_BZ: Tensor, t_B: Tensor, condition_BC: Tensor, guidance: float) -> Tensor:
    """Return what the denoiser says of z with its condition, taken so many times as far from what it says without.

    Classifier-free guidance (Ho & Salimans 2022, eq. 6, whose w is `guidance` - 1). C = 0: there are no conditions.
    """
    with_it = denoiser(z_BZ, t_B, condition_BC if condition_BC.shape[1] else None)
    if guidance == 1:
        return with_it
    without = denoiser(z_BZ, t_B, None)
    return without + guidance * (with_it - without)
