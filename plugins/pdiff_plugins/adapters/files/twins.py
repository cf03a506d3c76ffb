"""Adapters that are one adapter: (B G, G^-1 A) computes the same for every invertible G."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pdiff.mapped import Touched
from pdiff.zoo import Layout
from pdiff_plugins.adapters.factors import pairs

PROBES, AT_ONCE, CLOSE = 4, 64, 1e-5
"""Numbers u^T B A v of each layer, networks at a time, and how close those of twins are, relative to their length."""


def twins(theta_ND: Tensor, layout: Layout) -> list[tuple[int, int]]:
    """Return pairs of networks whose adapters are one, whatever their factors' basis.

    Products are compared by what they give for random vectors, which costs as much as reading the factors: different
    ones do not agree in all of it.
    """
    parts, touched = [], Touched(theta_ND)
    for part_BD in theta_ND.split(AT_ONCE):
        parts.append(_probed(part_BD, layout))
        touched(part_BD)
    probe_NP, rest_NR = (torch.cat(part) for part in zip(*parts, strict=True))
    generator = torch.Generator().manual_seed(1)
    along_N = probe_NP @ torch.randn(probe_NP.shape[1], generator=generator, dtype=torch.float64)
    order = along_N.argsort(stable=True).tolist()
    neighbours = [(min(pair), max(pair)) for pair in itertools.pairwise(order)]
    return sorted(pair for pair in neighbours if all(_close(rows, *pair) for rows in (probe_NP, rest_NR)))


def _close(rows: Tensor, one: int, other: int) -> bool:
    longest = torch.maximum(rows[one].norm(), rows[other].norm())
    return bool((rows[one] - rows[other]).norm() <= CLOSE * longest)


def told(theta_ND: Tensor, layout: Layout, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line where files hold one adapter."""
    found = twins(theta_ND, layout)
    if not found:
        return []
    one, other = (rows[number]["file"] for number in found[0])
    more = f", and {len(found) - 1} more pairs of files" if len(found) > 1 else ""
    return [
        f"collect: {one} and {other} are one adapter{more}: their products B A are equal, whatever the factors; take "
        "one away, or methods learn it twice"
    ]


def _probed(theta_BD: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Return `[B, P]`, equal where products are, and `[B, R]`, what is no factor, in float64."""
    generator, factors, columns = torch.Generator().manual_seed(0), set[str](), []
    for pair in pairs(layout):
        a_BRI, b_BOR = (factor.double() for factor in pair.split(theta_BD))
        left_PO = torch.randn(PROBES, b_BOR.shape[1], generator=generator, dtype=torch.float64)
        right_PI = torch.randn(PROBES, a_BRI.shape[2], generator=generator, dtype=torch.float64)
        columns.append(((left_PO @ b_BOR) * (right_PI @ a_BRI.mT)).sum(dim=2))
        factors |= {pair.a.key, pair.b.key}
    rest = [theta_BD[:, entry.columns].double() for entry in layout.entries if entry.key not in factors]
    return torch.cat(columns, dim=1), torch.cat([theta_BD.new_zeros(len(theta_BD), 0).double(), *rest], dim=1)
