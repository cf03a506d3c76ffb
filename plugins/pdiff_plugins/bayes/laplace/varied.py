"""Which parameters of a network are random, and the network linearised in them. P random numbers."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from pdiff.components import Task
from pdiff.errors import UserError
from pdiff.objective import Objective
from pdiff.zoo import Entry, Layout
from pdiff_plugins.populations.parting import without_fastpath

FACTORED = (nn.Linear, nn.Conv2d)
"""Layers whose Kronecker factors the library knows."""
WHERE = "network"
AT_ONCE = 16
"""Members whose answers are computed together."""


@contextmanager
def plain_attention() -> Iterator[None]:
    """Within it attention is computed by what has derivatives forwards, and of many at once; fused ones have none."""
    with without_fastpath(), sdpa_kernel(SDPBackend.MATH):
        yield


class Logits(nn.Module):
    """A network that answers by log-probabilities of classes, which are logits of themselves."""

    def __init__(self, network: nn.Module, task: Task):
        super().__init__()
        self.network, self.task = network, task

    def forward(self, inputs: Any) -> Tensor:
        """Return `[B, K]`. Raises UserError where the task has no such classes."""
        logp_BK = self.task.log_probabilities(self.network, inputs)
        if logp_BK is None or logp_BK.ndim != 2 or self.task.each_by_itself:
            raise UserError(
                f"laplace: task {self.task.name} does not give each example one of several classes, and it is of their "
                "likelihood that the curvature is known; leave it out"
            )
        return logp_BK


def network_of(objective: Objective, state: dict[str, Tensor], device: torch.device) -> Logits:
    """Return a network of its own that holds a state dict, in eval mode."""
    network = copy.deepcopy(objective.model)
    network.load_state_dict(state)
    model = Logits(network, objective.task).to(device).eval().requires_grad_(False)
    return model.to(memory_format=torch.contiguous_format)  # the library reads weights as rows


def entries_of(model: Logits, layout: Layout, inputs: Any, weights: str, structure: str) -> tuple[list[int], list[str]]:
    """Return (numbers of the layout's entries that are random, keys of parameters that stay as they are).

    The first stand in the order of the network's parameters. Raises UserError where nothing can be random.
    """
    numbers = {key: number for number, e in enumerate(layout.entries) for key in (e.key, *e.also)}
    layers = _layers(model, inputs)
    if weights == "last_layer":
        return [numbers[key] for key in _last(layers, set(numbers))], []
    keys = [key for key, _ in model.network.named_parameters() if key in numbers]
    known = _factored(layers, set(keys)) if structure == "kron" else set(keys)
    if not known:
        raise UserError(
            f"method.structure = '{structure}': no linear layer or convolution of its own is in the selection; "
            "set it to 'diag'"
        )
    return [numbers[key] for key in keys if key in known], [key for key in keys if key not in known]


def _layers(model: Logits, inputs: Any) -> list[tuple[str, nn.Module]]:
    """Return modules that have parameters of their own, in the order in which they were last called."""
    called: dict[str, nn.Module] = {}

    def note(name: str, module: nn.Module) -> None:
        called.pop(name, None)
        called[name] = module

    hooks = [
        module.register_forward_hook(lambda module, *_, name=name: note(name, module))
        for name, module in model.network.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    with torch.no_grad():
        model(inputs)
    for hook in hooks:
        hook.remove()
    return list(called.items())


def _keys(name: str, layer: nn.Module) -> list[str]:
    return [f"{name}.{key}" if name else key for key, _ in layer.named_parameters()]


def _last(layers: Sequence[tuple[str, nn.Module]], selected: set[str]) -> list[str]:
    name, layer = layers[-1]
    if not isinstance(layer, FACTORED):
        raise UserError(
            f"method.weights = 'last_layer': the network's last is {name}, of {type(layer).__name__}, which is not "
            "linear; set it to 'all'"
        )
    keys = _keys(name, layer)
    missing = next((key for key in keys if key not in selected), None)
    if missing is not None:
        raise UserError(
            f"method.weights = 'last_layer': {missing} is not selected, and only what is selected can be random; set "
            "it to 'all', or select the last layer too"
        )
    return keys


def _factored(layers: Sequence[tuple[str, nn.Module]], selected: set[str]) -> set[str]:
    """Return the keys of layers that are selected whole and whose Kronecker factors are known.

    The library knows none of layers within such a layer, as adapters are, nor of those that share a weight.
    """
    known = {name: layer for name, layer in layers if isinstance(layer, FACTORED)}
    shared = Counter(parameter for _, layer in layers for parameter in layer.parameters(recurse=False))
    odd = {name for name, layer in known.items() if any(shared[parameter] > 1 for parameter in layer.parameters())}
    odd |= {name for name in known if any(name.startswith(f"{other}.") for other in known)}
    whole = [_keys(name, layer) for name, layer in known.items() if name not in odd]
    return {key for keys in whole if selected.issuperset(keys) for key in keys}


class Varied:
    """A network as a function of the parameters that are random."""

    def __init__(self, model: Logits, entries: Sequence[Entry]):
        self.model, self.entries = model, entries
        named = dict(model.named_parameters(remove_duplicate=False))
        self.values = {f"{WHERE}.{e.key}": named[f"{WHERE}.{e.key}"].detach() for e in entries}

    def linearised(self, delta_MP: Tensor, inputs: Any) -> Tensor:
        """Return log-probabilities `[M, B, K]` of f + J delta, together with the network's own."""

        def answers(values: dict[str, Tensor]) -> Tensor:
            logp_BK: Tensor = functional_call(self.model, values, (inputs,))
            return logp_BK

        def moved(delta_P: Tensor) -> Tensor:
            parts = delta_P.split([value.numel() for value in self.values.values()])
            pairs = zip(self.values.items(), parts, strict=True)
            towards = {key: part.view(value.shape) for (key, value), part in pairs}
            both: Any = jvp(answers, (self.values,), (towards,))
            return both[0] + both[1]

        with torch.no_grad(), plain_attention(), warnings.catch_warnings():  # what it tells of how it loads these
            warnings.filterwarnings("ignore", ".*torch.jit.script.*", FutureWarning)
            try:
                return vmap(moved, chunk_size=AT_ONCE)(delta_MP).log_softmax(dim=2)
            except NotImplementedError as error:
                reason = " ".join(str(error).split())[:120]
                raise UserError(
                    f"method.predictive = 'linearised': a layer has no derivative forwards ({reason}); set it to "
                    "'networks'"
                ) from error
