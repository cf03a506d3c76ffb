"""Algebra: less work in the part of a graph that runs once per network, with the same result but for rounding.

Where only some positions are read in the end (a ViT's class token), or only their mean (global average pooling), the
slice or the mean moves in front of operations that treat all positions alike, and often into the part that is frozen.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch import fx

aten = torch.ops.aten
SLICE, MEAN, SQUEEZE = aten.slice.Tensor, aten.mean.dim, aten.squeeze.dims
POINTWISE = {
    aten.relu.default, aten.gelu.default, aten.silu.default, aten.tanh.default, aten.sigmoid.default, aten.sin.default,
    aten.leaky_relu.default, aten.elu.default, aten.hardtanh.default, aten.hardswish.default, aten.neg.default,
}  # fmt: skip
REACHED = "reached"


def shrink(graph: fx.Graph, selected: Iterable[fx.Node]) -> None:
    """Rewrite the graph in place; only what depends on a selected input is changed."""
    for node in selected:
        node.meta[REACHED] = True
    for node in list(graph.nodes):
        node.meta[REACHED] = node.meta.get(REACHED, False) or any(n.meta[REACHED] for n in node.all_input_nodes)
        if node.meta[REACHED] and node.op == "call_function":
            _replace(node, _normal_form(node))
    graph.eliminate_dead_code()
    while any(_sink(node) for node in list(graph.nodes) if node.target in (SLICE, MEAN)):
        pass


def _new(before: fx.Node, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
    """Insert an operation before another, its shape worked out on the traced examples' shapes."""
    with before.graph.inserting_before(before):
        node = before.graph.call_function(target, args, kwargs)
    node.meta["val"] = target(*fx.node.map_arg(args, _val), **kwargs)
    node.meta[REACHED] = any(source.meta[REACHED] for source in node.all_input_nodes)
    return node


def _val(node: fx.Node) -> Any:
    return node.meta["val"]


def _args(node: fx.Node) -> tuple[Any, ...]:
    """Return a node's arguments, whose kinds follow from its target, which no type can tell."""
    return node.args


def _replace(node: fx.Node, by: fx.Node | None) -> bool:
    if by is None:
        return False
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)
    return True


def _normal_form(node: fx.Node) -> fx.Node | None:
    """Return the node in the form that the rules know: a slice or mean that keeps the rank, for one."""
    target, args = node.target, _args(node)
    if target == aten.view.default:
        return _new(node, aten.reshape.default, *args)  # rewriting may change how values lie in memory
    if target == operator.getitem and args[0].target == aten._native_batch_norm_legit_no_training.default:
        *operands, momentum, eps = args[0].args  # which cannot be batched over networks, as the following can
        return _new(node, aten.batch_norm.default, *operands, False, momentum, eps, False) if args[1] == 0 else None
    if target == aten.select.int:
        x, dim, index = args
        dim, index = dim % _val(x).dim(), index % _val(x).shape[dim]
        return _new(node, SQUEEZE, _new(node, SLICE, x, dim, index, index + 1), [dim])
    if target == aten.adaptive_avg_pool2d.default and list(args[1]) == [1, 1]:
        rank = _val(args[0]).dim()
        return _new(node, MEAN, args[0], [rank - 2, rank - 1], True)
    if target == MEAN and args[1] and not node.kwargs and not (len(args) > 2 and args[2]):
        dims = [dim % _val(args[0]).dim() for dim in args[1]]
        return _new(node, SQUEEZE, _new(node, MEAN, args[0], dims, True), dims)
    if target == aten.conv2d.default:
        return _dense(node)
    return None


