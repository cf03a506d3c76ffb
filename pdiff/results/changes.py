"""What differs between two recipes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys whose values differ between two tables, those that one of them lacks too, sorted."""
    old, new = dict(_flat(before)), dict(_flat(now))
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def _flat(table: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(table, Mapping):
        for key, item in table.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(table, list):
        for number, item in enumerate(table):
            yield from _flat(item, f"{prefix}[{number}]")
    else:
        yield prefix, table
