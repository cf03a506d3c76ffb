"""Graph: the operations of a network in eval mode, and the walk that labels what each of them reads and gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from typing import Any

from torch import Tensor, fx, nn
from torch.export import ExportedProgram, default_decompositions

from pdiff.data import Inputs
from pdiff.errors import UserError
from pdiff.networks import handed
from pdiff_plugins.populations.parting import STATE, traced
from pdiff_plugins.symmetry.propagation import rule_of

DEEP = 8
"""How often operations are taken apart."""


@contextmanager
def _told(network: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # tracing runs the author's code on symbols, which can fail in any way
        why = " ".join(f"{type(error).__name__}: {error}".split())[:100]
        raise UserError(f"symmetry: {network} has no graph to find symmetries in ({why})") from None


class _Flat(nn.Module):
    """A network whose outputs are told apart, whatever holds them."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, *positional: Any, **named: Any) -> list[Tensor]:
        return tensors(self.network(*positional, **named))


def tensors(outputs: Any) -> list[Tensor]:
    """Return the tensors in nested outputs: of sequences, mappings, dataclasses and other objects."""
    if isinstance(outputs, Tensor):
        return [outputs]
    if isinstance(outputs, Mapping):
        return [tensor for value in outputs.values() for tensor in tensors(value)]
    if isinstance(outputs, list | tuple | set):
        return [tensor for value in outputs for tensor in tensors(value)]
    if dataclasses.is_dataclass(outputs):
        return tensors([getattr(outputs, field.name) for field in dataclasses.fields(outputs)])
    return tensors(vars(outputs)) if hasattr(outputs, "__dict__") else []


def _apart(program: ExportedProgram) -> ExportedProgram:
    """Take operations without a rule apart, as far as torch knows how."""
    for _ in range(DEEP):
        calls = [node for node in program.graph.nodes if node.op == "call_function" and node.all_input_nodes]
        unknown = {node.target for node in calls if rule_of(node.target) is None}
        known = default_decompositions() if unknown else {}
        table = {target: known[target] for target in unknown if target in known}
        if not table:
            break
        program = program.run_decompositions(table)
    return program


@dataclass(frozen=True)
class Graph:
    """The nodes in order; which of them are entries of the state dict, and are read."""

    network: str
    nodes: list[fx.Node]
    keys: dict[fx.Node, str]
    state: dict[str, Tensor]

    @classmethod
    def of(cls, model: nn.Module, inputs: Inputs) -> Graph:
        """Trace a network on example inputs. Raises UserError where that is not possible."""
        model.eval()
        with _told(type(model).__name__), redirect_stderr(StringIO()):  # to which torch writes the graph of a failure
            program = _apart(traced(_Flat(model), *handed(model, inputs)))
        nodes = list(program.graph.nodes)
        state = {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)}
        places = [node for node in nodes if node.op == "placeholder"]
        keys = {}
        for node, spec in zip(places, program.graph_signature.input_specs, strict=True):
            key = str(spec.target).removeprefix("network.")
            if spec.kind in STATE and key in state and node.users:
                keys[node] = key
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
                    shape = getattr(node.meta["val"], "shape", ())
                    labels[node] = entry(self.keys[node], shape) if node in self.keys else data(shape)
                elif node.op == "call_function":
                    labels[node] = propagate(node, labels)
                elif node.op == "output":  # which are told apart
                    fix([labels.get(source, ()) for source in node.all_input_nodes])

    def shared(self) -> list[list[str]]:
        """Return the entries that are one tensor under several names, those of each together."""
        names: dict[int, list[str]] = {}
        for key, value in self.state.items():
            names.setdefault(value.data_ptr() if value.numel() else id(value), []).append(key)
        return [keys for keys in names.values() if len(keys) > 1]


def plain(node: fx.Node) -> str:
    """Return an operation in words: its name, the function that it is part of, and the module that calls it."""
    name = ".".join(str(node.target).split(".")[:2])
    function = str((node.meta.get("torch_fn") or ("", ""))[1]).rpartition(".")[2]
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    module = str(stack[-1][0]).removeprefix("network").removeprefix(".") if stack else ""
    where = [f"of {function}"] if function not in ("", *name.split(".")) else []
    where += [f"in module {module}"] if module else []
    return f"{name} ({', '.join(where)})" if where else name
