"""A network as Python source of plain torch calls, from the graph that torch.export traces."""

from __future__ import annotations

import operator
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from pdiff.data import Inputs, each
from pdiff.errors import UserError

WIDTH = 114
HEAD = '''"""What a network computes, as torch.export traced it: `member(p, *shared(p, inputs))`.

`p` holds parameters and buffers by name. What does not depend on those in which members differ is in `shared`, which is
computed once for all of them.
"""

import operator

import torch

aten = torch.ops.aten
'''


class Traced(NamedTuple):
    """A traced network."""

    program: ExportedProgram
    held: Mapping[str, str]
    """Placeholder of the graph -> name of the parameter, buffer or constant."""
    constants: Mapping[str, Tensor]
    """Those that the state dict does not have."""


class _Called(nn.Module):
    """A function of a network's inputs, for torch.export."""

    def __init__(self, network: nn.Module, answer: Callable[[nn.Module, Inputs], Tensor]):
        super().__init__()
        self.network, self._answer = network, answer

    def forward(self, inputs: Any) -> Tensor:
        return self._answer(self.network, inputs)


def traced(network: nn.Module, answer: Callable[[nn.Module, Inputs], Tensor], example: Inputs) -> Traced:
    """Return what `answer(network, inputs)` computes for any number of examples.

    Names of the state dict are the network's. Raises UserError where torch.export cannot say it.
    """
    batch = Dim("batch")
    shapes = (each(lambda _: {0: batch}, example),)
    try:
        program = torch.export.export(_Called(network, answer), (example,), dynamic_shapes=shapes)
        # An empty table breaks no operator apart: what is left is the graph without writes into tensors.
        program = program.run_decompositions({})
    except UserError:
        raise
    except Exception as error:  # whatever a network's own code raises when it is traced
        raise _untold(network, f"torch.export cannot trace it ({_line(error)})") from error
    about, prefix = program.graph_signature, "network."
    if about.buffers_to_mutate or about.user_inputs_to_mutate or len(about.user_outputs) != 1:
        raise _untold(network, "it changes its own buffers or inputs when it is called")
    kept = {**about.inputs_to_parameters, **about.inputs_to_buffers}
    state = network.state_dict()
    held = {name: key.removeprefix(prefix) for name, key in kept.items()} | about.inputs_to_lifted_tensor_constants
    constants = {held[name]: program.constants[key] for name, key in kept.items() if held[name] not in state}
    constants |= {key: program.constants[key] for key in about.inputs_to_lifted_tensor_constants.values()}
    return Traced(program, held, constants)


def _untold(network: nn.Module, why: str) -> UserError:
    name = type(network).__name__
    return UserError(
        f"export: {name} cannot be written as plain torch: {why}; without --ensemble networks are written one by one"
    )


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}..."


def source(of: Traced, differing: Collection[str], network: nn.Module) -> tuple[str, list[str]]:
    """Return the module's source, and the names of parameters, buffers and constants that it reads.

    `differing`: names of those that members have each for themselves.
    """
    graph, about = of.program.graph, of.program.graph_signature
    result = next(node for node in graph.nodes if node.name == about.user_outputs[0])
    needed = _before([result])
    own = {node for node in needed if node.op == "placeholder" and of.held.get(node.name) in differing}
    for node in graph.nodes:
        if any(before in own for before in node.all_input_nodes):
            own.add(node)
    inputs = [node for node in graph.nodes if node.op == "placeholder" and node.name in about.user_inputs]
    calls = [node for node in graph.nodes if node in needed and node.op != "placeholder"]
    shared, each_own = ([node for node in calls if (node in own) == which] for which in (False, True))
    handed = [
        node for node in (*inputs, *shared)
        if node is result or (node in needed and any(user in each_own for user in node.users))
    ]  # fmt: skip
    writer = _Writer(of, network)
    parts = [
        writer.function("shared", "Return what members go on from.", inputs, shared, handed, single=False),
        writer.function("member", "Return what one member says, `[B, ...]`.", handed, each_own, [result], single=True),
    ]
    names = [of.held[node.name] for node in graph.nodes if node in needed and node.name in of.held]
    return "\n\n".join([HEAD, *parts]), names


