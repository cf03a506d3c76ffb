"""The selector that would fit a file of adapters."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pdiff_plugins.adapters.files import names
from pdiff_plugins.adapters.layers import A, B, groups, most, unfit
from pdiff_plugins.adapters.targets import matches


@dataclass(frozen=True)
class AdapterFile:
    """A file of one adapter: what its configuration says, its entries, and the parts A, B and alpha of each layer."""

    path: Path
    given: Mapping[str, Any]
    state: Mapping[str, Tensor]
    found: Mapping[str, Mapping[str, Tensor]]
    scales: Mapping[str, float]
    """By the name of a layer, as the file has it: what B A is multiplied by."""


def able(model: nn.Module) -> list[str]:
    """Return the names of a network's layers that can be named to have adapters, whether they have or not."""
    modules = {name: module for name, module in model.named_modules() if not {A, B} & set(name.split("."))}
    parts = within(model)
    return [name for name, module in modules.items() if not unfit(module) and name not in parts]


def within(model: nn.Module) -> set[str]:
    """Return the names of layers that have adapters where the attention that they are a part of has."""
    return {f"{name}.out_proj" for name, module in model.named_modules() if isinstance(module, nn.MultiheadAttention)}


def table(model: nn.Module, file: AdapterFile) -> str:
    """Return how a recipe would say the selector of an adapter; "" where some is of no layer of the network."""
    theirs, ranks = list(file.found), [len(parts["A"]) for parts in file.found.values() if "A" in parts]
    known = able(model)
    ours = names.layers(theirs, [*known, *within(model)])
    wanted = [name for name in known if name in ours.values()]
    if len(ours) < len(theirs) or not ranks:
        return ""
    rank, kinds = max(ranks), set(file.scales.values())
    said: dict[str, Any] = {"name": "lora", "rank": rank}
    if len(kinds) == 1 and kinds != {1.0}:
        said["alpha"] = rank * kinds.pop()
    ranks_of = _ranks({name: min(_limit(model.get_submodule(name)), rank) for name in wanted}, rank)
    said |= ({"ranks": ranks_of} if ranks_of else {}) | _patterns(known, wanted)
    said |= {"biases": True} if file.given.get("bias", "none") != "none" else {}
    return f"; selector = {_toml(said)} fits it"


def _ranks(ranks: Mapping[str, int], most: int) -> dict[str, int]:
    """Return the layers of a smaller rank, and before these others that their names are of, too."""
    small = [name for name, rank in ranks.items() if rank < most]
    named = [name for name in ranks if any(matches(name, of) for of in small)]
    return {name: ranks[name] for name in sorted(named, key=len, reverse=True)}


def _limit(layer: nn.Module) -> int:
    return most(layer) // groups(layer) * groups(layer)


def _toml(value: Any) -> str:
    if not isinstance(value, dict):
        return json.dumps(value)
    return f"{{ {', '.join(f'{_key(key)} = {_toml(item)}' for key, item in value.items())} }}"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key, re.ASCII) else json.dumps(key)


def _patterns(known: Sequence[str], wanted: Sequence[str]) -> dict[str, list[str]]:
    """Return the shortest patterns of these layers, and of others that they are of, too."""
    lasts = [name.rpartition(".")[2] for name in wanted]
    starred = [re.sub(r"\d+", "*", name) for name in wanted]
    others: list[str] = []
    for patterns in (lasts, starred, list(wanted)):
        others = [name for name in known if name not in wanted and any(matches(name, of) for of in patterns)]
        if not others:
            return {"targets": list(dict.fromkeys(patterns))}
    return {"targets": list(wanted), "exclude": others}
