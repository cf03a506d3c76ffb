"""Graph: the operations of a network in eval mode, and the walk that labels what each of them reads and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from typing import Any

import torch
from torch import Tensor, fx, nn

from pdiff.errors import UserError
from pdiff_plugins.populations.parting import STATE


@contextmanager
def _told(network: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # tracing runs the author's code on symbols, which can fail in any way
        why = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        raise UserError(f"symmetry: {network} has no graph to find symmetries in ({why})") from None


@dataclass(frozen=True)
class Graph:
    """The nodes in order; which of them are entries of the state dict, and are read."""

    network: str
    nodes: list[fx.Node]
    keys: dict[fx.Node, str]
    state: dict[str, Tensor]

    @classmethod
    def of(cls, model: nn.Module, inputs: Tensor) -> Graph:
        """Trace a network on an example batch. Raises UserError where that is not possible."""
        model.eval()
        with _told(type(model).__name__), redirect_stderr(StringIO()):  # to which torch writes the graph of a failure
            exported = torch.export.export(model, (inputs,), strict=False).run_decompositions({})
        nodes, state = list(exported.graph.nodes), model.state_dict()
        places = [node for node in nodes if node.op == "placeholder"]
        specs = zip(places, exported.graph_signature.input_specs, strict=True)
        keys = {node: spec.target for node, spec in specs if spec.kind in STATE and spec.target in state and node.users}
        return cls(type(model).__name__, nodes, keys, state)

    def label(
        self,
        entry: Callable[[str, Sequence[int]], Any],
        data: Callable[[Sequence[int]], Any],
        propagate: Callable[[fx.Node, Mapping[fx.Node, Any]], Any],
        fix: Callable[[Any], None],
    ) -> None:
        """Walk the graph once: label entries, data (and what is no entry) and results, and fix the outputs."""
        labels = dict[fx.Node, Any]()
        with _told(self.network):
            for node in self.nodes:
                if node.op == "placeholder":
                    shape = node.meta["val"].shape
                    labels[node] = entry(self.keys[node], shape) if node in self.keys else data(shape)
                elif node.op == "call_function":
                    labels[node] = propagate(node, labels)
                elif node.op == "output":  # which are told apart
                    fix([labels.get(source, ()) for source in node.all_input_nodes])

    def shared(self) -> list[str]:
        """Return the entries that are one tensor under several names."""
        names: dict[int, list[str]] = {}
        for key, value in self.state.items():
            names.setdefault(value.data_ptr() if value.numel() else id(value), []).append(key)
        return [key for keys in names.values() if len(keys) > 1 for key in keys]
