"""Progress of long steps: a live line in a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

QUICK_S = 1.0
"""A step that took less, and has no loss to tell, leaves no line in a log file."""


class Step:
    """One long step under way."""

    def advance(self, count: int = 1, **values: float) -> None:
        """Say that `count` more units are done; `values` (a loss, say) are shown beside."""


class Progress:
    """Silent; the command line gives one that shows."""

    @contextmanager
    def step(self, what: str, total: int, done: int = 0) -> Iterator[Step]:
        """Open a step of `total` units, `done` of them done before."""
        yield Step()

    def say(self, line: str) -> None:
        """Print one line above whatever is live."""


class Told(Progress):
    """Progress that also tells a function, about once a second and at the end, of (step, units done, values)."""

    def __init__(self, inner: Progress, tell: Callable[[str, int, dict[str, float]], None]):
        self.inner, self.tell = inner, tell

    @contextmanager
    def step(self, what: str, total: int, done: int = 0) -> Iterator[Step]:
        with self.inner.step(what, total, done) as step:
            told = _ToldStep(step, functools.partial(self.tell, what), done)
            yield told
            told.close()

    def say(self, line: str) -> None:
        self.inner.say(line)


class _ToldStep(Step):
    def __init__(self, inner: Step, tell: Callable[[int, dict[str, float]], None], done: int):
        self.inner, self.tell, self.done, self.last = inner, tell, done, 0.0
        self.untold: dict[tuple[str, ...], tuple[int, dict[str, float]]] = {}

    def advance(self, count: int = 1, **values: float) -> None:
        self.inner.advance(count, **values)
        self.done += count
        if values:
            self.untold[tuple(values)] = self.done, values
        if time.monotonic() - self.last >= 1.0:
            self.last = time.monotonic()
            self.close()

    def close(self) -> None:
        for done, values in sorted(self.untold.values(), key=lambda pair: pair[0]):
            self.tell(done, values)
        self.untold = {}


def _values(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())


class PlainStep(Step):
    """Lines for a log file: at most one every `every_s` seconds."""

    def __init__(self, what: str, total: int, done: int, say: Any, every_s: float = 30.0):
        self.what, self.total, self.done, self.say, self.every_s = what, total, done, say, every_s
        self.first, self.start = done, time.monotonic()
        self.last = self.start
        self.values: dict[str, float] = {}

    def advance(self, count: int = 1, **values: float) -> None:
        self.done += count
        self.values = values or self.values
        now = time.monotonic()
        if now - self.last >= self.every_s:
            self.last = now
            rate = (self.done - self.first) / (now - self.start)
            left = _clock((self.total - self.done) / rate) if rate else "?"
            line = f"{self.what}: {self.done}/{self.total}  {rate:.3g}/s  {left} left  {_values(self.values)}"
            self.say(line.rstrip())

    def close(self) -> None:
        took = time.monotonic() - self.start
        if took < QUICK_S and not self.values:
            return
        self.say(f"{self.what}: {self.done}/{self.total} in {_clock(took)}  {_values(self.values)}".rstrip())


class PlainProgress(Progress):
    """For pipes and log files."""

    def __init__(self, say: Any = None):
        self.say = say or (lambda line: print(line, flush=True))  # type: ignore[method-assign]

    @contextmanager
    def step(self, what: str, total: int, done: int = 0) -> Iterator[Step]:
        step = PlainStep(what, total, done, self.say)
        yield step
        step.close()


class RichStep(Step):
    """One live bar."""

    def __init__(self, bar: Any, task: Any):
        self.bar, self.task = bar, task

    def advance(self, count: int = 1, **values: float) -> None:
        more = {"values": _values(values)} if values else {}
        self.bar.update(self.task, advance=count, **more)


class RichProgress(Progress):
    """Live bars: what, how far, rate, time left, current values."""

    def __init__(self, console: Any):
        self.console = console

    def say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, what: str, total: int, done: int = 0) -> Iterator[Step]:
        from rich import progress as parts

        class Rate(parts.ProgressColumn):
            def render(self, task: Any) -> str:
                return f"{task.finished_speed or task.speed or 0:.3g}/s"

        columns = (
            parts.TextColumn("{task.description:<28}"), parts.BarColumn(bar_width=24), parts.MofNCompleteColumn(),
            Rate(), parts.TimeElapsedColumn(), parts.TimeRemainingColumn(), parts.TextColumn("{task.fields[values]}"),
        )  # fmt: skip
        with parts.Progress(*columns, console=self.console) as bar:
            yield RichStep(bar, bar.add_task(what, total=total, completed=done, values=""))


def progress_for(console: Any) -> Progress:
    """Return live bars for a terminal, plain lines otherwise."""
    if console.is_terminal:
        return RichProgress(console)
    return PlainProgress(lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True))


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(seconds, 60)
    return f"{int(minutes)}m{int(seconds):02d}s" if minutes else f"{seconds:.1f}s"
