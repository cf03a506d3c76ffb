"""Selectors: which entries of a state dict are generated."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff import hookimpl
from pdiff.components import Selector
from pdiff.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from torch import nn


class Entire(Selector):
    """Every parameter, and every floating-point buffer such as running statistics."""

    name = "entire"
    buffers: bool = Field(True, description="with buffers (running_mean, running_var)")

    def select(self, model: nn.Module) -> list[str]:
        buffers = {key for key, _ in model.named_buffers()}
        return [key for key in model.state_dict() if self.buffers or key not in buffers]


class LastNorms(Selector):
    """Weights and biases of the last n normalisation layers (the paper's subset)."""

    name = "last_norms"
    source: ClassVar[str] = "Neural Network Diffusion, arXiv 2402.13144, section 3.1"
    n: int = Field(2, gt=0, description="how many normalisation layers, from the end")
    buffers: bool = Field(False, description="with running statistics")

    def select(self, model: nn.Module) -> list[str]:
        norms = _layers(model, "norm")
        if len(norms) < self.n:
            raise UserError(f"selector.n = {self.n}: the network has {len(norms)} normalisation layers with parameters")
        return _entries(model, norms[-self.n :], self.buffers)


class Names(Selector):
    """State-dict entries whose names match a glob, such as `layer4.*.bn?.weight`."""

    name = "names"
    include: tuple[str, ...] = Field(
        min_length=1, examples=[["*.bias"]], description="globs; an entry that matches one is selected"
    )
    exclude: tuple[str, ...] = Field((), description="globs; an entry that matches one is not")

    def select(self, model: nn.Module) -> list[str]:
        keys = list(model.state_dict())
        for pattern in self.include:
            if not any(fnmatchcase(key, pattern) for key in keys):
                near = did_you_mean(pattern, keys)
                raise UserError(
                    f"selector.include: {pattern!r} matches none of the network's {len(keys)} entries{near}"
                )
        selected = [key for key in keys if _matches(key, self.include) and not _matches(key, self.exclude)]
        if not selected:
            raise UserError("selector.exclude leaves nothing of what selector.include matches")
        return selected


class Layers(Selector):
    """Layers of one kind by position, first to last (the paper's Table 3f)."""

    name = "layers"
    source: ClassVar[str] = "Neural Network Diffusion, arXiv 2402.13144, Table 3f"
    layer: Literal["norm", "conv", "linear"] = Field(examples=["norm"], description="kind of layer that is counted")
    positions: tuple[int, ...] = Field(
        min_length=1, examples=[[-1]], description="which of them: 0 is the first, -1 the last"
    )
    skip: tuple[str, ...] = Field((), description="globs of module names that are not counted, such as *downsample*")
    buffers: bool = Field(False, description="with running statistics")

    def select(self, model: nn.Module) -> list[str]:
        layers = [name for name in _layers(model, self.layer) if not _matches(name, self.skip)]
        for position in self.positions:
            if not -len(layers) <= position < len(layers):
                raise UserError(f"selector.positions = {position}: the network has {len(layers)} {self.layer} layers")
        return _entries(model, [layers[position] for position in self.positions], self.buffers)


def _matches(key: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _layers(model: nn.Module, kind: str) -> list[str]:
    """Return the names of a kind's modules that own parameters, in the order in which the network defines them."""
    from torch import nn

    from pdiff_plugins.networks.nets.frozen_norm import FrozenNorm

    kinds: dict[str, Any] = {
        "norm": (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, FrozenNorm),
        "conv": nn.modules.conv._ConvNd,
        "linear": nn.Linear,
    }
    named = model.named_modules()
    return [
        name for name, module in named if isinstance(module, kinds[kind]) and any(True for _ in module.parameters())
    ]


def _entries(model: nn.Module, layers: list[str], buffers: bool) -> list[str]:
    """Return the state-dict keys that the named modules own, in state-dict order."""
    owned = {key for key, _ in model.named_parameters()} | (
        {key for key, _ in model.named_buffers()} if buffers else set()
    )
    return [key for key in model.state_dict() if key in owned and key.rpartition(".")[0] in layers]


@hookimpl
def register_selectors(register: Any) -> None:
    for selector in (Entire, LastNorms, Names, Layers):
        register(selector)
