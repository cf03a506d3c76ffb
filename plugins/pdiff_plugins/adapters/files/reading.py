"""Files of adapters for one network: which of its layers they are of, at which rank and scale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.checkpoints.names import in_names, listed
from pdiff.checkpoints.opening import weights_in
from pdiff.checkpoints.reading import load_state
from pdiff.errors import UserError
from pdiff_plugins.adapters.files import names
from pdiff_plugins.adapters.files.adapter import cut, grouped
from pdiff_plugins.adapters.files.config import (
    OTHER,
    adds_twice,
    config_of,
    fault,
    rank_of,
    read_config,
    scale,
    targeted,
)
from pdiff_plugins.adapters.files.table import AdapterFile, able, table, within
from pdiff_plugins.adapters.layers import A, B, adapted, groups, owner, scale_of

State = dict[str, Tensor]
LOSSLESS = 1e-10
"""Share of the energy of B A that rounding explains."""


class AdapterReader:
    """Reads others' adapters as a network's own factors, and keeps count of what it had to do for that."""

    def __init__(self, model: nn.Module, rename: Mapping[str, str], needed: Collection[str]):
        """`needed`: the keys of entries that are generated; `rename` as in `pdiff.checkpoints.names`."""
        self.model, self.rename = model, rename
        self.layers = {name: model.get_submodule(name) for name in adapted(model) if f"{name}.{A}.weight" in needed}
        self.keys, self.biases = set(needed), {f"{name}.bias" for name in self.layers} & set(needed)
        self.able, self.done = able(model), Counter[str]()

    def takes(self, path: Path) -> bool:
        """Return whether a file, or a folder of one network, is an adapter that says its own scale or names."""
        if not self.layers:
            return False
        if config_of(path if path.is_dir() else path.parent):
            return True
        try:
            state = self._named(path)
        except UserError:  # which the reader of networks tells of
            return False
        own = {f"{name}.{part}.weight" for name in self.layers for part in (A, B)}
        parts = {found[1] for name in state if (found := names.entry(name))}
        return bool(parts & {"A", "B"}) and not own <= state.keys()

    def said(self) -> list[str]:
        """Return what was done to the files, a line for each way in which they differ from the network's own."""
        return [f"collect: {count} {'file' if count == 1 else 'files'}: {what}" for what, count in self.done.items()]

    def read(self, path: Path) -> State:
        """Return the factors of all adapted layers, and their biases, by the network's names.

        They compute what the file's do: where its scale or its rank is another, B is multiplied and zeros are added.
        Raises UserError, which names the file, where it holds more, less or something else.
        """
        file = self._described(path)
        there = names.layers(file.found, [*self.able, *within(self.model)])
        ours = {name: layer for name, layer in there.items() if layer in self.layers}
        try:
            self._check_layers(file.found, ours)
            if lost := [name for name in targeted(file.given, self.able) if name not in self.layers]:
                raise UserError(f"lacks the adapter of {lost[0]!r}{_more(lost)}, which its target_modules name")
            factors, done = State(), set[str]()
            for name, layer in ours.items():
                factors |= self._fitted(layer, file.found[name], file.scales[name], done)
        except UserError as error:
            raise UserError(f"{file.path}: {error}{table(self.model, file)}") from None
        if done:
            self.done["; ".join(sorted(done))] += 1
        return factors | self._biases(file.path, file.state, file.given)

    def hint(self, path: Path) -> str:
        """Return the selector that would fit a file of an adapter, for a network that has none; "" for other files."""
        told = config_of(path if path.is_dir() else path.parent)
        return table(self.model, self._described(path)) if told and not self.layers else ""

    def _described(self, path: Path) -> AdapterFile:
        where = config_of(path if path.is_dir() else path.parent)
        given = read_config(where) if where else {}
        if where and (why := fault(given)):
            raise UserError(f"{where}: {why}")
        file, state = next(iter(weights_in(path)), path) if path.is_dir() else path, self._named(path)
        found = _entries(file, state)
        if where is None and (key := next((key for key in state if key.startswith(names.BEFORE)), "")):
            raise UserError(
                f"{file}: {key} is PEFT's, and adapter_config.json is not beside it, by which B A is scaled; fetch it, "
                "too, or write into it peft_type, r and lora_alpha"
            )
        scales = {name: _scale(name, found, given, where) for name, parts in found.items() if "A" in parts}
        return AdapterFile(file, given, state, found, scales)

    def _named(self, path: Path) -> State:
        state = in_names(load_state(path), self.rename)
        state.pop("", None)  # what a rule leaves out
        return state

    def _check_layers(self, found: Mapping[str, Mapping[str, Tensor]], ours: Mapping[str, str]) -> None:
        """Raise UserError where layers of a file are not those of the network, or lack a factor."""
        if others := [name for name in found if name not in ours]:
            raise UserError(
                f"has {others[0].removeprefix(names.BEFORE)!r}{_more(others)}, which the selector does not adapt; "
                "adapt it, or leave it out by collect.rename"
            )
        if missing := [name for name in self.layers if name not in ours.values()]:
            raise UserError(f"lacks the adapter of {missing[0]!r}{_more(missing)}; adapt fewer layers")
        if half := [f"{name}.lora_{part}" for name in ours for part in "AB" if part not in found[name]]:
            raise UserError(f"lacks {half[0].removeprefix(names.BEFORE)!r}{_more(half)}; fetch it again")

    def _fitted(self, name: str, parts: Mapping[str, Tensor], theirs: float, done: set[str]) -> State:
        """Return a layer's factors in the network's shapes."""
        layer, first, second = self.layers[name], parts["A"].float(), parts["B"].float()
        if isinstance(layer, nn.Embedding):
            first, second = second.T, first.T
        own = [layer.get_parameter(f"{part}.weight").shape for part in (A, B)]
        first, second = (_shaped(value, like) for value, like in zip((first, second), own, strict=True))
        most, many, rank = own[0][0], groups(layer), len(first)
        if rank % many:
            raise UserError(f"{name} has rank {rank}, which its {many} groups do not divide")
        shapes = (rank, own[0][1] * many, *own[0][2:]), (own[1][0], rank // many, *own[1][2:])
        for part, value, shape in ((A, first, shapes[0]), (B, second, shapes[1])):
            if value.shape != shape:
                raise UserError(f"{name}.{part} has shape {list(value.shape)}, expected {list(shape)}")
        within = grouped(first, many)
        if within is None:
            raise UserError(
                f"{name}.{A} reaches from one group of the convolution into another, which no weight of it can hold; "
                "leave the layer out in training"
            )
        first = within
        if rank > most:
            (first, second), energy, left = cut(first, second, many, most)
            if energy - left > LOSSLESS * energy:
                raise UserError(f"{name} has rank {rank}, more than the selector's {most}")
            done.add(f"rank {rank} cut to {most}, which nothing is lost by")
        if rank < most:
            done.add(f"rank {rank} filled up with zeros to {most}")
            first, second = _widened(first, many, most // many), _widened(second.transpose(0, 1), 1, most // many)
            second = second.transpose(0, 1)
        ours = scale_of(self.model.get_submodule(owner(name, self.keys)))
        if theirs != ours:
            done.add(f"scale {theirs:g} worked into B, as the network's is {ours:g}")
            second = (second.double() * (theirs / ours)).float()
        return {f"{name}.{A}.weight": first, f"{name}.{B}.weight": second}

    def _biases(self, file: Path, state: Mapping[str, Tensor], given: Mapping[str, Any]) -> State:
        """Return the biases of adapted layers, the network's own where the file has none. Raises UserError."""
        base = {key: value.cpu() for key, value in self.model.state_dict().items() if key.endswith("bias")}
        own = {f"{name}.bias" for name in self.layers}
        read = {names.plain(key).removeprefix(names.BEFORE): value for key, value in _others(state)}
        for key, value in read.items():
            if key.endswith(names.DORA):
                raise UserError(f"{file}: {key} is of DoRA, which {OTHER['use_dora']}")
            if key not in base or value.shape != base[key].shape:
                away = f'collect.rename = {{ "*{key}" = "" }}'
                raise UserError(f"{file}: has {key!r}, which is no adapter's; leave it out by {away}")
            if key not in self.biases and not value.to(base[key].dtype).equal(base[key]):
                what = "set selector.biases = true" if key in own else "train adapters with bias = 'lora_only'"
                raise UserError(f"{file}: {key} differs from the network's, and is not generated; {what}")
        return {key: read.get(key, base[key]).float() for key in self.biases}


def _scale(name: str, found: Mapping[str, Mapping[str, Tensor]], given: Mapping[str, Any], where: Path | None) -> float:
    """Return what B A is multiplied by. Raises UserError where a file and its configuration disagree."""
    parts, rank = found[name], len(found[name]["A"])
    if where is None:  # of diffusers and Kohya alpha lies beside the factors; without, it is the rank
        return float(parts["alpha"]) / rank if "alpha" in parts else 1.0
    outer = name.removesuffix(".out_proj")
    within = outer != name and outer in found
    module = (outer if within else name).removeprefix(names.BEFORE)
    if (told := rank_of(given, module)) != rank:
        raise UserError(f"{where}: gives {module} the rank {told}, but its file has rank {rank}; fetch both again")
    twice = within and parts.get("B", torch.zeros(1)).any() and adds_twice(given)
    return scale(given, module, rank) * (2 if twice else 1)


def _others(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    return ((name, value) for name, value in state.items() if not names.entry(name))


def _entries(file: Path, state: State) -> dict[str, dict[str, Tensor]]:
    """Return the parts of each layer's adapter. Raises UserError where a part is there twice."""
    found: dict[str, dict[str, Tensor]] = {}
    before: dict[tuple[str, str], str] = {}
    for name, value in state.items():
        if parsed := names.entry(name):
            if other := before.get(parsed):
                raise UserError(f"{file}: holds several adapters ({other}, {name}); leave one out by collect.rename")
            least = 0 if parsed[1] == "alpha" else 2
            if value.ndim < least or (value.numel() != 1 if not least else not value.numel()):
                raise UserError(f"{file}: {name} has shape {list(value.shape)}, which no adapter has; fetch it again")
            before[parsed] = name
            found.setdefault(parsed[0], {})[parsed[1]] = value
    if not found:
        raise UserError(f"{file}: holds no adapter; it has {listed(map(repr, state), 2)}")
    return found


def _widened(rows: Tensor, groups: int, most: int) -> Tensor:
    """Return rows with zeros behind those of each group, so that it has so many."""
    parts = rows.unflatten(0, (groups, -1))
    zeros = parts.new_zeros(groups, most - parts.shape[1], *parts.shape[2:])
    return torch.cat([parts, zeros], dim=1).flatten(0, 1)


def _shaped(value: Tensor, like: torch.Size) -> Tensor:
    """Return a factor as a matrix, or as a kernel of one place, where the layer's is so."""
    if value.ndim == 4 and len(like) == 2 and value.shape[2:] == (1, 1):
        return value.flatten(1)
    return value[:, :, None, None] if value.ndim == 2 and len(like) == 4 and like[2:] == (1, 1) else value


def _more(listed: list[str]) -> str:
    return f" and {len(listed) - 1} more" if len(listed) > 1 else ""
