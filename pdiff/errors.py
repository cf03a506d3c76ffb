"""What a user can do wrong, told in one line each; the command line turns it into exit code 2."""

from __future__ import annotations

import contextlib
import difflib
import errno
from collections.abc import Iterable, Iterator

BUGS = frozenset({errno.EBADF, errno.EFAULT, errno.ECHILD})
"""What the operating system answers to nothing but a fault in the code."""


class UserError(ValueError):
    """A mistake or a condition that the user can mend; its text says where, what and what to do."""


class Faults(UserError):
    """Several mistakes in one file, reported together, one line each."""

    def __init__(self, lines: Iterable[str]):
        self.lines = list(lines)
        super().__init__("\n".join(self.lines))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known word, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


@contextlib.contextmanager
def naming(where: object) -> Iterator[None]:
    """Turn what the operating system refuses into a UserError of one line that names the file, or else `where`."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.errno in BUGS:
            raise
        raise UserError(f"{error.filename or where}: {error.strerror}; what was complete is kept") from error
    except ValueError as error:
        if not str(error).startswith("embedded null"):
            raise
        raise UserError(f"{where}: a path holds the character NUL, which no path can; take it out") from error
