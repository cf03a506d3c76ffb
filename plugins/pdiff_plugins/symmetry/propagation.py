"""Propagation: how each operation of a graph ties the axes of what it reads to those of what it gives.

A rule is called with a node and its arguments, labels in the place of nodes, and returns the labels of the result, or
None where it does not know. An operation without a rule fixes all that it reads.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from pdiff_plugins.symmetry.factors import Axes, Axis, fix, reshaped, still, take, tie, tie_all

aten = torch.ops.aten
KEEPS = {
    aten.relu.default, aten.gelu.default, aten.silu.default, aten.tanh.default, aten.sigmoid.default, aten.elu.default,
    aten.sin.default, aten.selu.default,
    aten.leaky_relu.default, aten.hardtanh.default, aten.hardswish.default, aten.neg.default, aten.clone.default,
    aten.contiguous.default, aten.dropout.default, aten.alias.default, aten._to_copy.default, aten.to.dtype,
    aten.softmax.int, aten._softmax.default, aten.mish.default, aten.softplus.default, aten.exp.default,
}  # fmt: skip
"""Which treat all places alike, a softmax also those of its own axis."""
POOLS = {
    aten.max_pool2d.default, aten.avg_pool2d.default,
    aten.adaptive_avg_pool2d.default, aten.adaptive_max_pool2d.default,
}  # fmt: skip
TWO = {aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor}
NORMS = {
    aten.batch_norm.default, aten._native_batch_norm_legit_no_training.default,
    aten._native_batch_norm_legit.default,
}  # fmt: skip
SHAPES = {
    aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.flatten.using_ints, aten.squeeze.dims,
    aten.squeeze.dim, aten.unsqueeze.default, aten.unflatten.int,
}  # fmt: skip
CHUNKS = {aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default}


def propagate(node: fx.Node, labels: Mapping[fx.Node, Any]) -> Any:
    """Return the labels of what an operation gives, and tie those of what it reads."""
    if node.target is aten._assert_tensor_metadata.default:  # which only looks
        return ()
    rule = RULES.get(node.target) if all(source in labels for source in node.all_input_nodes) else None
    result = rule(node, *fx.map_arg(node.args, labels.__getitem__)) if rule else None
    return _unknown(node, labels) if result is None else result


def _unknown(node: fx.Node, labels: Mapping[fx.Node, Any]) -> Any:
    fix([labels.get(source, ()) for source in node.all_input_nodes])
    values = node.meta.get("val")
    if isinstance(values, Tensor):
        return still(values.shape)
    return tuple(still(v.shape) if isinstance(v, Tensor) else () for v in values or ())


def _shape(node: Any) -> list[int]:
    return [int(size) for size in node.meta["val"].shape]


def _item(node: fx.Node, results: Sequence[Axes], index: int) -> Axes:
    return results[index]


def _kept(node: fx.Node, x: Axes, *rest: Any) -> Axes:
    return x


def _pooled(node: fx.Node, x: Axes, *rest: Any) -> Axes:
    fix(x[-2:])
    return (*x[:-2], *still(_shape(node)[-2:]))


def _both(node: fx.Node, *labels: Any) -> Axes:
    """Tie operands axis by axis from the last; an axis of length 1 is spread over the other's."""
    operands = [
        (axes, _shape(arg)) for axes, arg in zip(labels[:2], node.args[:2], strict=True) if isinstance(arg, fx.Node)
    ]
    return _spread(_shape(node), operands)


def _spread(shape: Sequence[int], operands: Sequence[tuple[Axes, Sequence[int]]]) -> Axes:
    out: list[Axis] = []
    for place in range(1, len(shape) + 1):
        whole = [axes[-place] for axes, sizes in operands if len(sizes) >= place and sizes[-place] == shape[-place]]
        for axis in whole[1:]:
            tie(whole[0], axis)
        out.append(whole[0])
    return tuple(reversed(out))


def _linear(node: fx.Node, x: Axes, weight: Axes, bias: Axes | None = None) -> Axes:
    tie(x[-1], weight[1])
    if bias is not None:
        tie(weight[0], bias[0])
    return (*x[:-1], weight[0])


def _matmul(node: fx.Node, a: Axes, b: Axes) -> Axes | None:
    """Tie the axis that is summed over, and the batch's."""
    if min(len(a), len(b)) < 2:
        return None
    tie(a[-1], b[-2])
    sizes = [_shape(arg)[:-2] for arg in node.args]
    return (*_spread(_shape(node)[:-2], list(zip((a[:-2], b[:-2]), sizes, strict=True))), a[-2], b[-1])


def _attention(
    node: fx.Node, q: Axes, k: Axes, v: Axes, mask: Any = None, dropout: float = 0.0, causal: bool = False
) -> Axes | None:
    """Tie the heads of queries, keys and values; the channels of queries and keys; the places of keys and values."""
    batches = {tuple(_shape(arg)[:-2]) for arg in node.args[:3]}
    if mask is not None or causal or dropout or len(batches) > 1 or node.kwargs.get("enable_gqa"):
        return None
    tie_all(q[:-2], k[:-2])
    tie_all(k[:-1], v[:-1])
    tie(q[-1], k[-1])
    return (*q[:-1], v[-1])


