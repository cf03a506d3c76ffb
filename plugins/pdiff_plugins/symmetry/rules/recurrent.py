"""Recurrent layers: hidden units move alike in all gates, and in what the next step reads of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from pdiff_plugins.symmetry.factors import Axes, Axis, fix, still, take, tie
from pdiff_plugins.symmetry.rules.places import UNIFORM
from pdiff_plugins.symmetry.rules.reading import Rule, named

aten = torch.ops.aten
GATES = {
    aten.lstm.input: 4, aten.gru.input: 3, aten.rnn_tanh.input: 1, aten.rnn_relu.input: 1,
    aten.lstm_cell.default: 4, aten.gru_cell.default: 3, aten.rnn_tanh_cell.default: 1, aten.rnn_relu_cell.default: 1,
}  # fmt: skip


def _step(gates: int, x: Axis, weights: Sequence[Axes], biased: bool) -> tuple[Axis, Axis] | None:
    """Tie one layer's weights; return what it gives (projected, where it is), and its cells."""
    ih, hh, *others = weights
    tie(x, ih[1])
    given = hh[1]
    parted = take(ih[0], gates)
    if parted is None:
        return None
    fix(parted[0])
    tie(ih[0], hh[0])
    for bias in others[:2] if biased else ():
        tie(ih[0], bias[0])
    left = others[2:] if biased else others
    if left:
        tie(left[0][0], given)
        tie(left[0][1], parted[1])
    else:
        tie(parted[1], given)
    return given, parted[1]


def _layers(node: fx.Node, x: Axes, states: Any, weights: Sequence[Axes], *rest: Any) -> Any:
    """Tie layer after layer; those of both directions move alike, and places in time are told apart."""
    arguments, gates = named(node), GATES[node.target]
    both = 2 if arguments["bidirectional"] else 1
    steps = arguments["num_layers"] * both
    if len(x) != 3:
        return None
    fix(x[1 if arguments["batch_first"] else 0])
    each = len(weights) // steps
    hidden, cells, reads = list[Axis](), list[Axis](), x[2]
    for layer in range(0, steps, both):
        ends = [
            _step(gates, reads, weights[each * step : each * (step + 1)], arguments["has_biases"])
            for step in range(layer, layer + both)
        ]
        if None in ends:
            return None
        hidden += [end[0] for end in ends if end]
        cells += [end[1] for end in ends if end]
        reads = hidden[layer]
        if both == 2:
            tie(hidden[layer], hidden[layer + 1])
            reads = (*still([2])[0], *hidden[layer])
    sources: Any = node.args[1] if isinstance(node.args[1], list | tuple) else [node.args[1]]
    batch = x[0 if arguments["batch_first"] else 1]
    lasts = []
    for index, (source, axes) in enumerate(zip(sources, (hidden, cells), strict=False)):
        label = (states if isinstance(node.args[1], list | tuple) else [states])[index]
        if source.target not in UNIFORM:
            fix(label[0])
            tie(label[1], batch)
            for axis in axes:
                tie(axis, label[2])
        lasts.append((still([steps])[0], batch, _told(node, index + 1, axes)))
    return ((*x[:2], reads), *lasts)


def _told(node: fx.Node, output: int, axes: Sequence[Axis]) -> Axis:
    """Tie the axes of the layers whose last state is read; all where that cannot be told."""
    read: set[int] = set()
    for item in (user for user in node.users if user.args[1] == output):
        for user in item.users:
            one = user.target is aten.select.int and user.args[1] == 0 and isinstance(user.args[2], int)
            read |= {int(user.args[2]) % len(axes)} if one else set(range(len(axes)))  # type: ignore[arg-type]
    first, *others = sorted(read) or [0]
    for other in others:
        tie(axes[first], axes[other])
    return axes[first]


def _cell(node: fx.Node, x: Axes, state: Any, *weights: Any) -> Any:
    """Tie one step; its state is (h, c) in an LSTM."""
    given = [weight for weight in weights if isinstance(weight, tuple)]
    ends = _step(GATES[node.target], x[-1], given, len(given) > 2)
    if ends is None:
        return None
    states = state if isinstance(state, list) else [state]
    for label, axis in zip(states, ends, strict=False):
        tie(label[-1], axis)
        if len(x) > 1:
            tie(label[0], x[0])
    label = (*x[:-1], ends[0])
    return (label, (*x[:-1], ends[1])) if isinstance(state, list) else label


RULES: dict[Any, Rule] = {
    operation: _cell if "_cell" in str(operation) else _layers for operation in GATES
}  # fmt: skip
