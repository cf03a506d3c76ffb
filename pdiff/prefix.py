"""Prefix: the part of a network that no selected parameter reaches runs once per batch, the rest once per network.

What is frozen is found from the traced graph, for any architecture and any selection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn

Suffix = Callable[[], Any]


class Prefixed:
    """A traced network, its nodes parted into those that depend on the selection and those that do not."""

    def __init__(self, model: nn.Module, keys: Iterable[str]):
        self.traced = fx.symbolic_trace(model)
        self.interpreter = fx.Interpreter(self.traced)
        keys = list(keys)
        nodes = list(self.traced.graph.nodes)
        dependent: set[fx.Node] = set()
        for node in nodes:
            if _touches(node, keys) or any(source in dependent for source in node.all_input_nodes):
                dependent.add(node)
        self.suffix_nodes = [node for node in nodes if node in dependent or node.op == "output"]
        self.prefix_nodes = [node for node in nodes if node not in dependent and node.op != "output"]
        self.boundary = {source for node in self.suffix_nodes for source in node.all_input_nodes} - dependent

    @property
    def shares_work(self) -> bool:
        """True where something besides the input itself is frozen."""
        return any(node.op in ("call_module", "call_function", "call_method") for node in self.prefix_nodes)

    def prepare(self, inputs: Tensor) -> Suffix:
        """Run the frozen part on a batch; the function returned gives the output for the parameters of that moment."""
        known = self._run(self.prefix_nodes, {}, inputs)
        kept = {node: known[node] for node in self.boundary}
        return lambda: self._run(self.suffix_nodes, dict(kept), inputs)[self.suffix_nodes[-1]]

    def _run(self, nodes: list[fx.Node], known: dict[fx.Node, Any], inputs: Tensor) -> dict[fx.Node, Any]:
        for node in nodes:
            if node.op == "placeholder":
                known[node] = inputs
                continue
            arguments, options = fx.node.map_arg((node.args, node.kwargs), known.__getitem__)
            known[node] = getattr(self.interpreter, node.op)(node.target, arguments, options)
        return known


def _touches(node: fx.Node, keys: list[str]) -> bool:
    """True when the node itself reads a selected entry."""
    target = str(node.target)
    if node.op == "get_attr":
        return target in keys
    return node.op == "call_module" and any(key.startswith(f"{target}.") for key in keys)


def prefixed(
    model: nn.Module, keys: Iterable[str], inputs: Tensor, write: Callable[[int], None], warn: Callable[[str], None]
) -> Prefixed | None:
    """Return the network parted at the selection, or None where that cannot be done or gives nothing.

    It is tried on a batch with the first and the last network of the population (`write` puts them in place), there
    and back: an operation in place, or control flow that depends on values, would show as another output.
    """
    try:
        parted = Prefixed(model, keys)
        if not parted.shares_work:
            return None
        suffix = parted.prepare(inputs)
        for network in (0, -1, 0):
            write(network)
            if not torch.equal(suffix(), model(inputs)):
                raise ValueError("parting it changes its output")
    except Exception as error:  # tracing runs the author's code on symbols, which can fail in any way
        why = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        warn(f"{type(model).__name__} is run whole for every network, because its graph cannot be parted ({why})")
        return None
    return parted
