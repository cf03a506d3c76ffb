"""Shapes: operations that read the same numbers in another shape or order, or parts of them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import gcd
from typing import Any

import torch
from torch import fx

from pdiff_plugins.symmetry.factors import Axes, Axis, fix, free, reshaped, still, take, tie, tie_all
from pdiff_plugins.symmetry.rules.reading import Rule, shape_of

aten = torch.ops.aten
SHAPES = {
    aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.flatten.using_ints, aten.squeeze.dims,
    aten.squeeze.dim, aten.squeeze.default, aten.unsqueeze.default, aten.unflatten.int,
}  # fmt: skip
CHUNKS = {
    aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default, aten.unsafe_chunk.default,
    aten.unsafe_split.Tensor, aten.unsafe_split_with_sizes.default,
}  # fmt: skip


def _item(node: fx.Node, results: Sequence[Axes], index: int) -> Axes:
    return results[index]


def _reshaped(node: fx.Node, x: Axes, *rest: Any) -> Axes:
    return reshaped(x, shape_of(node.args[0]), shape_of(node))


def _moved(node: fx.Node, x: Axes, order: Sequence[int]) -> Axes:
    return tuple(x[dim] for dim in order)


def _transposed(node: fx.Node, x: Axes, a: int = 0, b: int = -1) -> Axes:
    out = list(x)
    if out:
        out[a], out[b] = x[b], x[a]
    return tuple(out)


def _expanded(node: fx.Node, x: Axes, *rest: Any) -> Axes:
    """Label what is repeated along axes of length 1, and along new ones in front, where it follows anything."""
    before, after = shape_of(node.args[0]), shape_of(node)
    new, same = len(after) - len(before), free(after)
    return (*same[:new], *(x[i] if before[i] == after[new + i] else same[new + i] for i in range(len(x))))


def _repeated(node: fx.Node, x: Axes, times: Sequence[int]) -> Axes:
    """Label repetitions, each axis's the slowest part of it, where they follow anything."""
    whole = (*((),) * (len(times) - len(x)), *x)
    return tuple((*again, *axis) for again, axis in zip(free(times), whole, strict=True))


def _cut(axis: Axis, sizes: Sequence[int]) -> Axis | None:
    """Part an axis in the largest blocks that cuts of these sizes keep whole, which stay; return what is in one.

    It is permuted alike in all blocks. None where the axis was fixed, as its factors do not allow that.
    """
    blocks = take(axis, sum(sizes) // gcd(*sizes))
    fix(axis if blocks is None else blocks[0])
    return blocks and blocks[1]


def _piece(block: Axis | None, size: int, sizes: Sequence[int]) -> Axis:
    """Return the axis of a piece of an axis that was cut."""
    if block is None or not size:
        return still([size])[0]
    return (*still([size // gcd(*sizes)])[0], *block)


def _joined(node: fx.Node, operands: Sequence[Axes], dim: int = 0) -> Axes:
    """Join pieces along an axis, and tie the others."""
    nodes: Any = node.args[0]
    dim %= len(shape_of(node))
    pieces = [(axes, shape_of(one)[dim]) for axes, one in zip(operands, nodes, strict=True) if shape_of(one) != [0]]
    first, sizes = pieces[0][0], [size for _, size in pieces if size]
    for axes, _ in pieces[1:]:
        tie_all([*first[:dim], *first[dim + 1 :]], [*axes[:dim], *axes[dim + 1 :]])
    (whole,) = free([sum(sizes)])
    block = _cut(whole, sizes)
    for axes, size in pieces:
        tie(axes[dim], _piece(block, size, sizes))
    return (*first[:dim], whole, *first[dim + 1 :])


def _stacked(node: fx.Node, operands: Sequence[Axes], dim: int = 0) -> Axes:
    dim %= len(shape_of(node))
    for operand in operands[1:]:
        tie_all(operands[0], operand)
    return (*operands[0][:dim], *still([len(operands)]), *operands[0][dim:])


def _selected(node: fx.Node, x: Axes, dim: int, *rest: Any) -> Axes:
    """Fix the axis whose places are told apart; what is taken from it has the others."""
    fix(x[dim])
    return tuple(axis for index, axis in enumerate(x) if index != dim % len(x))


def _unbound(node: fx.Node, x: Axes, dim: int = 0) -> tuple[Axes, ...]:
    return (_selected(node, x, dim),) * len(node.meta["val"])


def _sliced(
    node: fx.Node, x: Axes, dim: int = 0, start: int | None = None, stop: int | None = None, step: int = 1
) -> Axes:
    dim %= len(x)
    whole, size = shape_of(node.args[0])[dim], shape_of(node)[dim]
    if size == whole:
        return x
    first = slice(start, stop, step).indices(whole)[0]
    sizes = [1] * whole if step > 1 else [first, size, whole - first - size]
    return (*x[:dim], _piece(_cut(x[dim], sizes), size, sizes), *x[dim + 1 :])


def _chunks(node: fx.Node, x: Axes, size: Any, dim: int = 0) -> tuple[Axes, ...]:
    """Part an axis: which piece is fixed."""
    dim %= len(x)
    sizes = [int(value.shape[dim]) for value in node.meta["val"]]
    block = _cut(x[dim], sizes)
    return tuple((*x[:dim], _piece(block, length, sizes), *x[dim + 1 :]) for length in sizes)


def _gated(node: fx.Node, x: Axes, dim: int = -1) -> Axes | None:
    """Take the halves of an axis together, as chunks are."""
    dim %= len(x)
    halves = take(x[dim], 2)
    if halves is None:
        return None
    fix(halves[0])
    return (*x[:dim], halves[1], *x[dim + 1 :])


def _padded(node: fx.Node, x: Axes, pad: Sequence[int], *rest: Any) -> Axes:
    """Fix the axes that grow or shrink."""
    after = shape_of(node)
    grown = {len(x) - 1 - at for at in range(len(pad) // 2) if any(pad[2 * at : 2 * at + 2])}
    fix([x[at] for at in grown])
    return tuple(still(after)[at] if at in grown else axis for at, axis in enumerate(x))


RULES: dict[Any, Rule] = {
    **dict.fromkeys(SHAPES, _reshaped), **dict.fromkeys(CHUNKS, _chunks), operator.getitem: _item,
    aten.permute.default: _moved, aten.transpose.int: _transposed, aten.t.default: _transposed,
    aten.expand.default: _expanded, aten.repeat.default: _repeated, aten.cat.default: _joined,
    aten.stack.default: _stacked, aten.unbind.int: _unbound, aten.select.int: _selected, aten.slice.Tensor: _sliced,
    aten.glu.default: _gated, aten.constant_pad_nd.default: _padded, aten.pad.default: _padded,
}  # fmt: skip
