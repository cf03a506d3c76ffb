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
GATES: dict[Any, int] = {
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
    directions = 2 if arguments["bidirectional"] else 1
    count = arguments["num_layers"] * directions
    each, time = len(weights) // count, 1 if arguments["batch_first"] else 0
    if len(x) != 3:
        return None
    fix(x[time])
    ends, reads = list[tuple[Axis, Axis]](), x[2]
    for first in range(0, count, directions):
        for layer in range(first, first + directions):
            end = _step(gates, reads, weights[each * layer : each * (layer + 1)], arguments["has_biases"])
            if end is None:
                return None
            ends.append(end)
        tie(ends[first][0], ends[-1][0])
        reads = (*still([directions])[0], *ends[first][0])
    sources: Any = node.args[1]
    sources, states = (sources, states) if isinstance(sources, list | tuple) else ([sources], [states])
    hidden_cells = tuple(zip(*ends, strict=True))
    for source, state, axes in zip(sources, states, hidden_cells, strict=False):
        if source.target not in UNIFORM:
            fix(state[0])
            tie(state[1], x[1 - time])
            for axis in axes:
                tie(axis, state[2])
    lasts = [_told(node, output, axes) for output, axes in enumerate(hidden_cells[: len(sources)], start=1)]
    return ((*x[:2], reads), *((still([count])[0], x[1 - time], last) for last in lasts))


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
