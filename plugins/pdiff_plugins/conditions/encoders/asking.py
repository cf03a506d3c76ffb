"""What encoders share: the words of a person, and what a row is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pdiff.errors import UserError, did_you_mean
from pdiff_plugins.conditions.classes import numbers

MOST = 20
"""Known words that a line lists at most."""


def listed(known: Iterable[Any]) -> str:
    """Return known words for a line: the first ones, and how many more there are."""
    words = [str(word) for word in known]
    more = f" and {len(words) - MOST} more" if len(words) > MOST else ""
    return (", ".join(words[:MOST]) or "none") + more


def only(asked: Mapping[str, str], keys: Sequence[str], encoder: str) -> tuple[str, str]:
    """Return the one key that is asked by, and its text. Raises UserError for another key, for none, or for several."""
    if len(asked) == 1 and (key := next(iter(asked))) in keys:
        return key, asked[key].strip()
    odd = next((key for key in asked if key not in keys), "")
    what = f"{odd}: encoder {encoder} cannot be asked by it{did_you_mean(odd, keys)}" if odd else (
        f"encoder {encoder}: asked by {' and '.join(asked) or 'nothing'}"
    )  # fmt: skip
    raise UserError(f"{what}; say {' or '.join(f'{key}=...' for key in keys)}")


def values(about: Sequence[Mapping[str, Any]], key: str, encoder: str) -> list[Any]:
    """Return what each is about by a key. Raises UserError for the first that says nothing."""
    for number, one in enumerate(about):
        if key not in one:
            raise UserError(
                f"encoder {encoder}: network {number} is about {listed(one)}, and not about {key!r}; "
                "choose an encoder of what the zoo's rows are about"
            )
    return [one[key] for one in about]


def numbers_in(text: str, count: int, names: Sequence[str]) -> list[int]:
    """Return the numbers of classes that a text such as `cat,dog` or `3,5` names, in its order. Raises UserError."""
    words = [word.strip() for word in text.split(",")]
    wanted = [int(word) if word.isdecimal() and word not in names else word for word in words]
    return numbers(f"task = {text!r}", wanted, count, names)
