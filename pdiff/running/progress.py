"""Progress of long steps: a live line in a terminal that goes when it is done, a plain line now and then elsewhere."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STAGES = ("train", "collect", "fit", "sample", "evaluate", "report")
"""What a run goes through; each leaves one line."""
QUICK_S = 1.0
"""A part of a stage that took less is told together with others of the kind."""


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

    def detail(self, line: str) -> None:
        """Print one line that helps nobody but who looks for the reason of a time, where such are wanted."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Go through one of the run's stages; at its end one line says what `took` was told meanwhile."""
        yield

    def begins(self, stage: str, what: str) -> None:
        """Say what part of a stage is computed now."""

    def took(self, stage: str, what: str, seconds: float | None) -> None:
        """Say how long a part of a stage took; None: it was there."""


class _Shown(Progress):
    """What both ways of showing share: the line that a stage leaves."""

    verbose = False
    now = ""
    """The stage and the part of it that is under way."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, float | None]] = []
        self._stage = ""

    def detail(self, line: str) -> None:
        if self.verbose:
            self.say(line)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._stage, self._parts = name, []
        yield
        if self._parts:
            self.say(f"{self._number} {name:<9} {_parts(self._parts)}")
        self._stage = self.now = ""

    @property
    def _number(self) -> str:
        return f"{STAGES.index(self._stage) + 1}/{len(STAGES)}"

    def begins(self, stage: str, what: str) -> None:
        if self._stage and stage in (self._stage, what):
            self.now = f"{self._number} {stage} {what}".rstrip()

    def took(self, stage: str, what: str, seconds: float | None) -> None:
        if stage in (self._stage, what):
            self._parts.append((what, seconds))


def _parts(parts: list[tuple[str, float | None]]) -> str:
    """Return what each part of a stage took, those that were quick and those that were there together."""
    slow = [f"{what} {_clock(seconds)}".lstrip() for what, seconds in parts if seconds and seconds >= QUICK_S]
    quick = [seconds for _, seconds in parts if seconds is not None and seconds < QUICK_S]
    there = sum(seconds is None for _, seconds in parts)
    if len(quick) == len(parts) or (quick and not slow):
        slow, quick = [_clock(sum(quick)), *slow], []
    others = f"{len(quick)} others {_clock(sum(quick))}" if len(quick) > 1 else f"1 other {_clock(sum(quick))}"
    known = "cached" if there == len(parts) else f"{there} cached"
    return ", ".join(slow + [others] * bool(quick) + [known] * bool(there))


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

    def detail(self, line: str) -> None:
        self.inner.detail(line)


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


class PlainProgress(_Shown):
    """For pipes and log files."""

    def __init__(self, say: Any = None):
        super().__init__()
        self.say = say or (lambda line: print(line, flush=True))  # type: ignore[method-assign]

    @contextmanager
    def step(self, what: str, total: int, done: int = 0) -> Iterator[Step]:
        yield PlainStep(f"{self.now}: {what}" if self.now else what, total, done, self.say)


class RichStep(Step):
    """One live bar."""

    def __init__(self, bar: Any, task: Any):
        self.bar, self.task = bar, task

    def advance(self, count: int = 1, **values: float) -> None:
        more = {"values": _values(values)} if values else {}
        self.bar.update(self.task, advance=count, **more)


class RichProgress(_Shown):
    """Live bars, as long as a step takes: stage, step, how far, time left, current values."""

    def __init__(self, console: Any):
        super().__init__()
        self.console = console

    def say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False)  # broken between words

    @contextmanager
    def step(self, what: str, total: int, done: int = 0) -> Iterator[Step]:
        from rich import progress as parts
        from rich.table import Column

        columns = (
            parts.TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            parts.BarColumn(bar_width=12), parts.MofNCompleteColumn(), parts.TimeRemainingColumn(compact=True),
            parts.TextColumn("{task.fields[values]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
        )  # fmt: skip
        label = f"{self.now}: {what}" if self.now else what
        with parts.Progress(*columns, console=self.console, transient=True, expand=True) as bar:
            yield RichStep(bar, bar.add_task(label, total=total, completed=done, values=""))


def progress_for(console: Any, verbose: bool = False) -> Progress:
    """Return live bars for a terminal, plain lines otherwise; `verbose`: details too."""
    progress: _Shown = (
        RichProgress(console)
        if console.is_terminal
        else PlainProgress(lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True))
    )
    progress.verbose = verbose
    return progress


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(seconds, 60)
    return f"{int(minutes)}m{int(seconds):02d}s" if minutes else f"{seconds:.1f}s"
