"""What a user can do wrong, told in one line each; the command line turns it into exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake or a condition that the user can mend; its text says where, what and what to do."""


class Faults(UserError):
    """Several mistakes in one file, reported together, one line each."""

    def __init__(self, lines: Iterable[str]):
        self.lines = list(lines)
        super().__init__("\n".join(self.lines))


@contextmanager
def of_baseline(label: str) -> Iterator[None]:
    """Let a method's mistake, which it tells of `method`, be told of the baseline that it is; none with no label."""
    try:
        yield
    except UserError as error:
        if label and str(error).startswith("method."):
            raise UserError(f"baseline {label!r}: {str(error).removeprefix('method.')}") from None
        raise


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known word, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
