"""Graph: a network parted at a selection, so that what no selected entry reaches is computed once for all networks.

The graph is traced by torch.export, so the parting holds for any architecture and any selection.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils import _pytree as pytree

from pdiff.networks import entry_of, handed
from pdiff_plugins.populations.algebra import shrink

KEPT_BYTES = 2**29
"""Of what is frozen that a network keeps at most: one population after the other is run on the same batches."""
STATE = (InputKind.PARAMETER, InputKind.BUFFER)


class Untraceable(Exception):
    """The network cannot be traced, or its graph does not say all that it does."""


@contextmanager
def without_fastpath() -> Iterator[None]:
    """Let attention be what its layers say, not one operation that does all of them."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def traced(model: nn.Module, arguments: Sequence[Any], named: Mapping[str, Any] | None = None) -> ExportedProgram:
    """Return a network's graph; without a table nothing is taken apart, but operations in place become ordinary ones.

    It runs the author's code on symbols, which can fail in any way.
    """
    with without_fastpath(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of attributes that a network sets while it runs
        return torch.export.export(model, tuple(arguments), dict(named or {}), strict=False).run_decompositions({})


class Parted:
    """A network in eval mode, for arguments of fixed shapes, in two parts: prefix and suffix."""

    def __init__(self, model: nn.Module, keys: Iterable[str], arguments: Sequence[Any]):
        """Trace the model and part it at the entries `keys`. Raises Untraceable."""
        self._model = model
        try:
            exported = traced(model, *self._handed(model, arguments))
        except Exception as error:
            raise Untraceable(" ".join(f"{type(error).__name__}: {error}".split())[:100]) from None
        signature, graph = exported.graph_signature, exported.graph
        if any(spec.kind != OutputKind.USER_OUTPUT for spec in signature.output_specs):
            raise Untraceable("it changes its own state in eval mode")
        self.out_spec = exported.call_spec.out_spec
        places = [node for node in graph.nodes if node.op == "placeholder"]
        specs = dict(zip(places, signature.input_specs, strict=True))
        self.key_of = _selected(model, list(keys), specs)
        shrink(graph, self.key_of)
        inputs = [node for node, spec in specs.items() if spec.kind == InputKind.USER_INPUT]
        weights = [node for node in places if node not in inputs and node not in self.key_of]
        fixed, front, back = _levels(graph, inputs, self.key_of)
        constant = _copy(exported.graph_module, weights, fixed, _read(fixed))
        values = [_value(model, exported.constants, specs[node]) for node in weights]
        self.constants = constant(*values)
        """What depends on frozen entries alone, as they are now."""
        self._prefix = _copy(exported.graph_module, [*inputs, *_read(fixed)], front, _read(front))
        inner = [*self.key_of, *_read(fixed), *_read(front)]
        self._suffix = _copy(exported.graph_module, inner, back, next(iter(reversed(graph.nodes))).args[0])
        self.shares_work = any(node.op == "call_function" for node in front)
        """True where something besides the input itself is frozen."""
        self.bytes = sum(_bytes(node) for node in back if node not in self.key_of)
        """Of all that the suffix computes, for one network."""
        self._kept: dict[bytes, tuple[Any, ...]] = {}
        self._room = KEPT_BYTES

    @staticmethod
    def _handed(model: nn.Module, arguments: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what `forward` is called with, of which a graph's inputs are made: a batch's inputs taken apart."""
        one = arguments[0] if len(arguments) == 1 else None
        return handed(model, one) if isinstance(one, tuple | dict) else (tuple(arguments), {})

    def prefix(self, *arguments: Any) -> tuple[Any, ...]:
        """Return what the suffix needs of the frozen part, for one batch; on a CPU it is kept, as far as there is room.

        The first batches stay: of batches that come round again and again, the latest would be gone each time.
        """
        leaves = pytree.tree_leaves(self._handed(self._model, arguments))
        key = _digest(leaves) if self.shares_work else b""
        if key in self._kept:
            return *self.constants, *self._kept[key]
        front = self._prefix(*leaves, *self.constants)
        size = sum(value.nbytes for value in front if isinstance(value, Tensor))
        if key and size <= self._room:
            self._room -= size
            self._kept[key] = front
        return *self.constants, *front

    def suffix(self, selected: Mapping[str, Tensor], frozen: tuple[Any, ...]) -> Any:
        """Return the network's output, for selected entries by key and what `prefix` gave."""
        entries = [selected[key] for key in self.key_of.values()]
        return pytree.tree_unflatten(self._suffix(*entries, *frozen), self.out_spec)


def _digest(leaves: Sequence[Any]) -> bytes:
    """Return what tells a batch from others, or nothing where that would take long or its results have gradients."""
    if torch.is_grad_enabled() or not all(isinstance(leaf, Tensor) and leaf.device.type == "cpu" for leaf in leaves):
        return b""
    digest = hashlib.sha256()
    for leaf in leaves:
        digest.update(leaf.contiguous().flatten().view(torch.uint8).numpy())
    return digest.digest()


def _selected(model: nn.Module, keys: list[str], specs: Mapping[fx.Node, Any]) -> dict[fx.Node, str]:
    """Return the graph's inputs that are selected entries, with their keys; tied entries are one tensor."""
    key_of = {id(entry_of(model, key)): key for key in keys}
    state = {node: entry_of(model, spec.target) for node, spec in specs.items() if spec.kind in STATE}
    return {node: key_of[id(tensor)] for node, tensor in state.items() if id(tensor) in key_of}


def _value(model: nn.Module, constants: Mapping[str, Any], spec: Any) -> Any:
    return entry_of(model, spec.target).detach() if spec.kind in STATE else constants[spec.target]


def _levels(graph: fx.Graph, inputs: Iterable[fx.Node], selected: Iterable[fx.Node]) -> list[list[fx.Node]]:
    """Part the nodes into those that depend on neither the input nor the selection, on the input alone, on both."""
    level = dict.fromkeys(inputs, 1) | dict.fromkeys(selected, 2)
    for node in graph.nodes:
        level.setdefault(node, max((level[source] for source in node.all_input_nodes), default=0))
    return [[node for node in graph.nodes if level[node] == which and node.op != "output"] for which in range(3)]


def _read(nodes: Sequence[fx.Node]) -> list[fx.Node]:
    """Return those of the nodes that something else, or the output, reads."""
    inside = set(nodes)
    return [node for node in nodes if any(user not in inside for user in node.users)]


def _copy(
    owner: fx.GraphModule, inputs: Sequence[fx.Node], nodes: Sequence[fx.Node], outputs: Sequence[Any]
) -> fx.GraphModule:
    """Return the function that computes `outputs` from `inputs` by those of `nodes` that it takes."""
    graph = fx.Graph()
    known = {node: graph.placeholder(node.name) for node in inputs}
    for node in nodes:
        if node not in known:
            known[node] = graph.node_copy(node, known.__getitem__)
    graph.output(tuple(known[end] if isinstance(end, fx.Node) else end for end in outputs))
    graph.eliminate_dead_code()
    return fx.GraphModule(owner, graph)


def _bytes(node: fx.Node) -> int:
    values = pytree.tree_leaves(node.meta.get("val"))
    return sum(value.numel() * value.element_size() for value in values if isinstance(value, Tensor))
