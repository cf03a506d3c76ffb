"""Greedy workers over a graph of stages whose durations are known: discrete events, no computing."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A stage."""

    seconds: float
    needs: tuple[str, ...] = ()
    """Names of the stages that come before it."""
    cell: int = 0
    """The first cell that needs it."""


@dataclass(frozen=True)
class Outcome:
    """How long workers took."""

    makespan: float
    utilisation: float
    """Share of the workers' time in which they computed."""


def chain(tasks: Mapping[str, Task]) -> float:
    """Return the seconds of the longest way through the graph, which no number of workers makes shorter.

    `tasks` stand behind what they need.
    """
    ends: dict[str, float] = {}
    for name, task in tasks.items():
        ends[name] = task.seconds + max((ends[need] for need in task.needs), default=0.0)
    return max(ends.values(), default=0.0)


class Ready:
    """Tasks that could begin, by cell."""

    def __init__(self) -> None:
        self.cells: list[int] = []
        self.names: dict[int, list[str]] = {}

    def add(self, name: str, cell: int) -> None:
        if not self.names.setdefault(cell, []):
            bisect.insort(self.cells, cell)
        self.names[cell].append(name)

    def take(self, near: int) -> str:
        """Return a task of this cell, or of the next that has one; the first asked for comes first."""
        cell = self.cells[bisect.bisect_left(self.cells, near) % len(self.cells)]
        name = self.names[cell].pop(0)
        if not self.names[cell]:
            self.cells.remove(cell)
        return name


def simulate(tasks: Mapping[str, Task], workers: int) -> Outcome:
    """Let workers compute the tasks: each begins far from the others, and goes on with its cell while it can."""
    left = {name: len(task.needs) for name, task in tasks.items()}
    users: dict[str, list[str]] = {name: [] for name in tasks}
    ready, last = Ready(), max((task.cell for task in tasks.values()), default=0)
    for name, task in tasks.items():
        for need in task.needs:
            users[need].append(name)
        if not task.needs:
            ready.add(name, task.cell)
    idle = [int(worker * 0.618034 % 1 * (last + 1)) for worker in range(workers)]  # where each is
    ends: list[tuple[float, str]] = []
    now = 0.0
    while ends or ready.cells:
        while idle and ready.cells:
            name = ready.take(idle.pop(0))
            heapq.heappush(ends, (now + tasks[name].seconds, name))
        now, done = heapq.heappop(ends)
        idle.append(tasks[done].cell)
        for user in users[done]:
            left[user] -= 1
            if not left[user]:
                ready.add(user, tasks[user].cell)
    total = sum(task.seconds for task in tasks.values())
    return Outcome(now, total / (now * workers) if now else 1.0)
