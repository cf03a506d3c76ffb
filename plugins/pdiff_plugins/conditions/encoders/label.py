"""A label as one number of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pdiff.components import Encoder
from pdiff.errors import UserError, did_you_mean
from pdiff_plugins.conditions.encoders.asking import listed, only, values

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context


class Label(Encoder):
    """One number for each label that the zoo has: 1 for the network's own.

    Labels are numbers or words, in their order. Asked by `label=7`.
    """

    name = "label"
    source: ClassVar[str] = "one-hot coding"
    reads: ClassVar[tuple[str, ...]] = ("label", "condition")

    def encode(
        self, about: Sequence[Mapping[str, Any]], known: Sequence[Mapping[str, Any]], bench: Bench, ctx: Context
    ) -> Tensor:
        """See `Encoder.encode`: `[N, labels]` of 0 and 1."""
        return one_hot(values(about, "label", self.name), levels(values(known, "label", self.name)), "label")

    def read(self, asked: Mapping[str, str], known: Sequence[Mapping[str, Any]], bench: Bench) -> dict[str, Any]:
        """See `Encoder.read`."""
        key, text = only(asked, self.reads, self.name)
        return {"label": level_of(text, levels(values(known, "label", self.name)), key)}


def levels(given: Sequence[Any]) -> list[Any]:
    """Return the values that there are, each once: numbers by size, then words by letters. Raises UserError."""
    for value in given:
        if not isinstance(value, int | float | str):
            raise UserError(f"a network is about {value!r}, which is neither a number nor a word; give one of these")
    return sorted(set(given), key=lambda value: (isinstance(value, str), value))


def one_hot(given: Sequence[Any], known: Sequence[Any], what: str) -> Tensor:
    """Return `[N, known]`, 1 where a value is. Raises UserError for a value that is not known."""
    import torch

    column = {value: number for number, value in enumerate(known)}
    for value in given:
        if value not in column:
            raise unknown(what, value, known)
    return torch.eye(len(known))[[column[value] for value in given]]


def level_of(text: str, known: Sequence[Any], what: str) -> Any:
    """Return the known value that a text means. Raises UserError where it means none."""
    for value in known:
        if text.lower() == str(value).lower() or (not isinstance(value, str) and number_of(text) == value):
            return value
    raise unknown(what, text, known)


def number_of(text: str) -> float | None:
    """Return the number that a text is, None where it is none."""
    try:
        return float(text)
    except ValueError:
        return None


def unknown(what: str, value: Any, known: Sequence[Any]) -> UserError:
    """Return the error of a value that the zoo has not."""
    near = did_you_mean(str(value), map(str, known))
    return UserError(f"{what} = {value!r}: the zoo has no such {what}{near}; it has: {listed(known)}")
