"""Seeds that were killed: the same bytes again, from a snapshot of the same options alone."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from pdiff.running.progress import Progress, Step
from pdiff.running.snapshot import Snapshot
from pdiff_plugins.collectors.seeds import training as joint_training
from tests.collectors.helpers import CTX, collect, options


class Killed(Exception):
    pass


class Killer(Progress):
    """Raises when so many units are done; `begun` holds (total, done) of each step."""

    def __init__(self, units: float):
        self.units, self.begun = units, []

    def step(self, what, total, done=0):
        outer = self
        self.begun.append((total, done))

        class Counted(Step):
            def advance(self, count=1, **values):
                outer.units -= count
                assert values["loss"] > 0
                if outer.units < 0:
                    raise Killed

        return contextlib.nullcontext(Counted())


@pytest.mark.usefixtures("saved_at_every_step")
@pytest.mark.parametrize("change", [{}, {"optimizer": "sgd", "augment": True}], ids=["adamw", "sgd"])
def test_killed_anywhere_it_ends_in_the_same_bytes(tmp_path: Path, change: dict, monkeypatch) -> None:
    monkeypatch.setattr(joint_training, "LARGEST_BLOCK", 8)
    own = options(count=11, steps=33, every=7, batch_size=20, **change)
    alone = collect(own, "batch_norm")
    ctx = CTX.replace(snapshot=Snapshot(tmp_path), threads=1)
    begun = []
    for units in (100, 150, 20):
        killer = Killer(units)
        with pytest.raises(Killed):
            collect(own, "batch_norm", ctx=ctx.replace(progress=killer))
        begun += killer.begun
    last = Killer(10**9)
    again = collect(own, "batch_norm", ctx=ctx.replace(progress=last))
    assert again.theta_ND.equal(alone.theta_ND) and again.rows == alone.rows
    assert [total for total, _ in begun] == [11 * 33] * 3
    done = [done for _, done in [*begun, *last.begun]]
    assert done[0] == 0 and sorted(set(done)) == done, "it went on where it was killed"


@pytest.mark.usefixtures("saved_at_every_step")
def test_a_snapshot_of_other_options_is_not_taken(tmp_path: Path) -> None:
    ctx = CTX.replace(snapshot=Snapshot(tmp_path))
    collect(options(lr=0.5), ctx=ctx)
    assert collect(options(), ctx=ctx).theta_ND.equal(collect(options()).theta_ND)
