"""Reading: what a node says of itself, and rules that several subjects share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, fx
from torch._ops import OpOverloadPacket

from pdiff_plugins.symmetry.factors import Axes, Axis, fix, still, tie

Rule = Callable[..., Any]


def shape_of(node: Any) -> list[int]:
    return [int(size) for size in node.meta["val"].shape]


def named(node: fx.Node) -> dict[str, Any]:
    """Return an operation's arguments by the names of its schema, defaults too."""
    target: Any = node.target
    arguments = target._schema.arguments
    given = dict(zip((argument.name for argument in arguments), node.args, strict=False))
    return {argument.name: argument.default_value for argument in arguments} | given | node.kwargs


def overloads(*packets: OpOverloadPacket) -> list[Any]:
    """Return all forms of these operations."""
    return [getattr(packet, name) for packet in packets for name in packet.overloads()]


def results(node: fx.Node, label: Callable[[list[int]], Axes]) -> Any:
    """Return the label of a result by its shape, or of each of several."""
    values = node.meta["val"]
    if isinstance(values, Tensor):
        return label(list(values.shape))
    return tuple(label(list(value.shape)) if isinstance(value, Tensor) else () for value in values)


def spread(shape: Sequence[int], operands: Sequence[tuple[Axes, Sequence[int]]]) -> Axes:
    """Tie operands axis by axis from the last; an axis of length 1 is spread over the others'."""
    out: list[Axis] = []
    for place in range(1, len(shape) + 1):
        whole = [axes[-place] for axes, sizes in operands if len(sizes) >= place and sizes[-place] == shape[-place]]
        for axis in whole[1:]:
            tie(whole[0], axis)
        out.append(whole[0])
    return tuple(reversed(out))


def local(spatial: int) -> Rule:
    """Return the rule for what treats all places alike, but those of the last `spatial` axes, which are told apart."""

    def rule(node: fx.Node, x: Axes, *rest: Any) -> Any:
        fix(x[-spatial:])
        return results(node, lambda shape: (*x[:-spatial], *still(shape[-spatial:])))

    return rule


def kept(node: fx.Node, x: Axes, *rest: Any) -> Axes:
    return x
