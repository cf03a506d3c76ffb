"""Symmetry: the permutations of hidden units that leave a network's function as it is, found in its graph.

Every axis of every parameter gets a label: which permutation it follows, and in blocks of how many. Operations tie
labels together, as an addition ties those of its operands; an operation that is not known here fixes all labels that it
reads. So a symmetry may be missed, but none is claimed that is not there.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from pdiff.errors import UserError
from pdiff.graph import STATE

aten = torch.ops.aten
KEEPS = {
    aten.relu.default, aten.gelu.default, aten.silu.default, aten.tanh.default, aten.sigmoid.default, aten.elu.default,
    aten.leaky_relu.default, aten.hardtanh.default, aten.hardswish.default, aten.neg.default, aten.clone.default,
    aten.contiguous.default, aten.dropout.default, aten.alias.default, aten._to_copy.default, aten.to.dtype,
}  # fmt: skip
POOLS = {
    aten.max_pool2d.default, aten.avg_pool2d.default,
    aten.adaptive_avg_pool2d.default, aten.adaptive_max_pool2d.default,
}  # fmt: skip
TWO = {aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor}
NORMS = {
    aten.batch_norm.default: (1, 2, 3, 4), aten._native_batch_norm_legit_no_training.default: (1, 2, 3, 4),
    aten._native_batch_norm_legit.default: (1, 2, 3, 4),
}  # fmt: skip


@dataclass(eq=False)
class Permutation:
    """Of `size` units; `parent` is (another, factor) where it is that one, each unit standing for a block of units."""

    size: int
    fixed: bool = False
    parent: tuple[Permutation, int] | None = None


@dataclass(frozen=True)
class Axis:
    """An axis that follows a permutation, in blocks of `block` entries."""

    of: Permutation
    block: int = 1

    def found(self) -> Axis:
        """Return the axis by the permutation that the others have become part of."""
        of, block = self.of, self.block
        while of.parent is not None:
            of, factor = of.parent
            block *= factor
        return Axis(of, block)


Axes = tuple[Axis, ...]


def tie(a: Axis, b: Axis) -> None:
    """Let two axes of one length follow the same permutation."""
    a, b = a.found(), b.found()
    if a.of is b.of and a.block == b.block:
        return
    if a.block < b.block:
        a, b = b, a
    if a.of is b.of or a.block % b.block or a.of.size * a.block != b.of.size * b.block:
        fix(a, b)
        return
    a.of.fixed |= b.of.fixed
    b.of.parent = (a.of, a.block // b.block)


def fix(*axes: Axis) -> None:
    """Let axes be permuted by nothing."""
    for axis in axes:
        axis.found().of.fixed = True


def _free(shape: Sequence[int]) -> Axes:
    return tuple(Axis(Permutation(int(size))) for size in shape)


def _still(shape: Sequence[int]) -> Axes:
    return tuple(Axis(Permutation(int(size), fixed=True)) for size in shape)


@dataclass
class Symmetry:
    """Which permutation each axis of each entry follows (None: none), with its block; and the permutations' sizes."""

    axes: dict[str, tuple[tuple[int, int] | None, ...]]
    sizes: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, model: nn.Module, inputs: Tensor) -> Symmetry:
        """Find the symmetry of a network in eval mode, on an example batch. Raises UserError where it has no graph."""
        model.eval()
        try:
            exported = torch.export.export(model, (inputs,), strict=False).run_decompositions({})
        except Exception as error:  # tracing runs the author's code on symbols, which can fail in any way
            why = " ".join(f"{type(error).__name__}: {error}".split())[:100]
            raise UserError(f"symmetry: {type(model).__name__} has no graph to find permutations in ({why})") from None
        nodes = list(exported.graph.nodes)
        specs = dict(
            zip((n for n in nodes if n.op == "placeholder"), exported.graph_signature.input_specs, strict=True)
        )
        own, labels = model.state_dict(), dict[fx.Node, Any]()
        entries: dict[str, Axes] = {}
        for node in nodes:
            if node.op == "placeholder":
                labels[node] = _entry(node, specs[node], entries, own)
            elif node.op == "call_function":
                labels[node] = _operation(node, labels)
            elif node.op == "output":  # which are told apart
                fix(*(axis for source in node.all_input_nodes for axis in _all(labels.get(source, ()))))
        for key in _shared(own):
            fix(*entries.get(key, ()))
        return cls._numbered({key: entries.get(key, _still(value.shape)) for key, value in own.items()})

    @classmethod
    def _numbered(cls, entries: Mapping[str, Axes]) -> Symmetry:
        found = {key: tuple(axis.found() for axis in axes) for key, axes in entries.items()}
        roots = {axis.of: None for axes in found.values() for axis in axes if not axis.of.fixed and axis.of.size > 1}
        number = {of: index for index, of in enumerate(roots)}
        axes = {
            key: tuple((number[axis.of], axis.block) if axis.of in number else None for axis in own)
            for key, own in found.items()
        }
        return cls(axes, [of.size for of in roots])

    def within(self, keys: Sequence[str]) -> Symmetry:
        """Return the permutations that touch nothing but the entries `keys`, for these."""
        touched = {label[0] for key, axes in self.axes.items() if key not in keys for label in axes if label}
        kept = [index for index in range(len(self.sizes)) if index not in touched]
        number = {old: new for new, old in enumerate(kept)}
        axes = {
            key: tuple(
                (number[label[0]], label[1]) if label and label[0] in number else None for label in self.axes[key]
            )
            for key in keys
        }
        return Symmetry(axes, [self.sizes[index] for index in kept])

    def permuted(self, state: Mapping[str, Tensor], permutations: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the entries of `state` with units reordered: unit i becomes what unit `permutations[p][i]` was."""
        return {key: self.entry(key, value, permutations) for key, value in state.items()}

    def entry(self, key: str, value: Tensor, permutations: Sequence[Tensor], but: int = -1) -> Tensor:
        """Return one entry with its units reordered, by all permutations `but` one."""
        for axis, label in enumerate(self.axes[key]):
            if label is not None and label[0] != but:
                value = value.index_select(axis, expanded(permutations[label[0]], label[1]))
        return value

    def random(self, generator: torch.Generator) -> list[Tensor]:
        """Return one random permutation each."""
        return [torch.randperm(size, generator=generator) for size in self.sizes]

    def identity(self) -> list[Tensor]:
        return [torch.arange(size) for size in self.sizes]


def expanded(permutation: Tensor, block: int) -> Tensor:
    """Return the permutation of blocks as one of entries."""
    return (permutation[:, None] * block + torch.arange(block)).flatten()


def _entry(node: fx.Node, spec: Any, entries: dict[str, Axes], own: Mapping[str, Tensor]) -> Axes:
    """Label an input of the graph: entries of the state dict are free; data, and what is no entry, is fixed."""
    shape = node.meta["val"].shape
    if spec.kind not in STATE or spec.target not in own or not node.users:
        return _still(shape)
    return entries.setdefault(spec.target, _free(shape))


def _shared(state: Mapping[str, Tensor]) -> list[str]:
    """Return the entries that are one tensor under several names."""
    names: dict[int, list[str]] = {}
    for key, value in state.items():
        names.setdefault(value.data_ptr() if value.numel() else id(value), []).append(key)
    return [key for keys in names.values() if len(keys) > 1 for key in keys]


def _all(labels: Any) -> list[Axis]:
    return [axis for part in labels for axis in (_all(part) if isinstance(part, tuple | list) else [part])]


def _operation(node: fx.Node, labels: Mapping[fx.Node, Any]) -> Any:
    """Return the labels of what an operation gives, and tie those of what it reads."""
    given = [labels.get(arg) if isinstance(arg, fx.Node) else arg for arg in node.args]
    rule = RULES.get(node.target) if all(source in labels for source in node.all_input_nodes) else None
    if node.target is aten._assert_tensor_metadata.default:  # which only looks
        return ()
    if node.target is operator.getitem:
        return given[0] if node.args[1] == 0 and node.args[0].target in NORMS else _unknown(node, labels)
    found = rule(node, given) if rule else None
    return found if found is not None else _unknown(node, labels)


def _unknown(node: fx.Node, labels: Mapping[fx.Node, Any]) -> Any:
    fix(*(axis for source in node.all_input_nodes for axis in _all(labels.get(source, ()))))
    values = node.meta.get("val")
    if isinstance(values, Tensor):
        return _still(values.shape)
    return tuple(_still(v.shape) if isinstance(v, Tensor) else () for v in values or ())


def _shape(node: Any) -> list[int]:
    return [int(size) for size in node.meta["val"].shape]


def _kept(node: fx.Node, given: list[Any]) -> Axes:
    return given[0]


def _pooled(node: fx.Node, given: list[Any]) -> Axes:
    x = given[0]
    fix(*x[-2:])
    return (*x[:-2], *_still(_shape(node)[-2:]))


def _both(node: fx.Node, given: list[Any]) -> Axes:
    """Tie operands axis by axis from the last; an axis of length 1 is spread over the other's."""
    shape, out = _shape(node), []
    operands = [
        (labels, _shape(arg)) for labels, arg in zip(given[:2], node.args[:2], strict=True) if isinstance(arg, fx.Node)
    ]
    for place in range(1, len(shape) + 1):
        own = [labels[-place] for labels, sizes in operands if len(sizes) >= place and sizes[-place] == shape[-place]]
        for axis in own[1:]:
            tie(own[0], axis)
        out.append(own[0])
    return tuple(reversed(out))


def _linear(node: fx.Node, given: list[Any]) -> Axes:
    x, weight, bias = (*given, None)[:3]
    tie(x[-1], weight[1])
    if bias is not None:
        tie(weight[0], bias[0])
    return (*x[:-1], weight[0])


def _convolution(node: fx.Node, given: list[Any]) -> Axes | None:
    x, weight, bias = (*given, None)[:3]
    groups = given[6] if len(given) > 6 else 1
    if groups == 1:
        tie(x[1], weight[1])
    elif groups == _shape(node.args[0])[1] == _shape(node)[1]:  # one filter for each channel
        tie(x[1], weight[0])
    else:
        return None
    fix(*weight[2:], *x[2:])
    if bias is not None:
        tie(weight[0], bias[0])
    return (x[0], weight[0], *_still(_shape(node)[2:]))


def _batch_norm(node: fx.Node, given: list[Any]) -> Any:
    x = given[0]
    for place in NORMS[node.target]:
        if place < len(node.args) and isinstance(node.args[place], fx.Node):
            tie(x[1], given[place][0])
    return x


def _layer_norm(node: fx.Node, given: list[Any]) -> Axes:
    x, shape, *affine = given
    for labels in affine[:2]:
        if labels is not None:
            for axis, own in zip(x[-len(shape) :], labels, strict=True):
                tie(axis, own)
    return x


def _mean(node: fx.Node, given: list[Any]) -> Axes | None:
    x, dims = given[0], given[1]
    if not dims:
        return None
    away, keep = {dim % len(x) for dim in dims}, len(given) > 2 and given[2]
    still = _still([1])[0]
    return tuple(still if index in away else axis for index, axis in enumerate(x) if keep or index not in away)


def _flat(node: fx.Node, given: list[Any]) -> Axes | None:
    """Label a reshape that joins [B, C, ...] to [B, C * ...], or that changes nothing but axes of length 1."""
    x, before, after = given[0], _shape(node.args[0]), _shape(node)
    if before == after:
        return x
    kept = [axis for axis, size in zip(x, before, strict=True) if size > 1]
    if [size for size in before if size > 1] == [size for size in after if size > 1]:
        left = iter(kept)
        return tuple(next(left) if size > 1 else _still([1])[0] for size in after)
    joined = len(after) == 2 and after[0] == before[0] and after[1] == math.prod(before[1:])
    if not joined or not all(axis.found().of.fixed for axis in x[2:]):
        return None
    own = x[1].found()
    return (x[0], Axis(own.of, own.block * math.prod(before[2:])))


def _moved(node: fx.Node, given: list[Any]) -> Axes:
    return tuple(given[0][dim] for dim in given[1])


RULES: dict[Any, Callable[[fx.Node, list[Any]], Any]] = {
    **dict.fromkeys(KEEPS, _kept), **dict.fromkeys(POOLS, _pooled), **dict.fromkeys(TWO, _both),
    **dict.fromkeys(NORMS, _batch_norm), aten.linear.default: _linear, aten.conv2d.default: _convolution,
    aten.layer_norm.default: _layer_norm, aten.mean.dim: _mean, aten.permute.default: _moved,
    **dict.fromkeys((aten.view.default, aten.reshape.default, aten.flatten.using_ints), _flat),
    **dict.fromkeys((aten.squeeze.dims, aten.unsqueeze.default, aten.squeeze.dim), _flat),
}  # fmt: skip
"""Operation -> what it does to labels; `_flat` looks at shapes alone."""
