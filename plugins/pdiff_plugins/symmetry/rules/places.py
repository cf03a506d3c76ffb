"""Places: operations that treat all places of a tensor alike, that sum over some, or that look them up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch._ops import OpOverload

from pdiff_plugins.symmetry.factors import Axes, fix, free, still, tie
from pdiff_plugins.symmetry.rules.reading import Rule, kept, named, overloads, results, shape_of, spread

aten = torch.ops.aten
KEEPS = [
    aten.contiguous.default, aten.dropout.default, aten.alias.default, aten.detach.default, aten._to_copy.default,
    aten.lift_fresh_copy.default, *overloads(aten.to), aten.hardswish.default, aten.softmax.int,
    aten._softmax.default, aten._safe_softmax.default, aten.log_softmax.int, aten._log_softmax.default,
    aten.log_sigmoid.default,
]  # fmt: skip
"""A softmax treats the places of its own axis alike, too."""
UNIFORM = overloads(
    aten.zeros, aten.ones, aten.full, aten.zeros_like, aten.ones_like, aten.full_like, aten.new_zeros, aten.new_ones,
    aten.new_full, aten.scalar_tensor,
)  # fmt: skip
REDUCTIONS = [
    *overloads(aten.mean, aten.sum, aten.prod, aten.amax, aten.amin, aten.var, aten.std, aten.var_mean, aten.std_mean),
    *overloads(aten.any, aten.all, aten.logsumexp, aten.nansum, aten.nanmean, aten.count_nonzero),
    *overloads(aten.linalg_vector_norm),
    aten.max.default, aten.min.default, aten.norm.Scalar, aten.norm.ScalarOpt_dim, aten.norm.ScalarOpt_dim_dtype,
]  # fmt: skip
EXTREMES = [aten.max.dim, aten.min.dim]
ALONG = [
    aten.cumsum.default, aten.cumprod.default, aten.logcumsumexp.default, aten.argmax.default, aten.argmin.default,
    aten.sort.default, aten.sort.stable, aten.argsort.default, aten.topk.default, aten.kthvalue.default,
    aten.median.dim, aten.mode.default,
]  # fmt: skip


def pointwise(target: Any) -> bool:
    """Return whether an operation gives at each place a function of what it reads there, as torch itself says."""
    if not isinstance(target, OpOverload) or torch.Tag.nondeterministic_seeded in target.tags:
        return False
    return torch.Tag.pointwise in target.tags


def at_each_place(node: fx.Node, *labels: Any) -> Axes | None:
    pairs = [(label, arg) for label, arg in zip(labels, node.args, strict=True) if isinstance(arg, fx.Node)]
    operands = [(axes, shape_of(arg)) for axes, arg in pairs if isinstance(arg.meta["val"], Tensor)]
    if {arg for _, arg in pairs} != set(node.all_input_nodes) or not isinstance(node.meta["val"], Tensor):
        return None
    shape = shape_of(node)
    if list(torch.broadcast_shapes(*(sizes for _, sizes in operands))) != shape:
        return None
    return spread(shape, operands)


def _uniform(node: fx.Node, *rest: Any) -> Axes:
    """Label what is the same everywhere: it follows whatever it is tied to."""
    return free(shape_of(node))


def _prelu(node: fx.Node, x: Axes, slope: Axes) -> Axes:
    if len(x) > 1:
        tie(x[1], slope[0])
    return x


def _reduced(node: fx.Node, x: Axes, *rest: Any) -> Any:
    """Drop the axes that are summed over, in which order is all the same."""
    arguments = named(node)
    dims, keep = arguments.get("dim"), arguments.get("keepdim", False)
    dims = [dims] if isinstance(dims, int) else dims
    away = {dim % max(len(x), 1) for dim in dims} if dims else set(range(len(x)))
    label = tuple(() if index in away else axis for index, axis in enumerate(x) if keep or index not in away)
    return results(node, lambda shape: label)


def _extreme(node: fx.Node, x: Axes, *rest: Any) -> Any:
    """Tell places apart where they are asked for."""
    values_alone = all(user.args[1] == 0 for user in node.users)
    return _reduced(node, x, *rest) if values_alone else _along(node, x, *rest)


def _along(node: fx.Node, x: Axes, *rest: Any) -> Any:
    """Tell the places of one axis apart, and treat those of others alike."""
    dim = named(node).get("dim")
    if dim is None or not x:
        return None
    dim %= len(x)
    fix(x[dim])

    def label(shape: list[int]) -> Axes:
        middle = still(shape[dim : dim + 1]) if len(shape) == len(x) else ()
        return (*x[:dim], *middle, *x[dim + 1 :])

    return results(node, label)


def _turned(node: fx.Node, x: Axes, *rest: Any) -> Axes | None:
    """Tell the places of the axes apart that are flipped or rolled."""
    dims = named(node)["dims"]
    if not dims:
        return None
    fix([x[dim] for dim in dims])
    return x


def _embedded(node: fx.Node, weight: Axes, index: Axes, *rest: Any) -> Axes:
    """Tell the rows of a table apart, which are looked up."""
    fix(weight[0])
    return (*index, weight[1])


def _bag(node: fx.Node, weight: Axes, index: Axes, offsets: Axes, *rest: Any) -> Any:
    """Tell rows and examples apart; columns are summed alike, weighted or not."""
    fix((weight[0], index, offsets, [label for label in rest if isinstance(label, tuple)]))
    first = (*still(node.meta["val"][0].shape[:1]), weight[1])
    return (first, *(still(value.shape) for value in node.meta["val"][1:]))


def _looked_up(node: fx.Node, x: Axes, dim: int, index: Axes) -> Axes:
    fix(x[dim])
    dim %= len(x)
    return (*x[:dim], *(index or ((),)), *x[dim + 1 :])


def _gathered(node: fx.Node, x: Axes, dim: int, index: Axes, *rest: Any) -> Axes:
    """Look places up along one axis; of the others those of both go together."""
    dim %= len(x)
    fix(x[dim])
    sizes, wanted = shape_of(node.args[0]), shape_of(node)
    for at in (at for at in range(len(x)) if at != dim):
        if sizes[at] == wanted[at]:
            tie(x[at], index[at])
        else:
            fix((x[at], index[at]))
    return index


def _indexed(node: fx.Node, x: Axes, indices: Sequence[Axes | None]) -> Axes | None:
    """Look places up along some axes at once; numpy's rule says where the looked-up ones come."""
    nodes: Any = node.args[1]
    told = [at for at, index in enumerate(indices) if index is not None]
    if any(nodes[at].meta["val"].dtype in (torch.bool, torch.uint8) for at in told):
        return None
    fix([x[at] for at in told])
    shapes = [shape_of(nodes[at]) for at in told]
    whole = list(torch.broadcast_shapes(*shapes))
    found = spread(whole, [(indices[at] or (), shape) for at, shape in zip(told, shapes, strict=True)])
    first = told[0] if told == list(range(told[0], told[-1] + 1)) else 0
    rest = [axis for at, axis in enumerate(x) if at not in told]
    return (*rest[:first], *found, *rest[first:])


RULES: dict[Any, Rule] = {
    **dict.fromkeys(KEEPS, kept), **dict.fromkeys(UNIFORM, _uniform), **dict.fromkeys(REDUCTIONS, _reduced),
    **dict.fromkeys(EXTREMES, _extreme), **dict.fromkeys(ALONG, _along),
    aten.flip.default: _turned, aten.roll.default: _turned, aten.prelu.default: _prelu,
    aten._prelu_kernel.default: at_each_place, aten._weight_norm.default: at_each_place,
    aten.embedding.default: _embedded, **dict.fromkeys(overloads(aten.embedding_bag), _bag),
    aten.index_select.default: _looked_up, aten.gather.default: _gathered, aten.index.Tensor: _indexed,
}  # fmt: skip
"""A weight norm sums over all axes along which g has length 1, and is else at each place a function of v and g."""
