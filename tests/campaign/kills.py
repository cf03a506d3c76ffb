"""Kill a run again and again, at file events and at any moment, let it end, and compare what it leaves.

A chain of kills goes on from where the one before was killed, until the run ends by itself.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.campaign import warm
from tests.campaign.options import Options
from tests.campaign.tally import Tally
from tests.campaign.trials import Warm, differs, fresh, left, place, warmed

KILLS = 1000
WAYS = {"before an event": warm.BEFORE, "half written": warm.HALF, "after an event": warm.AFTER, "at any moment": None}
PER_RUN = 3
"""A kill lies at most so many parts of a whole run behind the start: reports, which begin anew, need most of one."""
KILLED = (-signal.SIGKILL, -signal.SIGALRM)


def run(options: Options) -> Tally:
    """Count kills by way; a kill passes where the run went on, and its whole chain ended in equal bytes."""
    tally, chance, kills, chains = Tally("kills"), random.Random(options.seed), 0, 0
    with place(options) as work, warmed(work) as process:
        begun = time.monotonic()
        alone = process.run(fresh(work / "alone"))
        assert alone.status == 0, alone.said
        wanted, long_s = left(work / "alone"), time.monotonic() - begun
        while kills < (options.count or KILLS):
            chains += 1
            chain = Chain(process, fresh(work / f"chain-{chains}"), chance, alone.events // PER_RUN, long_s)
            chain.go((options.count or KILLS) - kills, [way for way in WAYS if options.only in way])
            failure = chain.failure or differs(left(chain.folder), wanted)
            for way in chain.ways:
                tally.add(way, failure and f"chain {chains} of {len(chain.ways)} kills: {failure}")
            tally.add("(chains that ended in equal bytes, without a stray)", failure)
            kills += len(chain.ways)
            if failure is None:
                shutil.rmtree(chain.folder)
    return tally


@dataclass
class Chain:
    """A run that is killed until it ends by itself; `far` and `long_s`: events and seconds within which it is."""

    process: Warm
    folder: Path
    chance: random.Random
    far: int
    long_s: float
    ways: list[str] = field(default_factory=list)
    failure: str | None = None

    def go(self, most: int, ways: list[str]) -> None:
        """Kill it at most so often."""
        while self._kill(self.chance.choice(ways) if len(self.ways) < most else None):
            pass

    def _kill(self, way: str | None) -> bool:
        """Run it, killed in a way where one is given; return whether it has to go on."""
        moment, after_s = self.chance.randint(1, self.far), self.chance.uniform(0, self.long_s) / PER_RUN
        harm: dict[str, Any] = {}
        if way:
            harm = {"after_s": after_s} if WAYS[way] is None else {"moment": moment, "way": WAYS[way]}
        ended = self.process.run(self.folder, seed=self.chance.randrange(2**31), **harm)
        if ended.status in KILLED:
            self.ways.append(str(way))
        elif ended.status:
            self.failure = f"exit code {ended.status} after {harm}: {ended.said[-300:]}"
        return ended.status in KILLED
