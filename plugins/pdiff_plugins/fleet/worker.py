"""Worker: computes stages of a sweep's cells that nobody else computes, until there are none.

    python -m pdiff_plugins.fleet.worker SWEEP NUMBER

What there is to do it finds in the sweep's folder, and what is done in the store; workers settle by the store's locks
who computes what. So one needs nothing but a disk that the others see, too.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pdiff
from pdiff import hookimpl
from pdiff.engine.plan import Plan
from pdiff.engine.preflight import ready
from pdiff.engine.sharing import share
from pdiff.errors import UserError, short
from pdiff.files import make_folder
from pdiff.plugins.discovery import registry
from pdiff.recipe.loading import load_recipe
from pdiff.running.locks import Lost, held
from pdiff.running.progress import Progress, Step
from pdiff.running.store import Stage, Store
from pdiff_plugins.fleet.folder import Outcome, Sweep
from pdiff_plugins.fleet.grid import Cell

LONGEST_S = 10.0
"""Between two looks at what others compute."""

SPREAD = 0.618034
"""Workers begin far from each other, however many there are: multiples of the golden ratio, modulo 1."""


class Worker:
    """One of a sweep's workers."""

    def __init__(self, sweep: Sweep, number: int):
        self.sweep, self.number = sweep, number
        self.telling = Telling(sweep, number)
        self._plans: dict[int, tuple[Plan, str]] = {}
        self._there: set[str] = set()
        """Stages that are known to be in the store."""
        self._planned: int | None = None
        """The cell whose recipe, and whose files of code, were read last."""

    def work(self) -> None:
        """Work on cells until none is left; what fails is told, and stops no other cell."""
        count, wait = len(self.sweep.cells), 0.1
        self.telling.tell(at_once=True)
        first = int(self.number * SPREAD % 1 * count)
        order = [*range(first, count), *range(first)]
        while left := self._left(order):
            failed = self.sweep.failures()
            done = next((number for number in left if self._tried(number, failed)), None)
            if done is None:
                time.sleep(wait)
                wait = min(1.5 * wait, LONGEST_S)
                continue
            order, wait = [done, *(number for number in order if number != done)], 0.1  # goes on with the same

    def _left(self, order: Sequence[int]) -> list[int]:
        done = self.sweep.done()
        return [number for number in order if number not in done]

    def _tried(self, number: int, failed: Mapping[str, str]) -> bool:
        """Do what there is to do for a cell; return whether there was anything."""
        try:
            if number not in self._plans:
                self._plan(number)
            plan, name = self._plans[number]
            store = Store.at(plan.recipe.run.out)
            if reason := _needs_what_failed(plan, failed):
                self.sweep.end(number, Outcome(failure=reason))
                return True
            if not self._anything(plan, store):
                return False
            if number != self._planned:
                plan = self._plan(number)
            with self.telling.of(self.sweep.cells[number]):
                before = self.telling.computed
                if share(plan, name, self.telling):
                    return self._finished(number)
                return self.telling.computed > before
        except Lost as error:
            self.telling.say(str(error))
            return False
        except Exception as error:
            self._failed(number, error)
            return True

    def _plan(self, number: int) -> Plan:
        """Read a cell's recipe, and return what there is to do for it."""
        cell = self.sweep.cells[number]
        path, self._planned = Path(cell.recipe), None
        plan, name, _ = ready(load_recipe(path, cell.changes, self.sweep.plugins), path)
        if name != self.sweep.runs[number]:
            raise UserError(f"{path}: has changed, or what it reads has, since the sweep began; run the sweep again")
        self._plans[number], self._planned = (plan, name), number
        return plan

    def _anything(self, plan: Plan, store: Store) -> bool:
        """True where a stage can be computed that nobody computes, or all are there."""

        def has(stage: Stage) -> bool:
            if stage.folder_name not in self._there and store.here(stage):
                self._there.add(stage.folder_name)
            return stage.folder_name in self._there

        todo = plan.next(has)
        return not todo or any(_free(store.lock(stage)) for _, stage in todo)

    def _finished(self, number: int) -> bool:
        """Write a cell's run, all of whose stages are there; return False where another worker does."""
        from pdiff_plugins.fleet.effects import keep

        with held(self.sweep.lock(number)) as mine:
            if not mine or self.sweep.outcome(number):
                return False
            cell = self.sweep.cells[number]
            run = pdiff.run(cell.recipe, plugins=self.sweep.plugins, set=dict(cell.changes), quiet=True)
            keep(run, self.sweep.examples(number))
            self.sweep.end(number, Outcome(run=str(run.folder.absolute())))
        return True

    def _failed(self, number: int, error: Exception) -> None:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        reason = short("; ".join(reason.split("\n")))
        if not isinstance(error, UserError):
            traceback.print_exception(error)
            reason += f" (the traceback is in workers/{self.number}.log of the sweep's folder)"
        if self.telling.failed and not self._stored(number, self.telling.failed):
            self.sweep.fail(self.telling.failed, reason)
        self.telling.failed = ""
        self.telling.say(f"{self.sweep.cells[number].name}: failed: {reason}")
        self.sweep.end(number, Outcome(failure=reason))

    def _stored(self, number: int, name: str) -> bool:
        """True where another worker has computed a stage in the meantime."""
        plan, _ = self._plans[number]
        stages = [stage for _, stage in plan if stage.folder_name == name]
        return any(Store.at(plan.recipe.run.out).here(stage) for stage in stages)


