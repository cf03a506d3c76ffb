"""How task vectors are merged. N networks, P numbers of one tensor (or product), S scales, O outputs, I inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pdiff.context import Context
from pdiff.mapped import Touched
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.adapters.blocks import folded, unfolded
from pdiff_plugins.adapters.factors import Pair, pairs
from pdiff_plugins.adapters.products.algebra import Factors, combined, cut
from pdiff_plugins.adapters.products.coordinates import rest
from pdiff_plugins.adapters.products.populations import factors_of, share_of

Rule = Callable[[Tensor], Tensor]
"""From the task vectors `[N, P]` of one tensor to what they are merged to, `[P]`."""


def mean(x_NP: Tensor) -> Tensor:
    """Return the mean of task vectors."""
    return x_NP.double().mean(dim=0).float()


def ties(density: float) -> Rule:
    """Return what trims, elects signs by the sum, and averages those that agree with the elected sign."""

    def rule(x_NP: Tensor) -> Tensor:
        x_NP = trimmed(x_NP, density)
        elected_P = torch.where(x_NP.sum(dim=0) >= 0, 1.0, -1.0)
        agrees_NP = x_NP.sign() == elected_P
        return (x_NP * agrees_NP).sum(dim=0) / agrees_NP.sum(dim=0).clamp_min(1)

    return rule


def trimmed(x_NP: Tensor, density: float) -> Tensor:
    """Return task vectors of which the largest entries are kept, this share of them, and others are zero."""
    kept_NK = x_NP.abs().topk(max(1, int(density * x_NP.shape[1])), dim=1).indices
    return torch.zeros_like(x_NP).scatter(1, kept_NK, x_NP.gather(1, kept_NK))


def dare(drop: float, then: Rule, generator: torch.Generator) -> Rule:
    """Return what sets this share of entries to zero, divides others by what is left, and merges the task vectors."""

    def rule(x_NP: Tensor) -> Tensor:
        kept_NP = torch.rand(x_NP.shape, generator=generator) >= drop
        return then(x_NP * kept_NP / (1 - drop))

    return rule


def of_vectors(zoo: Zoo, rule: Rule, scales: Sequence[float], ctx: Context) -> tuple[Tensor, Tensor]:
    """Return theta_SD: the base plus each scale times what is merged of every tensor; and nothing that is lost."""
    theta_SD = ctx.empty(len(scales), zoo.layout.dim)
    touched = Touched(zoo.theta_ND, theta_SD)
    for entry in zoo.layout.entries:
        _merge(entry, zoo, rule, scales, theta_SD)
        touched(zoo.theta_ND[:, entry.columns], theta_SD[:, entry.columns])
    touched.end()
    return theta_SD, torch.zeros(0)


def _merge(entry: Entry, zoo: Zoo, rule: Rule, scales: Sequence[float], theta_SD: Tensor) -> None:
    alone = Layout((replace(entry, start=0),))
    base_P = alone.to_free(zoo.base[entry.columns])
    merged_P = rule(alone.to_free(zoo.theta_ND[:, entry.columns]) - base_P)
    theta_SD[:, entry.columns] = alone.from_free(base_P + torch.tensor(scales)[:, None] * merged_P)


def of_products(zoo: Zoo, rule: Rule, scales: Sequence[float], ctx: Context) -> tuple[Tensor, Tensor]:
    """Return adapters theta_SD of products merged layer by layer, cut to their rank, and the share of energy lost."""
    layers, base_1D, scale_S = pairs(zoo.layout, "of = 'products'"), zoo.base[None], torch.tensor(scales).double()
    theta_SD, energy_2S = ctx.empty(len(scales), zoo.layout.dim), torch.zeros(2, len(scales), dtype=torch.float64)
    touched = Touched(zoo.theta_ND, theta_SD)
    for pair in layers:
        of, base = factors_of(pair, zoo.theta_ND), factors_of(pair, base_1D)
        merged = _mean_of(of, base, scale_S, pair) if rule is mean else _cut(of, base, rule, scale_S, pair)
        pair.write(theta_SD, *merged[0])
        energy_2S += torch.stack(merged[1:])
        touched(zoo.theta_ND[:, pair.a.start : pair.b.stop])
    for entry in rest(zoo.layout):
        _merge(entry, zoo, rule, scales, theta_SD)
    touched.end()
    return theta_SD, share_of(*energy_2S)


def _mean_of(of: Factors, base: Factors, scale_S: Tensor, pair: Pair) -> tuple[Factors, Tensor, Tensor]:
    """Return base + scale * (mean - base) from the factors."""
    count = len(of.a_NRI)
    weight_SN = torch.cat([(scale_S / count)[:, None].expand(-1, count), 1 - scale_S[:, None]], dim=1)
    both = Factors(torch.cat([of.a_NRI, base.a_NRI]), torch.cat([of.b_NOR, base.b_NOR]))
    factors, whole_S, lost_S = combined(weight_SN, both, pair.rank, pair.groups)
    return factors, lost_S, whole_S


def _cut(of: Factors, base: Factors, rule: Rule, scale_S: Tensor, pair: Pair) -> tuple[Factors, Tensor, Tensor]:
    """Return base + scale * rule(products - base), written out."""
    groups = pair.groups
    x_NGOI, base_1GOI = (
        (folded(some.b_NOR, groups) @ folded(some.a_NRI, groups)).unflatten(0, (-1, groups)) for some in (of, base)
    )
    merged_GOI = rule((x_NGOI - base_1GOI).float().flatten(1)).view(x_NGOI.shape[1:]).double()
    sums_BOI = (base_1GOI + scale_S[:, None, None, None] * merged_GOI).flatten(0, 1)
    factors, whole_S, lost_S = cut(unfolded(sums_BOI, groups), pair.rank, groups)
    return factors, lost_S, whole_S
