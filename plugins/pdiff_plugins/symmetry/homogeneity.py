"""Homogeneity: how each operation of a graph passes on the scales of what it reads.

A rule is called as those of `propagation` are, with labels of `scales`. An operation without a rule, or one that is
not homogeneous, lets the scales of all that it reads be nothing. Scales are positive, so that ReLU passes them on.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx

from pdiff_plugins.symmetry.rules.layers import CONVOLUTIONS, POOLS
from pdiff_plugins.symmetry.rules.reading import named, shape_of
from pdiff_plugins.symmetry.rules.shapes import CHUNKS, SHAPES
from pdiff_plugins.symmetry.scales import Label, Scales, Term, flat, led, moved, parted, read_as, to_power

aten = torch.ops.aten
KEEPS = {
    aten.relu.default, aten.leaky_relu.default, aten.neg.default, aten.abs.default, aten.clone.default,
    aten.contiguous.default, aten.alias.default, aten._to_copy.default, aten.to.dtype,
}  # fmt: skip
"""f(s x) = s f(x) for every s > 0."""
SUMS = (aten.mean.dim, aten.sum.dim_IntList, aten.amax.default, aten.amin.default)


class Walk:
    """The scales of a graph's tensors, node after node.

    `norms`: a tensor that is normalised has a scale of its own, which is lost but for what the norm's eps adds to the
    variance. Of running statistics it is exact: the scale is that of the variance and eps together.
    """

    def __init__(self, scales: Scales, keys: Mapping[fx.Node, str], norms: bool):
        self.scales, self.norms, self._keys = scales, norms, keys
        self.shifts: dict[str, float] = {}
        """What is added to an entry before it is scaled."""
        self.lost: list[Term] = []
        """Scales that a norm takes away."""

    def propagate(self, node: fx.Node, labels: Mapping[fx.Node, Any]) -> Any:
        """Return the label of what an operation gives, and tie those of what it reads."""
        if node.target is aten._assert_tensor_metadata.default:
            return ()
        rule = RULES.get(node.target) if all(source in labels for source in node.all_input_nodes) else None
        result = rule(self, node, *fx.map_arg(node.args, labels.__getitem__)) if rule else None
        told = [source for source in node.all_input_nodes if source in node.kwargs.values()]
        for source in node.all_input_nodes if result is None else told:
            self.fix(labels.get(source, ()))
        values = node.meta.get("val")
        return (() if isinstance(values, Tensor) else ((),) * len(values or ())) if result is None else result

    def fix(self, label: Any) -> None:
        """Fix labels, or tuples of them."""
        for part in label if isinstance(label, tuple | list) else ():
            self.scales.fix((part,)) if isinstance(part, Term) else self.fix(part)

    def keep(self, label: Label, choose: Callable[[tuple[int, ...]], bool]) -> Label:
        """Return the terms whose axes are chosen, and fix the others."""
        kept, others = parted(label, choose)
        self.scales.fix(others)
        return kept

    def statistics(self, node: fx.Node, x: Label, mean: Label, var: Label, eps: float) -> None:
        """Let the running mean follow x, and the sum of the running variance and eps its square."""
        self.lost += x
        self.scales.equal(x, mean)
        self.scales.equal(to_power(x, 2), var)
        source = node.args[4]
        key = self._keys.get(source, "") if isinstance(source, fx.Node) else ""
        if self.shifts.setdefault(key, eps) != eps:
            self.scales.fix(var)


def _kept(walk: Walk, node: fx.Node, x: Label, *rest: Any) -> Label | None:
    return x if node.meta["val"].is_floating_point() else None  # a cast may round


def _dropout(walk: Walk, node: fx.Node, x: Label, p: float, train: bool) -> Label | None:
    return None if train else x


def _prelu(walk: Walk, node: fx.Node, x: Label, slope: Label) -> Label:
    walk.fix(slope)
    return x


def _item(walk: Walk, node: fx.Node, results: Sequence[Label], index: int) -> Label:
    return results[index]


def _pooled(walk: Walk, node: fx.Node, x: Label, *rest: Any) -> Label | None:
    if not isinstance(node.meta["val"], Tensor):
        return None
    last = len(shape_of(node)) - POOLS[node.target]
    return walk.keep(x, lambda axes: max(axes) < last)


def _added(walk: Walk, node: fx.Node, a: Any, b: Any) -> Label:
    """Let both have the same scale, a number none."""
    a, b = (led(x, len(shape_of(node))) if isinstance(x, tuple) else () for x in (a, b))
    walk.scales.equal(a, b)
    return a if a else b


def _multiplied(walk: Walk, node: fx.Node, a: Any, b: Any) -> Label:
    a, b = (led(x, len(shape_of(node))) if isinstance(x, tuple) else () for x in (a, b))
    return (*a, *(to_power(b, -1) if node.target is aten.div.Tensor else b))


def _reads(walk: Walk, x: Label, axis: int, weight: Label) -> tuple[Label, Label]:
    """Undo the scale of x in the weight that is summed over it; return what else scales x, and the weight."""
    inner, rest = parted(x, lambda axes: axis in axes)
    inner = walk.keep(inner, lambda axes: axes == (axis,))
    reading, outer = parted(walk.keep(weight, lambda axes: axes in ((0,), (1,))), lambda axes: axes == (1,))
    walk.scales.equal(flat(inner), to_power(flat(reading), -1))
    return rest, flat(outer)


def _linear(walk: Walk, node: fx.Node, x: Label, weight: Label, bias: Label | None = None) -> Label:
    rest, outer = _reads(walk, x, len(shape_of(node)) - 1, weight)
    if bias is not None:
        walk.scales.fix(rest)
        walk.scales.equal(outer, bias)
    return (*rest, *led(outer, len(shape_of(node))))


def _convolution(
    walk: Walk, node: fx.Node, x: Label, weight: Label, bias: Label | None = None, *rest: Any
) -> Label | None:
    shape, groups = shape_of(node), named(node)["groups"]
    if len(shape) != len(shape_of(node.args[1])):
        return None
    x = walk.keep(x, lambda axes: axes == (1,))
    if groups == 1:
        _, outer = _reads(walk, x, 1, weight)
    elif groups == shape_of(node.args[0])[1] == shape[1]:  # one filter for each channel
        outer = (*flat(x), *flat(walk.keep(weight, lambda axes: axes == (0,))))
    else:
        return None
    if bias is not None:
        walk.scales.equal(outer, bias)
    return moved(outer, lambda array: array.reshape(1, -1, *[1] * (len(shape) - 2)))


def _embedded(walk: Walk, node: fx.Node, weight: Label, index: Label, *rest: Any) -> Label:
    return led(flat(walk.keep(weight, lambda axes: axes == (1,))), len(shape_of(node)))


def _weight_normed(walk: Walk, node: fx.Node, v: Label, g: Label, dim: int = 0) -> Label:
    """Lose the scale that all have which are normalised together."""
    walk.lost += walk.keep(v, lambda axes: dim >= 0 and axes == (dim,))
    return g


def _matmul(walk: Walk, node: fx.Node, a: Label, b: Label) -> Label | None:
    """Undo the scale of one operand in the other along the axis that is summed over."""
    ndim = len(shape_of(node))
    if min(len(shape_of(arg)) for arg in node.args) < 2:
        return None
    a, b = led(a, ndim), led(b, ndim)
    inner_a, rest_a = parted(a, lambda axes: ndim - 1 in axes)
    inner_b, rest_b = parted(b, lambda axes: ndim - 2 in axes)
    inner_a = walk.keep(inner_a, lambda axes: ndim - 2 not in axes)
    inner_b = walk.keep(inner_b, lambda axes: ndim - 1 not in axes)
    walk.scales.equal(inner_a, to_power(moved(inner_b, lambda array: array.swapaxes(-1, -2)), -1))
    return (*rest_a, *rest_b)


def _attention(
    walk: Walk, node: fx.Node, q: Label, k: Label, v: Label,
    mask: Any = None, dropout: float = 0.0, causal: bool = False,
) -> Label | None:  # fmt: skip
    """Undo the scale of queries in keys; that of values is passed on."""
    if dropout or node.kwargs.get("enable_gqa"):
        return None
    walk.fix(mask)
    positions = len(shape_of(node)) - 2
    q, k, v = (walk.keep(x, lambda axes: positions not in axes) for x in (q, k, v))
    walk.scales.equal(q, to_power(k, -1))
    return v


def _batch_norm(
    walk: Walk, node: fx.Node, x: Label, weight: Label | None, bias: Label | None, mean: Any, var: Any, *rest: Any
) -> Any:
    """Lose the scale of x where running statistics follow it."""
    training, (_, eps) = (rest[0], rest[1:3]) if node.target is aten.batch_norm.default else (False, rest)
    if training or mean is None or var is None:
        return None
    walk.statistics(node, flat(walk.keep(x, lambda axes: axes == (1,))), mean, var, eps)
    values = node.meta["val"]
    shape = values.shape if isinstance(values, Tensor) else values[0].shape
    label = moved(_affine(walk, weight, bias), lambda array: array.reshape(1, -1, *[1] * (len(shape) - 2)))
    return label if isinstance(values, Tensor) else (label, *((),) * (len(values) - 1))


def _affine(walk: Walk, weight: Label | None, bias: Label | None) -> Label:
    if bias is not None:
        walk.scales.equal(weight or (), bias)
    return weight or ()


def _layer_norm(
    walk: Walk, node: fx.Node, x: Label, shape: Sequence[int], weight: Any = None, bias: Any = None, *rest: Any
) -> Label:
    """Lose a scale that all have which are normalised together."""
    first = len(shape_of(node)) - len(shape)
    if walk.norms:
        inside, _ = parted(x, lambda axes: max(axes) >= first)
        for term in walk.keep(inside, lambda axes: min(axes) >= first):
            walk.scales.one(term)
            walk.lost.append(term)
    else:
        walk.scales.fix(x)
    return led(_affine(walk, weight, bias), len(shape_of(node)))


def _summed(walk: Walk, node: fx.Node, x: Label, *rest: Any) -> Label | None:
    """Take sums, means and extremes along axes on which a scale does not depend."""
    dims, ndim = named(node)["dim"], len(shape_of(node.args[0]))
    if not dims:
        return None
    away = {dim % ndim for dim in dims}
    kept = walk.keep(x, lambda axes: away.isdisjoint(axes))
    return kept if named(node)["keepdim"] else moved(kept, lambda array: array.squeeze(tuple(away)))


def _reshaped(walk: Walk, node: fx.Node, x: Label, *rest: Any) -> Label:
    return read_as(x, shape_of(node.args[0]), shape_of(node))


def _moved(walk: Walk, node: fx.Node, x: Label, order: Sequence[int]) -> Label:
    return moved(x, lambda array: array.transpose(order))


def _transposed(walk: Walk, node: fx.Node, x: Label, a: int, b: int) -> Label:
    return moved(x, lambda array: array.swapaxes(a, b))


def _expanded(walk: Walk, node: fx.Node, x: Label, *rest: Any) -> Label:
    return led(x, len(shape_of(node)))


def _selected(walk: Walk, node: fx.Node, x: Label, dim: int, index: int) -> Label:
    shape = shape_of(node.args[0])
    dim %= len(shape)
    return moved(x, lambda array: array.take(index if array.shape[dim] > 1 else 0, axis=dim))


def _unbound(walk: Walk, node: fx.Node, x: Label, dim: int = 0) -> tuple[Label, ...]:
    return tuple(_selected(walk, node, x, dim, index) for index in range(len(node.meta["val"])))


def _joined(walk: Walk, node: fx.Node, operands: Sequence[Label], dim: int = 0) -> Label | None:
    """Join parts of one scale, which does not depend on that axis, or parts that each have theirs along it alone."""
    dim %= len(shape_of(node))
    if any(dim in term.axes for operand in operands for term in operand):
        return _joined_along(walk, [shape_of(part) for part in cast(Sequence[Any], node.args[0])], operands, dim)
    for operand in operands[1:]:
        walk.scales.equal(operands[0], operand)
    return operands[0]


def _joined_along(walk: Walk, shapes: Sequence[Sequence[int]], operands: Sequence[Label], dim: int) -> Label | None:
    kept = [walk.keep(operand, lambda axes: axes == (dim,)) for operand in operands]
    if max(map(len, kept)) > 1:
        return None
    size = [1] * len(shapes[0])
    parts = []
    for label, shape in zip(kept, shapes, strict=True):
        size[dim] = shape[dim]
        parts.append(label[0] if label else Term(np.zeros(size, dtype=np.int64), np.zeros(size)))
    unknown, power = ([getattr(part, name) for part in parts] for name in ("unknown", "power"))
    return (Term(np.concatenate(unknown, axis=dim), np.concatenate(power, axis=dim)),)


def _places(x: Label, dim: int, places: slice) -> Label:
    return moved(x, lambda array: array if array.shape[dim] == 1 else array[(slice(None),) * dim + (places,)])


def _sliced(
    walk: Walk, node: fx.Node, x: Label, dim: int = 0, start: int | None = None, stop: int | None = None, step: int = 1
) -> Label:
    return _places(x, dim % len(shape_of(node)), slice(start, stop, step))


def _chunks(walk: Walk, node: fx.Node, x: Label, size: Any, dim: int = 0) -> tuple[Label, ...]:
    dim %= len(shape_of(node.args[0]))
    stops = np.cumsum([int(value.shape[dim]) for value in node.meta["val"]]).tolist()
    return tuple(_places(x, dim, slice(*ends)) for ends in zip([0, *stops], stops, strict=False))


RULES: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(KEEPS, _kept), **dict.fromkeys(POOLS, _pooled), **dict.fromkeys(SHAPES, _reshaped),
    **dict.fromkeys(CHUNKS, _chunks), **dict.fromkeys((aten.add.Tensor, aten.sub.Tensor), _added),
    **dict.fromkeys((aten.mul.Tensor, aten.div.Tensor), _multiplied), aten.dropout.default: _dropout,
    aten.prelu.default: _prelu, aten.batch_norm.default: _batch_norm,
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    operator.getitem: _item, aten.linear.default: _linear, **dict.fromkeys(CONVOLUTIONS, _convolution),
    aten.layer_norm.default: _layer_norm, **dict.fromkeys(SUMS, _summed), aten.permute.default: _moved,
    aten.transpose.int: _transposed, aten.matmul.default: _matmul, aten.bmm.default: _matmul,
    aten.scaled_dot_product_attention.default: _attention, aten.expand.default: _expanded,
    aten.embedding.default: _embedded, aten._weight_norm.default: _weight_normed,
    aten.cat.default: _joined, aten.unbind.int: _unbound, aten.select.int: _selected, aten.slice.Tensor: _sliced,
}  # fmt: skip
