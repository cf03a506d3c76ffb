"""Display: one for all workers; live bars in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

EVERY_S = 30.0
"""Between two lines where no terminal shows bars."""


class Display:
    """Silent; `display_for` gives one that shows."""

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, line: str) -> None:
        """Print one line."""

    def show(self, done: int, workers: Mapping[int, Mapping[str, Any]]) -> None:
        """Show how many stages are there, and what each worker does: its `cell`, `what`, `step`, `done`, `total`."""


class Lines(Display):
    """For pipes and log files."""

    def __init__(self, console: Any, stages: int):
        self.console, self.stages = console, stages
        self._last, self._shown = time.monotonic(), ""

    def say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def show(self, done: int, workers: Mapping[int, Mapping[str, Any]]) -> None:
        now = time.monotonic()
        if now - self._last < EVERY_S:
            return
        self._last = now
        doing = (f"{number}: {_doing(status)}" for number, status in workers.items() if status.get("cell"))
        line = "; ".join([f"stages {done}/{self.stages}", *doing])
        if line != self._shown:
            self._shown = line
            self.say(line)


class Bars(Display):
    """A bar for all stages, and one for each worker."""

    def __init__(self, console: Any, stages: int):
        from rich import progress as parts
        from rich.table import Column

        column = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        self.bars = parts.Progress(
            parts.TextColumn("{task.description}", markup=False, table_column=column),
            parts.BarColumn(bar_width=12), parts.MofNCompleteColumn(), parts.TimeElapsedColumn(),
            console=console, transient=True, expand=True,
        )  # fmt: skip
        self.all = self.bars.add_task("stages", total=stages)
        self.workers: dict[int, Any] = {}

    def __enter__(self) -> Display:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def say(self, line: str) -> None:
        self.bars.console.print(line, markup=False, highlight=False)

    def show(self, done: int, workers: Mapping[int, Mapping[str, Any]]) -> None:
        self.bars.update(self.all, completed=done)
        for number in self.workers.keys() - workers.keys():
            self.bars.remove_task(self.workers.pop(number))
        for number, status in workers.items():
            if number not in self.workers:
                self.workers[number] = self.bars.add_task("", total=None)
            said = f"{number}: {_doing(status) if status.get('cell') else 'waits' if status else 'starts'}"
            task = self.bars.tasks[self.bars.task_ids.index(self.workers[number])]
            if said != task.description:
                self.bars.reset(task.id, description=said)
            task.completed, task.total = status.get("done", 0), status.get("total")


def display_for(console: Any, stages: int, quiet: bool = False) -> Display:
    """Return what shows a sweep of so many stages on a rich console."""
    if quiet:
        return Display()
    return Bars(console, stages) if console.is_terminal else Lines(console, stages)


def _doing(status: Mapping[str, Any]) -> str:
    """Return what a worker does, in words."""
    parts = [status.get("cell", ""), status.get("what", "")]
    if status.get("step") and status["step"] not in parts[1]:
        parts.append(status["step"])
    return ": ".join(filter(None, parts))
