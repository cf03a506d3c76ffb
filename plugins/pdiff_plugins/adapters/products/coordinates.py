"""Where distances of adapters are taken: their products, or a sketch of large ones.

M networks, D selected parameters, Z coordinates, O outputs and I inputs of a layer, K side of a sketch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pdiff.mapped import Touched
from pdiff.zoo import Entry, Layout
from pdiff_plugins.adapters.blocks import folded
from pdiff_plugins.adapters.factors import Pair, pairs
from pdiff_plugins.adapters.products.algebra import Factors, double, explicit

MOST = 2**20
"""Numbers of a network's products up to which they are its coordinates."""
SKETCH = 2**18
"""Numbers of a network's sketch."""
AT_ONCE = 16
"""Networks whose factors are held in float64 at a time."""

Scales = float | Mapping[str, float]
"""What products are multiplied by where they are added to a layer: one number, or one for each layer by its name."""


def coordinates(theta_MD: Tensor, layout: Layout, scales: Scales = 1.0) -> Tensor:
    """Return `[M, Z]` in float32, equal for all factors of the same products; what is no factor stands behind them.

    They are scale * B A of all layers while these have at most `MOST` numbers. Of more, a layer with more than K^2 of
    them is sketched: P B A Q, with the numbers of P and Q drawn once and for all from Gaussians of variance 1 / K. Its
    expected squared length is that of the product, and it is linear, so that it holds for differences; the relative
    error of a distance has a deviation of at most sqrt(1 / K) in one layer of rank one, and with more layers or a
    higher rank less: 4.4 % of one layer, 2 % of 24. What was given of a tensor is known while it lives unchanged.
    """
    if theta_MD.is_inference():
        return _coordinates(theta_MD, layout, scales)
    known = _known().setdefault(theta_MD, {})
    named = tuple(sorted(scales.items())) if isinstance(scales, Mapping) else scales
    key = theta_MD._version, layout, named
    if key not in known:
        known[key] = _coordinates(theta_MD, layout, scales)
    given: Tensor = known[key]
    return given


@functools.cache
def _known() -> Any:
    from torch.utils.weak import WeakTensorKeyDictionary

    return WeakTensorKeyDictionary()


def rest(layout: Layout) -> list[Entry]:
    """Return the entries that are no factors, such as biases."""
    factors = {entry.key for pair in pairs(layout) for entry in (pair.a, pair.b)}
    return [entry for entry in layout.entries if entry.key not in factors]


def _coordinates(theta_MD: Tensor, layout: Layout, scales: Scales) -> Tensor:
    found, others = pairs(layout), rest(layout)
    side = _side(found)
    widths = [min(_size(pair), side**2) for pair in found] + [math.prod(entry.shape) for entry in others]
    z_MZ, touched = torch.empty(len(theta_MD), sum(widths)), Touched(theta_MD)
    for into_BZ, theta_BD in zip(z_MZ.split(AT_ONCE), theta_MD.split(AT_ONCE), strict=True):
        parts = into_BZ.split(widths, dim=1)
        for number, (pair, part_BZ) in enumerate(zip(found, parts, strict=False)):
            scale = scales[pair.module] if isinstance(scales, Mapping) else scales
            part_BZ.copy_(_of_layer(pair, theta_BD, side, number).mul_(scale))
        for entry, part_BZ in zip(others, parts[len(found) :], strict=True):
            part_BZ.copy_(theta_BD[:, entry.columns])
        touched(theta_BD)
    touched.end()
    return z_MZ


def _size(pair: Pair) -> int:
    """Return the numbers of a layer's product, without the zeros between groups."""
    return math.prod(pair.a.shape[1:]) * pair.b.shape[0]


def _side(found: list[Pair]) -> int:
    """Return K: layers of more than K^2 numbers are sketched; of few numbers none is."""
    sizes = [_size(pair) for pair in found]
    if sum(sizes) <= MOST:
        return math.isqrt(max(sizes)) + 1
    left = sorted(sizes)
    room = SKETCH
    while left[0] * len(left) <= room:  # small layers leave what they do not need
        room -= left.pop(0)
    return math.isqrt(room // len(left))


def _of_layer(pair: Pair, theta_BD: Tensor, side: int, number: int) -> Tensor:
    """Return `[B, numbers]` of a layer."""
    factors, groups = double(*pair.split(theta_BD)), pair.groups
    if _size(pair) <= side**2:
        blocks = Factors(*[folded(part, groups) for part in factors])
        product = torch.cat([rows_NOI for (rows_NOI,) in explicit(blocks)], dim=1)
        return product.reshape(len(theta_BD), -1)
    (_, _, inputs), outputs = factors.a_NRI.shape, factors.b_NOR.shape[1]
    left_KO, right_IK = _sketch(number, outputs, inputs, side)
    return ((left_KO @ factors.b_NOR) @ (factors.a_NRI @ right_IK)).flatten(1)


@functools.lru_cache(maxsize=64)
def _sketch(number: int, outputs: int, inputs: int, side: int) -> tuple[Tensor, Tensor]:
    """Return P `[K, O]` and Q `[I, K]` of a layer, the same ones every time."""
    generator = torch.Generator().manual_seed(number)
    shapes = (side, outputs), (inputs, side)
    left_KO, right_IK = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return left_KO / side**0.5, right_IK / side**0.5
