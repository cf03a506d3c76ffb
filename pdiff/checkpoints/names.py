"""Names of files and of entries: their natural order, and how those of a file become those of a network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

Value = TypeVar("Value")
WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch puts into names, anywhere, where it compiles, shards or checkpoints a module."""
COUNTER = "num_batches_tracked"
"""Last part of the name of an entry that counts batches: it changes nothing, and may be missing."""


def natural(text: str) -> tuple[tuple[tuple[bool, int, str], ...], str]:
    """Return what names are sorted by: numbers within them by their value, so that step_2 comes before step_10."""
    parts = (part for part in re.split(r"(\d+)", text) if part)
    return tuple((not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts), text


def is_counter(name: str) -> bool:
    """Return whether an entry counts batches."""
    return name.rpartition(".")[2] == COUNTER


def whole(state: Mapping[str, Any]) -> list[str]:
    """Return the names of a state dict's entries of whole numbers, which nothing generates; counters are none."""
    kinds = {name: value.is_floating_point() or value.is_complex() for name, value in state.items()}
    return [name for name, real in kinds.items() if not real and not is_counter(name)]


def listed(names: Iterable[str], most: int = 3) -> str:
    """Return the first few of some names, for a line that tells of them."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def renamed(names: Sequence[str], rules: Mapping[str, str]) -> dict[str, str]:
    """Return the new name of each entry that a rule matches; an empty one means that the entry is left out.

    A rule is a glob, whose stars' matches are put in the place of the stars on its right: "layers.*" -> "hidden.*". It
    matches a whole name, or what of it stands behind a prefix. Of rules that match, the longest counts.
    """
    patterns = [
        (re.compile(rf"((?:.*\.)??){'(.*)'.join(map(re.escape, rule.split('*')))}"), rules[rule])
        for rule in sorted(rules, key=lambda rule: (-len(rule.replace("*", "")), rule))
    ]
    new = {}
    for name in names:
        found = next(((match, right) for left, right in patterns if (match := left.fullmatch(name))), None)
        if found:
            before, *stars = found[0].groups()
            right = found[1]
            for star in stars:
                right = right.replace("*", star, 1)
            new[name] = before + right if right else ""
    return new


def in_names(state: Mapping[str, Value], rules: Mapping[str, str]) -> dict[str, Value]:
    """Return a state dict under other names, as `renamed` has them."""
    new = renamed(list(state), rules)
    return {new.get(name, name): value for name, value in state.items()}


def unwrapped(name: str, known: Iterable[str]) -> str:
    """Return a name without what torch's wrappers put into its midst, but for what the network's own names have."""
    for wrapper in WRAPPERS:
        if wrapper in name and not any(wrapper in own for own in known):
            name = name.replace(f".{wrapper}", ".")
    return name


def prefixes(names: Iterable[str], known: Mapping[str, object]) -> list[str]:
    """Return what stands before a network's own names in a file's, the commonest first; "" where nothing does."""
    counts: dict[str, int] = {}
    for name in names:
        at = 0
        while at >= 0:
            if name[at:] in known:
                counts[name[:at]] = counts.get(name[:at], 0) + 1
            at = name.find(".", at) + 1 or -1
    return sorted(counts, key=lambda prefix: (-counts[prefix], prefix))
