"""Data changed by chance: bytes, and values in JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

STRINGS = ("", "a", "pdiff", "auto", "x" * 600, "a\nb", "\x1b[31m", "é", "名", "..", "~nosuch/x", "cuda:99", "nan")
NUMBERS = (0, -1, 1, 2, 3, 7, 100, 10**6, 10**12, 10**30, -(10**30), 2**31, 2**63, 0.0, -0.0, 0.5, -1.5, 1e-300, 1e300)
SCALARS = (*STRINGS, *NUMBERS, float("inf"), float("nan"), True, False)
LARGEST = 10**400


def nasty(chance: random.Random, depth: int = 0, scalars: tuple[Any, ...] = SCALARS) -> Any:
    """Return a value that is rarely wanted."""
    pick = chance.random()
    if pick < 0.7 or depth > 3:
        return chance.choice(scalars)
    if pick < 0.85:
        count = chance.choice((0, 1, 2, 3, 3 if depth else 200))
        return [nasty(chance, depth + 1, scalars) for _ in range(count)]
    keys = chance.sample(("name", "a", "steps", "latent", "x" * 300, "é"), chance.randrange(4))
    return {key: nasty(chance, depth + 1, scalars) for key in keys}


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (table or list, key) of everything below one."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from places(value)


def of_json(chance: random.Random, text: str) -> bytes:
    """Return JSON with some values replaced or taken out; seldom with its bytes changed, or brackets in brackets."""
    pick = chance.random()
    if pick < 0.1:
        return of_bytes(chance, text.encode())
    if pick < 0.12:
        return b"[" * chance.choice((10, 2000, 200_000))
    tables = json.loads(text)
    for _ in range(chance.choice((1, 1, 2, 4))):
        node, key = chance.choice(list(places(tables)) or [([0], 0)])
        if chance.random() < 0.15:
            del node[key]
        elif chance.random() < 0.1:
            node[key] = chance.choice((LARGEST, -LARGEST, None))
        else:
            node[key] = nasty(chance, scalars=(*SCALARS, None))
    return json.dumps(nasty(chance) if pick > 0.97 else tables).encode()


def of_bytes(chance: random.Random, whole: bytes) -> bytes:
    """Return bytes with some of them changed, most of all at the start, where heads are, or cut off."""
    raw = bytearray(whole)
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        near = min(len(raw), chance.choice((8, 64, 512, len(raw))))
        start = chance.randrange(near + 1)
        stop = min(len(raw), start + chance.choice((0, 1, 1, 1, 4, 8, 100)))
        pick = chance.random()
        if pick < 0.15:
            del raw[start:]
        elif pick < 0.3:
            raw[start:stop] = b""
        elif pick < 0.4:
            raw[start:stop] = chance.choice((b"\xff" * 8, b"\x00" * 8, b"\x7f" + b"\xff" * 7, raw[start:stop] * 3))
        else:
            raw[start:stop] = bytes(chance.randrange(256) for _ in range(stop - start))
    return bytes(raw)
