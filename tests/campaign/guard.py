"""What a trial may do: give a result, or a mistake told in short lines. Anything else is a failure."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pdiff.errors import UserError

LONGEST_S = 60
"""A guard: a trial that takes so long hangs."""
LINE, MOST_FAULTS = 500, 101


class Hangs(BaseException):
    """A trial took too long."""


@contextmanager
def guarded() -> Iterator[None]:
    """Raise `Hangs` in what takes too long."""

    def stop(*_: Any) -> None:
        raise Hangs(f"takes over {LONGEST_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def raised_by(do: Callable[[], Any], told: str) -> str | None:
    """Return in words what is wrong with what `do` raises, or None. `told` says which trial it was."""
    try:
        with guarded():
            do()
    except UserError as error:
        lines = str(error).splitlines() or [""]
        if long := [line for line in lines if len(line) > LINE]:
            return f"{told}: a line of {len(long[0])} characters: {long[0][:80]}"
        if len(lines) > MOST_FAULTS:
            return f"{told}: {len(lines)} lines"
        return f"{told}: nothing is said" if not lines[0].strip() else None
    except OSError as error:
        return None if error.errno else f"{told}: OSError without a number: {error}"
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in last if "pdiff" in frame.filename and "campaign" not in frame.filename] or last
        where = f"{ours[-1].filename.rpartition('/')[2]}:{ours[-1].lineno}"
        return f"{told}: {type(error).__name__} at {where}: {' '.join(str(error).split())[:160]}"
    return None
