"""Kill a run again and again, at file events and at any moment, let it end, and compare what it leaves.

A chain of kills goes on from where the one before was killed, until the run ends by itself.
"""

from __future__ import annotations

import random
import shutil
import signal

from tests.campaign import warm
from tests.campaign.options import Options
from tests.campaign.tally import Tally
from tests.campaign.trials import Warm, differs, fresh, left, place, warmed

KILLS = 1000
WAYS = {"before an event": warm.BEFORE, "half written": warm.HALF, "after an event": warm.AFTER, "at any moment": None}
FAR, LONG_S = 40, 1.5
"""Kills lie at most so many events, or seconds, behind the start of the run."""
KILLED = (-signal.SIGKILL, -signal.SIGALRM)


def run(options: Options) -> Tally:
    """Count kills by way; a kill passes where the run went on, and its whole chain ended in equal bytes."""
    tally, chance = Tally("kills"), random.Random(options.seed)
    with place(options) as work, warmed(work) as process:
        alone = fresh(work / "alone")
        ended = process.run(alone)
        assert ended.status == 0, ended.said
        wanted, chains = left(alone), 0
        while tally.tried < (options.count or KILLS):
            chains += 1
            folder = fresh(work / f"chain-{chains}")
            failure, ways = _chain(process, folder, options, chance, (options.count or KILLS) - tally.tried)
            failure = failure or differs(left(folder), wanted)
            for way in ways:
                tally.add(way, failure and f"chain {chains} of {len(ways)} kills: {failure}")
            tally.add("chains, ended in equal bytes and no stray", failure)
            if failure is None:
                shutil.rmtree(folder)
    return tally


def _chain(process: Warm, folder, options: Options, chance: random.Random, most: int) -> tuple[str | None, list[str]]:
    """Kill a run until it ends by itself, at most so often; return what failed, and the ways of its kills."""
    ways: list[str] = []
    known = [way for way in WAYS if options.only in way]
    while True:
        way, seed = chance.choice(known), chance.randrange(2**31)
        harm = {} if len(ways) >= most else {"moment": chance.randint(1, FAR), "way": WAYS[way]}
        if harm and WAYS[way] is None:
            harm = {"after_s": chance.uniform(0.01, LONG_S)}
        ended = process.run(folder, seed=seed, **harm)
        if ended.status in KILLED:
            ways.append(way)
        elif ended.status == 0:
            return None, ways
        else:
            return f"exit code {ended.status} after {way} {harm}: {ended.said[-300:]}", [*ways, way]
