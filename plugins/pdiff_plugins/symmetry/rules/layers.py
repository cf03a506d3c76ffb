"""Layers: what multiplies by weights, normalises, pools or attends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from pdiff_plugins.symmetry.factors import Axes, fix, still, take, tie, tie_all
from pdiff_plugins.symmetry.rules.reading import Rule, local, named, overloads, shape_of, spread

aten = torch.ops.aten
BY_PLACES = {
    1: ("max_pool1d", "avg_pool1d", "adaptive_avg_pool1d", "upsample_linear1d"),
    2: ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "upsample_bilinear2d", "upsample_bicubic2d",
        "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"),
    3: ("max_pool3d", "avg_pool3d", "adaptive_avg_pool3d", "upsample_trilinear3d"),
}  # fmt: skip
ALL_BY_PLACES = (
    "adaptive_max_pool{}d", "upsample_nearest{}d", "_upsample_nearest_exact{}d", "reflection_pad{}d",
    "replication_pad{}d",
)  # fmt: skip
WITH_INDICES = {2: ("max_pool2d_with_indices",), 3: ("max_pool3d_with_indices",), 1: ("max_pool1d_with_indices",)}
POOLS = {
    operation: spatial
    for spatial in (1, 2, 3)
    for name in (*BY_PLACES[spatial], *WITH_INDICES[spatial], *(name.format(spatial) for name in ALL_BY_PLACES))
    for operation in overloads(getattr(aten, name))
}
"""How many axes each of them treats place by place: the last ones."""
CHANNEL_NORMS = {
    aten.batch_norm.default, aten._native_batch_norm_legit_no_training.default,
    aten._native_batch_norm_legit.default, aten.instance_norm.default,
}  # fmt: skip
CONVOLUTIONS = overloads(aten.conv1d, aten.conv2d, aten.conv3d)
TRANSPOSED = overloads(aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d)


def _linear(node: fx.Node, x: Axes, weight: Axes, bias: Axes | None = None) -> Axes:
    tie(x[-1], weight[-1])
    if len(weight) == 1:
        return x[:-1]
    if bias is not None:
        tie(weight[0], bias[0])
    return (*x[:-1], weight[0])


def _bilinear(node: fx.Node, x: Axes, y: Axes, weight: Axes, bias: Axes | None = None) -> Axes:
    tie_all((*x[:-1], x[-1], y[-1]), (*y[:-1], *weight[1:]))
    if bias is not None:
        tie(weight[0], bias[0])
    return (*x[:-1], weight[0])


def _matmul(node: fx.Node, a: Axes, b: Axes) -> Axes:
    """Tie the axis that is summed over, and the batch's."""
    tie(a[-1], b[-2 if len(b) > 1 else 0])
    sizes = [shape_of(arg)[:-2] for arg in node.args]
    batch = max(sizes, key=len) if len(a) == 1 or len(b) == 1 else shape_of(node)[:-2]
    stack = spread(batch, list(zip((a[:-2], b[:-2]), sizes, strict=True)))
    return (*stack, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))


def _product(node: fx.Node, bias: Axes, a: Axes, b: Axes) -> Axes:
    """Add a bias to a product of matrices."""
    tie(a[-1], b[-2])
    if len(a) == 3:
        tie(a[0], b[0])
    operands: Any = [(bias, shape_of(node.args[0])), ((*a[:-1], b[-1]), shape_of(node))]
    return spread(shape_of(node), operands)


def _attention(
    node: fx.Node, q: Axes, k: Axes, v: Axes, mask: Axes | None = None, dropout: float = 0.0, causal: bool = False
) -> Axes | None:
    """Tie the heads of queries, keys and values; the channels of queries and keys; the places of keys and values.

    A mask's axes are those of heads, queries and keys. Several heads of queries may read one of keys.
    """
    batches = [shape_of(arg)[:-2] for arg in node.args[:3]]
    if dropout or batches[1] != batches[2] or min(map(len, (q, k, v))) < 2:
        return None
    heads = q[:-2]
    if batches[0] != batches[1]:
        grouped = node.kwargs.get("enable_gqa") and batches[0][:-1] == batches[1][:-1]
        groups = take(q[-3], batches[1][-1]) if grouped else None
        if groups is None:
            return None
        heads = (*q[:-3], groups[0])
    tie_all(heads, k[:-2])
    tie_all(k[:-1], v[:-1])
    tie(q[-1], k[-1])
    if causal:
        fix((q[-2], k[-2]))
    if mask is not None:
        scores = [*shape_of(node.args[0])[:-1], shape_of(node.args[1])[-2]]
        spread(scores, [((*q[:-1], k[-2]), scores), (mask, shape_of(node.args[3]))])
    return (*q[:-1], v[-1])


def _convolution(node: fx.Node, x: Axes, weight: Axes, bias: Axes | None = None, *rest: Any) -> Axes | None:
    """Tie input channels to what reads them; with groups the groups together, and the channels in all groups alike."""
    arguments, spatial = named(node), len(weight) - 2
    groups, backwards = arguments["groups"], node.target in TRANSPOSED or arguments.get("transposed", False)
    if len(x) != len(weight):
        return None
    read, written = (weight[0], weight[1]) if backwards else (weight[1], weight[0])
    if groups == 1:
        tie(x[1], read)
        channels = written
    else:
        parted, grouped = take(x[1], groups), take(read if backwards else written, groups)
        if parted is None or grouped is None:
            return None
        tie(parted[0], grouped[0])
        tie(parted[1], grouped[1] if backwards else read)
        channels = (*grouped[0], *(written if backwards else grouped[1]))
    fix((weight[2:], x[2:]))
    if bias is not None:
        tie(channels, bias[0])
    return (x[0], channels, *still(shape_of(node)[-spatial:]))


def _channel_norm(node: fx.Node, x: Axes, *rest: Any) -> Any:
    for label in rest[:4]:
        if isinstance(label, tuple):
            tie(x[1], label[0])
    values = node.meta["val"]
    return x if isinstance(values, Tensor) else (x, *(still(value.shape) for value in values[1:]))


def _layer_norm(node: fx.Node, x: Axes, shape: Sequence[int], *affine: Any) -> Axes:
    for label in affine[:2]:
        if isinstance(label, tuple):
            tie_all(x[-len(shape) :], label)
    return x


def _group_norm(node: fx.Node, x: Axes, groups: int, *affine: Any) -> Axes | None:
    """Let groups move with all that is in them, and channels in all groups alike."""
    if take(x[1], groups) is None:
        return None
    for label in affine[:2]:
        if isinstance(label, tuple):
            tie(x[1], label[0])
    return x


RULES: dict[Any, Rule] = {
    **{operation: local(spatial) for operation, spatial in POOLS.items()},
    **dict.fromkeys(CHANNEL_NORMS, _channel_norm), **dict.fromkeys([*CONVOLUTIONS, *TRANSPOSED], _convolution),
    aten.convolution.default: _convolution, aten.linear.default: _linear, aten.layer_norm.default: _layer_norm,
    aten.rms_norm.default: _layer_norm, aten.group_norm.default: _group_norm,
    aten.bilinear.default: _bilinear, aten.addmm.default: _product, aten.baddbmm.default: _product,
    **dict.fromkeys((aten.matmul.default, aten.bmm.default, aten.mm.default, aten.mv.default), _matmul),
    **dict.fromkeys((aten.dot.default, aten.vdot.default), _matmul),
    aten.scaled_dot_product_attention.default: _attention,
}  # fmt: skip