def _dense(node: fx.Node) -> fx.Node | None:
    """Return a convolution as a linear layer where its kernel has more places than the image, most of them padding."""
    (x, weight, bias, *_), shape = (*_args(node), None, None, None)[:4], list(_val(node).shape)
    size, kernel = _val(x).shape[1:], _val(weight).shape[2:]
    groups = _args(node)[6] if len(node.args) > 6 else 1
    frozen = not any(isinstance(n, fx.Node) and n.meta[REACHED] for n in (weight, bias))
    if not frozen or groups > 1 or len(shape) != 4 or size[1:].numel() >= kernel.numel():
        return None
    like = {"dtype": _val(x).dtype, "device": _val(x).device}
    with _val(x).fake_mode:
        impulses = _new(node, aten.reshape.default, _new(node, aten.eye.default, size.numel(), **like), [-1, *size])
    answers = _new(node, aten.conv2d.default, impulses, weight, None, *_args(node)[3:])
    matrix = _new(node, aten.t.default, _new(node, aten.flatten.using_ints, answers, 1))
    flat = _new(node, aten.linear.default, _new(node, aten.flatten.using_ints, x, 1), matrix)
    out = _new(node, aten.reshape.default, flat, shape)
    if bias is None:
        return out
    return _new(node, aten.add.Tensor, out, _new(node, aten.reshape.default, bias, [-1, 1, 1]))


def _sink(node: fx.Node) -> bool:
    """Move a slice or mean in front of the operation that it reduces; return whether that could be done."""
    operation: fx.Node = _args(node)[0]
    if not operation.meta[REACHED] or operation.op != "call_function" or len(operation.users) > 1:
        return False
    moved = _moved(node, operation)
    if moved is None or not _replace(node, moved):
        return False
    operation.graph.erase_node(operation)
    return True


def _moved(reduce: fx.Node, operation: fx.Node) -> fx.Node | None:
    """Return the operation on reduced operands, or None where the two do not commute."""
    mean, target, args, rank = reduce.target == MEAN, operation.target, _args(operation), _val(operation).dim()
    along = _args(reduce)[1]
    dims = {dim % rank for dim in (along if mean else [along])}

    def less(x: Any, dims: set[int] = dims) -> Any:
        return _reduced(reduce, x, dims, rank)

    def again(*operands: Any) -> fx.Node:
        return _new(reduce, target, *operands, *args[len(operands) :], **operation.kwargs)

    if target in POINTWISE:
        return None if mean else again(less(args[0]))
    if target in (aten.clone.default, aten.contiguous.default):
        return less(args[0])
    if target in (aten.add.Tensor, aten.sub.Tensor):
        return again(less(args[0]), less(args[1]))
    if target in (aten.mul.Tensor, aten.div.Tensor):
        varies = [_varies(x, dims, rank) for x in args[:2]]
        if mean and (all(varies) or (target == aten.div.Tensor and varies[1])):
            return None
        return again(less(args[0]), less(args[1]))
    if target == aten.linear.default and rank - 1 not in dims:
        return again(less(args[0]))
    if target == aten.layer_norm.default and not mean and max(dims) < rank - len(args[1]):
        return again(less(args[0]))
    if target == aten.batch_norm.default and 1 not in dims:
        return again(less(args[0]))
    if target == aten.permute.default:
        return again(less(args[0], {args[1][dim] % rank for dim in dims}))
    return None


def _varies(x: Any, dims: set[int], rank: int) -> bool:
    """True where an operand differs along one of the result's dimensions, and is not broadcast along all of them."""
    if not isinstance(x, fx.Node):
        return False
    missing = rank - _val(x).dim()
    return any(dim >= missing and _val(x).shape[dim - missing] > 1 for dim in dims)


def _reduced(reduce: fx.Node, x: Any, dims: set[int], rank: int) -> Any:
    """Return the operand reduced along the result's `dims`, those along which it is broadcast left out."""
    if not isinstance(x, fx.Node):
        return x
    missing = rank - _val(x).dim()
    along = sorted(dim - missing for dim in dims if _varies(x, {dim}, rank))
    if not along:
        return x
    if reduce.target == MEAN:
        return _new(reduce, MEAN, x, along, True)
    return _new(reduce, SLICE, x, along[0], *_args(reduce)[2:])