def _convolution(
    node: fx.Node, x: Axes, weight: Axes, bias: Axes | None = None,
    stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
) -> Axes | None:  # fmt: skip
    if groups == 1:
        tie(x[1], weight[1])
    elif groups == _shape(node.args[0])[1] == _shape(node)[1]:  # one filter for each channel
        tie(x[1], weight[0])
    else:
        return None
    fix((weight[2:], x[2:]))
    if bias is not None:
        tie(weight[0], bias[0])
    return (x[0], weight[0], *still(_shape(node)[2:]))


def _batch_norm(node: fx.Node, x: Axes, *rest: Any) -> Any:
    for label in rest[:4]:
        if isinstance(label, tuple):
            tie(x[1], label[0])
    values = node.meta["val"]
    return x if isinstance(values, Tensor) else (x, *(still(value.shape) for value in values[1:]))


def _layer_norm(node: fx.Node, x: Axes, shape: Sequence[int], *affine: Any) -> Axes:
    for label in affine[:2]:
        if label is not None:
            tie_all(x[-len(shape) :], label)
    return x


def _mean(node: fx.Node, x: Axes, dims: Sequence[int] | None = None, keep: bool = False) -> Axes | None:
    if not dims:
        return None
    away = {dim % len(x) for dim in dims}
    return tuple(() if index in away else axis for index, axis in enumerate(x) if keep or index not in away)


def _reshaped(node: fx.Node, x: Axes, *rest: Any) -> Axes:
    return reshaped(x, _shape(node.args[0]), _shape(node))


def _moved(node: fx.Node, x: Axes, order: Sequence[int]) -> Axes:
    return tuple(x[dim] for dim in order)


def _transposed(node: fx.Node, x: Axes, a: int, b: int) -> Axes:
    out = list(x)
    out[a], out[b] = x[b], x[a]
    return tuple(out)


def _expanded(node: fx.Node, x: Axes, *rest: Any) -> Axes:
    """Label what is repeated along axes of length 1, and along new ones in front."""
    before, after = _shape(node.args[0]), _shape(node)
    new = len(after) - len(before)
    fixed = still(after)
    return (*fixed[:new], *(x[i] if before[i] == after[new + i] else fixed[new + i] for i in range(len(x))))


def _joined(node: fx.Node, operands: Sequence[Axes], dim: int = 0) -> Axes:
    """Fix the axis along which parts are joined, and tie the others."""
    first, dim = operands[0], dim % len(operands[0])
    for operand in operands:
        fix(operand[dim])
        tie_all([*first[:dim], *first[dim + 1 :]], [*operand[:dim], *operand[dim + 1 :]])
    return (*first[:dim], still(_shape(node))[dim], *first[dim + 1 :])


def _selected(node: fx.Node, x: Axes, dim: int, *rest: Any) -> Axes:
    """Fix the axis whose places are told apart; what is taken from it has the others."""
    fix(x[dim])
    return tuple(axis for index, axis in enumerate(x) if index != dim % len(x))


def _unbound(node: fx.Node, x: Axes, dim: int = 0) -> tuple[Axes, ...]:
    return (_selected(node, x, dim),) * len(node.meta["val"])


def _sliced(node: fx.Node, x: Axes, dim: int = 0, *rest: Any) -> Axes:
    dim %= len(x)
    if _shape(node)[dim] == _shape(node.args[0])[dim]:
        return x
    fix(x[dim])
    return (*x[:dim], still(_shape(node))[dim], *x[dim + 1 :])


def _chunks(node: fx.Node, x: Axes, size: Any, dim: int = 0) -> tuple[Axes, ...] | None:
    """Part an axis in chunks of one size: which chunk is fixed, and places move alike in all."""
    dim, sizes = dim % len(x), {tuple(value.shape)[dim] for value in node.meta["val"]}
    parted = take(x[dim], len(node.meta["val"])) if len(sizes) == 1 else None
    if parted is None:
        return None
    fix(parted[0])
    return ((*x[:dim], parted[1], *x[dim + 1 :]),) * len(node.meta["val"])


RULES: dict[Any, Callable[..., Any]] = {
    **dict.fromkeys(KEEPS, _kept), **dict.fromkeys(POOLS, _pooled), **dict.fromkeys(TWO, _both),
    **dict.fromkeys(NORMS, _batch_norm), **dict.fromkeys(SHAPES, _reshaped), **dict.fromkeys(CHUNKS, _chunks),
    operator.getitem: _item, aten.linear.default: _linear, aten.conv2d.default: _convolution,
    aten.layer_norm.default: _layer_norm, aten.mean.dim: _mean, aten.permute.default: _moved,
    aten.transpose.int: _transposed, aten.matmul.default: _matmul, aten.bmm.default: _matmul,
    aten.scaled_dot_product_attention.default: _attention, aten.expand.default: _expanded, aten.cat.default: _joined,
    aten.unbind.int: _unbound, aten.select.int: _selected, aten.slice.Tensor: _sliced,
}  # fmt: skip
