"""What a user can do wrong, told in one line each; the command line turns it into exit code 2."""

from __future__ import annotations

import contextlib
import difflib
import errno
from collections.abc import Iterable, Iterator

BUGS = frozenset({errno.EBADF, errno.EFAULT, errno.ECHILD})
"""What the operating system answers to nothing but a fault in the code."""

LINE, VALUE, FAULTS = 500, 100, 100
"""At most: characters of a line, characters of a value that it quotes, lines of one file."""


def short(text: str, most: int = LINE) -> str:
    """Return printable text of at most `most` characters: longer ones lose their middle, control codes are escaped."""
    for _ in range(2):  # escapes are longer than what they stand for
        if len(text) > most:
            text = f"{text[: most * 3 // 5]} ... {text[len(text) - (most - most * 3 // 5 - 5) :]}"
        text = text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= most else text[:most]


class UserError(ValueError):
    """A mistake or a condition that the user can mend; its text says where, what and what to do, in one line."""

    def __init__(self, text: object):
        super().__init__(short(str(text)))


class Faults(UserError):
    """Several mistakes in one file, reported together, one line each; of very many the first."""

    def __init__(self, lines: Iterable[str]):
        self.lines = [short(line) for line in lines]
        more = len(self.lines) - FAULTS
        self.lines[FAULTS:] = [f"... and {more} more of the kind; mend these first"] if more > 0 else []
        ValueError.__init__(self, "\n".join(self.lines))


class Lacking(Faults):
    """What keeps a run from its end, found before anything was fetched or computed."""


@contextlib.contextmanager
def of_baseline(label: str) -> Iterator[None]:
    """Let a method's mistake, which it tells of `method`, be told of the baseline that it is; none with no label."""
    try:
        yield
    except UserError as error:
        if (line := as_baseline(label, str(error))) != str(error):
            raise UserError(line) from None
        raise


def as_baseline(label: str, line: str) -> str:
    """Return a line that a method tells of `method` as one of the baseline that it is; none with no label."""
    mine = label and line.startswith("method.")
    return f"baseline {label!r}: {line.removeprefix('method.')}" if mine else line


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known word, or an empty string."""
    near = difflib.get_close_matches(word[:VALUE], list(known), n=1, cutoff=0.6)
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