def _needs_what_failed(plan: Plan, failed: Mapping[str, str]) -> str:
    names = {stage.folder_name: what for what, stage in plan} if failed else {}
    return next((f"{names[stage]}: {reason}" for stage, reason in failed.items() if stage in names), "")


def _free(lock: Path) -> bool:
    make_folder(lock.parent)
    with held(lock) as mine:
        return mine


class Telling(Progress):
    """Tells who watches the sweep what a worker does, about every second."""

    def __init__(self, sweep: Sweep, number: int):
        self.sweep, self.number = sweep, number
        self.computed = 0
        self.under_way: list[str] = []
        """Names of the stages that are computed, one within the other."""
        self.failed = ""
        """The innermost of them when an error ended the work on a cell."""
        self._status: dict[str, Any] = {}
        self._told = 0.0

    @contextmanager
    def of(self, cell: Cell) -> Iterator[None]:
        """Work on a cell."""
        self._status, self.failed = {"cell": cell.name}, ""
        registry().manager.register(self)
        try:
            yield
        finally:
            registry().manager.unregister(self)
            self._status, self.failed = {}, self.under_way[-1] if self.under_way else ""
            self.under_way.clear()
            self.tell(at_once=True)

    @hookimpl
    def stage_started(self, stage: str, key: str) -> None:
        self.computed += 1
        self.under_way.append(f"{stage}-{key}")
        self.tell(at_once=True)

    @hookimpl
    def stage_finished(self, stage: str, key: str) -> None:
        if f"{stage}-{key}" in self.under_way:
            self.under_way.remove(f"{stage}-{key}")
        self.tell(at_once=True)

    def tell(self, at_once: bool = False, **more: Any) -> None:
        """Say what is done now; not sooner than a second after the last time, but `at_once`."""
        self._status |= more
        if at_once or time.monotonic() - self._told >= 1.0:
            self.sweep.tell(
                self.number,
                self._status | {"stages": self.under_way, "computed": self.computed, "process": os.getpid()},
            )
            self._told = time.monotonic()

    def say(self, line: str) -> None:
        print(line, flush=True)

    def begins(self, stage: str, what: str) -> None:
        self._status = {"cell": self._status.get("cell", ""), "what": f"{stage} {what}".rstrip()}

    @contextmanager
    def step(self, what: str, total: int, done: int = 0) -> Iterator[Step]:
        yield _Told(self, what, total, done)


class _Told(Step):
    def __init__(self, telling: Telling, what: str, total: int, done: int):
        self.telling, self.what, self.total, self.done = telling, what, total, done

    def advance(self, count: int = 1, **values: float) -> None:
        self.done += count
        self.telling.tell(step=self.what, done=self.done, total=self.total)


def main(folder: str, number: str) -> None:
    """Work for a sweep, as the command line of this module does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell lets its background processes ignore
    try:
        sweep = Sweep(Path(folder))
        os.chdir(sweep.cwd)
        Worker(sweep, int(number)).work()
    except KeyboardInterrupt:
        sys.exit(130)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main(*sys.argv[1:])
