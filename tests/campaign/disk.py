"""Let the disk refuse: each file event of a run in turn is answered with an error, once or from then on.

The run must go on, or end with exit code 2 and one line; an undisturbed run afterwards must end in equal bytes.
"""

from __future__ import annotations

import errno
import random
import shutil
from pathlib import Path

from tests.campaign import warm
from tests.campaign.options import Options
from tests.campaign.tally import Tally
from tests.campaign.trials import Ended, Warm, differs, fresh, left, place, warmed

ERRORS = ("ENOSPC", "EIO", "EACCES", "EROFS")
LONGEST = 500
"""Characters of a line of error."""


def run(options: Options) -> Tally:
    """Count trials by error and by how often it comes; `count` of all of them, drawn at random."""
    tally = Tally("disk")
    with place(options) as work, warmed(work) as process:
        events = process.run(fresh(work / "counted")).events
        wanted = left(work / "counted")
        assert events
        trials = [
            (error, often, moment)
            for error in ERRORS for often in ("once", "from then on")
            for moment in range(1, 1 + events)
            if options.only in f"{error} {often}"
        ]  # fmt: skip
        if options.count:
            trials = sorted(random.Random(options.seed).sample(trials, min(options.count, len(trials))))
        for number, (error, often, moment) in enumerate(trials):
            folder = fresh(work / f"{number}-{error}-{moment}")
            failure = _trial(process, folder, error, often, moment, wanted)
            tally.add(f"{error} {often}", failure and f"event {moment}: {failure}")
            if failure is None:
                shutil.rmtree(folder)
    return tally


def _trial(process: Warm, folder: Path, error: str, often: str, moment: int, wanted: dict[str, str]) -> str | None:
    way = warm.ONCE if often == "once" else warm.ON
    ended = process.run(folder, moment=moment, way=way, errno=getattr(errno, error))
    if wrong := _wrong(ended):
        return wrong
    again = process.run(folder)
    if again.status:
        return f"after {ended.said!r} an undisturbed run ended with {again.status}: {again.said[-300:]}"
    if different := differs(left(folder), wanted):
        return f"after {ended.said!r}: {different}"
    return None


def _wrong(ended: Ended) -> str | None:
    """Say what is wrong with how a run ended that met the error."""
    if ended.status == 0:
        return None
    one = ended.said.startswith("error: ") and "\n" not in ended.said and len(ended.said) <= LONGEST
    if ended.status != 2 or not one:
        return f"exit code {ended.status}: {ended.said[-400:]}"
    return None
