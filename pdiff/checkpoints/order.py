"""Entries of a file told by their shapes and order alone, whatever their names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from pdiff.checkpoints.names import natural

Kind = tuple[tuple[str, tuple[int, ...]], ...]
"""Of a module: its entries' names in it and their shapes."""


def in_order(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], new: set[str]) -> dict[str, str] | None:
    """Return theirs for each of our names where all shapes agree, one after the other; None where they do not.

    `new`: of ours, those whose shapes do not count.
    """
    pairs = dict(zip(ours, theirs, strict=False))
    fits = all(theirs[old].shape == ours[name].shape for name, old in pairs.items() if name not in new)
    return pairs if fits and len(ours) == len(theirs) else None


def by_numbers(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], new: set[str]) -> dict[str, str] | None:
    """Return theirs for each of our names where the file keeps no order, as .safetensors, which sorts by name.

    Modules of the same shapes follow the numbers in their names; None where anything else tells those apart.
    """
    leaves = {name.rpartition(".")[2] for name in ours}
    known = all(name.rpartition(".")[2] in leaves for name in theirs)
    wanted, mine = _modules({name: value for name, value in ours.items() if name not in new}, known)
    there, others = _modules(theirs, known)
    pairs = dict[str, str]()
    for kind, names in wanted.items():
        alike = sorted(there.pop(kind, []), key=natural)
        if len(alike) != len(names) or len({re.sub(r"\d+", "0", name) for name in alike}) > 1:
            return None
        for name, old in zip(names, alike, strict=True):
            pairs |= {mine[name][leaf]: others[old][leaf] for leaf in mine[name]}
    return pairs if len(ours) == len(theirs) else None


def _modules(state: Mapping[str, Tensor], known: bool) -> tuple[dict[Kind, list[str]], dict[str, dict[str, str]]]:
    """Return the modules of each kind, and each one's entries; of unknown ends of names each entry is one."""
    modules: dict[str, dict[str, str]] = {}
    for name in state:
        module, _, leaf = name.rpartition(".") if known else (name, "", "")
        modules.setdefault(module, {})[leaf] = name
    kinds: dict[Kind, list[str]] = {}
    for module, entries in modules.items():
        kind = tuple(sorted((leaf, tuple(state[name].shape)) for leaf, name in entries.items()))
        kinds.setdefault(kind, []).append(module)
    return kinds, modules