def _before(nodes: Sequence[fx.Node]) -> set[fx.Node]:
    found, todo = set(nodes), list(nodes)
    while todo:
        for node in todo.pop().all_input_nodes:
            if node not in found:
                found.add(node)
                todo.append(node)
    return found


class _Writer:
    """Writes functions. A value has the first name that no other one needs any longer, so that memory is freed."""

    def __init__(self, of: Traced, network: nn.Module):
        self.held, self.network = of.held, network
        self.names: dict[fx.Node, str] = {}

    def function(
        self, name: str, does: str, taken: Sequence[fx.Node], calls: Sequence[fx.Node], given: Sequence[fx.Node],
        single: bool,
    ) -> str:  # fmt: skip
        """Return the source of a function of `p` and of values."""
        last = {before: node for node in calls for before in node.all_input_nodes}
        self.names, free = {}, list[str]()
        for node in taken:
            self.names[node] = f"h{len(self.names)}"
        most, lines, place = len(taken), list[str](), ""
        for node in calls:
            call = self._call(node)
            for before in dict.fromkeys(node.all_input_nodes):
                if last[before] is node and before not in given and before in self.names:
                    free.append(self.names[before])
            if not free:
                free, most = [f"h{most}"], most + 1
            self.names[node] = min(free, key=lambda other: int(other[1:]))
            free.remove(self.names[node])
            if (where := _place(node)) != place:
                lines += [f"# {where}"] * bool(where)
                place = where
            lines += _wrapped(f"{self.names[node]} = {call}")
            if node not in last and node not in given:
                free.append(self.names[node])
        result = ", ".join(self.names[node] for node in given)
        result = result if single else f"({result}{',' * (len(given) == 1)})"
        first = self.names[taken[0]] if taken else "None"  # of what is shared there may be no number at all
        device = [f"device = next(iter(p.values()), {first}).device"] * any("device=device" in line for line in lines)
        body = textwrap.indent("\n".join([f'"""{does}"""', *device, *lines, f"return {result}"]), "    ")
        return f"def {name}({', '.join(['p', *(self.names[node] for node in taken)])}):\n{body}\n"

    def _call(self, node: fx.Node) -> str:
        said = [self._said(value) for value in node.args]
        said += [f"{key}={self._said(value)}" for key, value in node.kwargs.items()]
        if node.target is operator.getitem:
            return f"{said[0]}[{said[1]}]"
        return f"{self._target(node)}({', '.join(said)})"

    def _target(self, node: fx.Node) -> str:
        target: Any = node.target
        if node.op == "call_function" and isinstance(target, torch._ops.OpOverload) and target.namespace == "aten":
            return str(target)
        name = getattr(target, "__name__", str(target))
        for module, holder in (("operator", operator), ("torch", torch)):
            if node.op == "call_function" and getattr(holder, name, None) is target:
                return f"{module}.{name}"
        raise _untold(self.network, f"it calls {target}, which is no operator of plain torch")

    def _said(self, value: Any) -> str:
        if isinstance(value, fx.Node):
            if value in self.names:
                return self.names[value]
            return f"p[{self.held[value.name]!r}]".replace(" ", "\\x20")  # lines are broken at spaces
        if isinstance(value, list | tuple):
            inner = ", ".join(map(self._said, value))
            return f"[{inner}]" if isinstance(value, list) else f"({inner},)"
        if isinstance(value, torch.device):
            return "device"
        if isinstance(value, float) and not abs(value) < float("inf"):
            return f"float('{value}')"
        if value is None or isinstance(
            value, bool | int | float | str | torch.dtype | torch.layout | torch.memory_format
        ):
            return repr(value)
        raise _untold(self.network, f"it needs a {type(value).__name__} that cannot be written")


def _place(node: fx.Node) -> str:
    """Return the part of the network that a call is of."""
    stack = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    return next((path.removeprefix("network.") for path in reversed(stack) if path.startswith("network.")), "")


def _wrapped(line: str) -> Iterator[str]:
    """Yield a line, broken after its commas where it is too long."""
    indent = "    "
    yield from textwrap.wrap(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
