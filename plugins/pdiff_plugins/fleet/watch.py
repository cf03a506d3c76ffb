"""Watch: starts the workers of a sweep by an engine, shows what they do, and follows up where one dies."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import MappingProxyType

from pdiff.components import Engine, Job
from pdiff.errors import UserError
from pdiff.running.locks import held
from pdiff_plugins.fleet.display import Display
from pdiff_plugins.fleet.folder import DEATHS, Outcome, Sweep
from pdiff_plugins.fleet.graph import Graph

EVERY_S = 0.5
"""Between two looks at jobs and at what workers say of themselves."""
INHERITED = ("PYTHONPATH", "PDIFF_PLUGINS", "PDIFF_STRICT", "HF_HUB_OFFLINE", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
"""Variables that a worker needs on another machine, too."""
ENDS_S = 3.0
"""Given to workers when all is done."""
PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait leave the core to other workers, which more threads than cores must; no bit depends on it."""
MOST_DEATHS = 1000
"""Workers that take the place of dead ones."""


class Watch:
    """The workers of a sweep, from their start to their end."""

    def __init__(self, sweep: Sweep, graph: Graph, display: Display, told: Callable[[int, Outcome], str]):
        """`told`: what to print of a cell that is done with."""
        self.sweep, self.graph, self.display, self.told = sweep, graph, display, told
        self._known = sweep.outcomes()
        self._stillborn = 0
        """Workers that ended badly before they began."""

    def run(self, engine: Engine, count: int, skipped: Mapping[int, str] = MappingProxyType({})) -> None:
        """Let `count` workers work until all cells are done with. Raises UserError where another process does so.

        `skipped`: why cells are left out, by their numbers.
        """
        with held(self.sweep.path / "sweep.lease") as mine:
            if not mine:
                raise UserError(f"{self.sweep.path}: another process runs this sweep; wait, or give other cells")
            self.sweep.again()
            for number, reason in skipped.items():
                self.sweep.end(number, Outcome(failure=f"skipped: {reason}"))
            self._known = {number: out for number, out in self.sweep.outcomes().items() if not out.failure}
            if len(self.sweep.done()) == len(self.sweep.cells):
                return
            launcher, jobs = engine.open(self.sweep.path / "workers"), dict[int, Job]()
            try:
                with _ended_by_signals(), self.display:
                    for number in range(count):
                        jobs[number] = self._start(launcher.start, number)
                    self._follow(launcher.start, jobs)
                    _let_end(jobs)
            finally:
                with ThreadPoolExecutor(max(1, len(jobs))) as threads:
                    list(threads.map(lambda job: job.stop(), jobs.values()))
                launcher.close()

    def _start(self, start: Callable[..., Job], number: int) -> Job:
        command = [sys.executable, "-m", "pdiff_plugins.fleet.worker", str(self.sweep.path), str(number)]
        env = PATIENT | {name: os.environ[name] for name in INHERITED if name in os.environ}
        if "PYTHONPATH" in env:
            env["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, env["PYTHONPATH"].split(os.pathsep)))
        return start(command, number, env)

    def _follow(self, start: Callable[..., Job], jobs: dict[int, Job]) -> None:
        following = len(jobs)
        most = following + MOST_DEATHS
        while jobs and len(self._known) < len(self.sweep.cells):
            for number, job in list(jobs.items()):
                reason = job.ended()
                if reason is None:
                    continue
                del jobs[number]
                if reason and self._died(number, reason) and following < most:
                    jobs[following] = self._start(start, following)
                    following += 1
            before = time.monotonic()
            self._look(jobs)
            if jobs:
                time.sleep(max(EVERY_S, 10 * (time.monotonic() - before)))

    def _look(self, jobs: dict[int, Job]) -> None:
        for number, outcome in self.sweep.outcomes(self._known).items():
            self._known[number] = outcome
            place = f"[{len(self._known)}/{len(self.sweep.cells)}]"
            self.display.say(f"{place} {self.sweep.cells[number].name}: {self.told(number, outcome)}")
        self.display.show(self.graph.look(), {number: self.sweep.status(number) for number in jobs})

    def _died(self, number: int, reason: str) -> bool:
        """Follow up where a worker died; return whether another may take its place."""
        status = self.sweep.status(number)
        cell, stages = status.get("cell", ""), status.get("stages", [])
        at = f" at {cell}: {status.get('what', '')}".rstrip(": ") if cell else ""
        self.display.say(f"worker {number}{at}: {reason}")
        if not status:  # it has not even begun, and so would the next one
            self._stillborn += 1
            return self._stillborn < DEATHS
        step = str(status.get("step", "")), int(status.get("done", 0))
        if stages and self.sweep.died(stages[-1], step) >= DEATHS:
            self.sweep.fail(stages[-1], f"{DEATHS} workers ended while they computed it: {reason}")
        return True


def _let_end(jobs: Mapping[int, Job]) -> None:
    """Give workers that find nothing left to do some seconds to end by themselves."""
    start = time.monotonic()
    while any(job.ended() is None for job in jobs.values()) and time.monotonic() - start < ENDS_S:
        time.sleep(0.1)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Within it, being asked to end stops the workers too, as Control-C does."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    asked = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        asked = []
    before = {each: signal.signal(each, stop) for each in asked}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
