"""Observers: the stage hooks of plugins, called so that a broken one cannot harm a run."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pdiff.plugins.discovery import registry
from pdiff.running.progress import Progress, Step
from pdiff.running.store import Stage


def notify(progress: Progress, hook: str, **values: Any) -> None:
    """Call a hook of every plugin that has it; one that raises is named and passed over."""
    for _ in _answers(progress, hook, values):
        pass


def ask(progress: Progress, hook: str, **values: Any) -> Any:
    """Return the first answer that is not None, None where there is none; a plugin that raises is passed over."""
    return next((answer for answer in _answers(progress, hook, values) if answer is not None), None)


def _answers(progress: Progress, hook: str, values: Mapping[str, Any]) -> Iterator[Any]:
    for implementation in getattr(registry().manager.hook, hook).get_hookimpls():
        arguments = {name: values[name] for name in implementation.argnames}
        try:
            yield implementation.function(**arguments)
        except Exception as error:
            progress.say(f"warning: plugin {implementation.plugin_name}: {hook} raised {type(error).__name__}: {error}")


class Observed(Progress):
    """Progress that also tells the observers, about once a second."""

    def __init__(self, inner: Progress, stage: Stage):
        self.inner, self.stage = inner, stage
        self.say = inner.say  # type: ignore[method-assign]

    @contextmanager
    def step(self, what: str, total: int, done: int = 0) -> Iterator[Step]:
        with self.inner.step(what, total, done) as step:
            yield _ObservedStep(step, self, done)


class _ObservedStep(Step):
    def __init__(self, inner: Step, progress: Observed, done: int):
        self.inner, self.progress, self.done, self.last = inner, progress, done, 0.0

    def advance(self, count: int = 1, **values: float) -> None:
        self.inner.advance(count, **values)
        self.done += count
        now = time.monotonic()
        if values and now - self.last >= 1.0:
            self.last, stage = now, self.progress.stage
            notify(self.progress, "stage_progress", stage=stage.name, key=stage.key, step=self.done, values=values)
