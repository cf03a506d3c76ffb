"""Many processes that claim tiny stages of one store, as workers of a sweep do: how many a second, and what limits it.

    python benchmarks/leases.py [--processes 64] [--stages 10000] [--cell 20] [--alone] [--out FOLDER]

A worker goes through cells of `--cell` stages from a place of its own, looks which stages are there, tries the lease of
each other one without waiting, and writes a file of 1 kB under it. `--alone`: without the list of stages that each
cell's run keeps, which is written once for all of a cell's, under one lease that all workers share. Times are sums over
processes, each moment counted once, by the innermost kind. `uses`: that list and the waiting for that lease; `waiting`:
until others are done.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import SoftFileLease

from pdiff.files import read_json, write_json
from pdiff.running import store as stores
from pdiff.running.locks import Busy
from pdiff.running.store import Stage, Store
from pdiff_plugins.fleet.worker import SPREAD, _free

ABOUT = os.urandom(512).hex().encode()
"""What a stage writes: 1 kB."""


class Clock:
    """Seconds and CPU seconds by kind of work; of nested kinds the inner one counts, but in `uses`."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0])
        self.stack = ["rest"]
        self.last = (time.monotonic(), time.thread_time())

    def turn(self) -> None:
        """Add what has passed to the kind that is on."""
        now = (time.monotonic(), time.thread_time())
        for index in range(2):
            self.spent[self.stack[-1]][index] += now[index] - self.last[index]
        self.last = now

    @contextmanager
    def of(self, kind: str) -> Iterator[None]:
        self.turn()
        if self.stack[-1] == "uses":
            kind = f"uses, {kind}" if kind == "waiting" else "uses"
        self.stack.append(kind)
        self.spent[kind][2] += 1
        try:
            yield
        finally:
            self.turn()
            self.stack.pop()

    def timed(self, owner: Any, name: str, kind: str) -> None:
        """Time a function of a module or class."""
        work = getattr(owner, name)

        @functools.wraps(work)
        def within(*given: Any, **named: Any) -> Any:
            with self.of(kind):
                return work(*given, **named)

        setattr(owner, name, within)


def stages_of(count: int) -> list[Stage]:
    return [Stage("tiny", {"number": number}) for number in range(count)]


def claim(root: Path, cells: list[list[Stage]], first: int, alone: bool) -> tuple[list[str], int]:
    """Compute stages that nobody else computes until all are there; return them, and how many others had."""
    done, there, busy, wait = [], set[str](), 0, 0.1
    order = [*range(first, len(cells)), *range(first)]

    def missing(store: Store, cell: list[Stage]) -> list[Stage]:
        there.update(stage.key for stage in cell if stage.key not in there and store.has(stage))
        return [stage for stage in cell if stage.key not in there]

    while order:
        before = len(done)
        for number in list(order):
            store = Store(root / "store", "" if alone else f"run-{number}")
            todo = missing(store, cells[number])
            if todo and any(_free(store.lock(stage)) for stage in todo):
                store.note(*(stage.folder_name for stage in cells[number]))
                for stage in todo:
                    if stage.key not in there and not store.has(stage):
                        try:
                            store.compute(stage, functools.partial(write, stage, done), wait=False)
                        except Busy:
                            busy += 1
            if not missing(store, cells[number]):
                order.remove(number)
        wait = 0.1 if len(done) > before else min(1.5 * wait, 10.0)
        if order and len(done) == before:
            time.sleep(wait)
    return done, busy


def write(stage: Stage, done: list[str], folder: Path) -> None:
    (folder / "about.bin").write_bytes(ABOUT)
    done.append(stage.key)


def work(root: Path, number: int, cells: list[list[Stage]], start: Any, alone: bool) -> None:
    """Wait for the others, claim, and write what it cost."""
    clock = Clock()
    for owner, name, kind in (
        (SoftFileLease, "acquire", "leases"), (SoftFileLease, "release", "leases"), (os, "fsync", "syncs"),
        (stores, "sha256_of", "digests"), (stores, "fault", "looking"), (Store, "note", "uses"),
        (time, "sleep", "waiting"),
    ):  # fmt: skip
        clock.timed(owner, name, kind)
    start.wait()
    begun, used = time.monotonic(), time.process_time()
    clock.last = (begun, time.thread_time())
    done, busy = claim(root, cells, int(number * SPREAD % 1 * len(cells)), alone)
    clock.turn()
    about = {"begun": begun, "ended": time.monotonic(), "cpu": time.process_time() - used, "busy": busy}
    write_json(root / f"worker-{number}.json", about | {"done": done, "spent": clock.spent})


def measured(processes: int, count: int, size: int, root: Path, alone: bool) -> None:
    """Run the workers and print a row and where their time went."""
    stages = stages_of(count)
    cells = [stages[start : start + size] for start in range(0, count, size)]
    fork = multiprocessing.get_context("fork")
    start = fork.Barrier(processes)
    workers = [fork.Process(target=work, args=(root, n, cells, start, alone)) for n in range(processes)]
    load = os.getloadavg()[0]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    told = [read_json(root / f"worker-{number}.json") for number in range(processes)]
    times = Counter(key for each in told for key in each["done"])
    once = sum(times[stage.key] == 1 for stage in stages)
    wall = max(each["ended"] for each in told) - min(each["begun"] for each in told)
    cpu = sum(each["cpu"] for each in told)
    print(
        f"| {processes} | {count:,} | {once:,} | {wall:.1f} | {count / wall:.0f} | {1000 * cpu / count:.1f} "
        f"| {cpu / wall:.2f} | {sum(each['busy'] for each in told):,} | {load:.1f} |\n"
    )
    kinds = sorted({kind for each in told for kind in each["spent"]})
    total = {kind: [sum(each["spent"].get(kind, (0, 0, 0))[i] for each in told) for i in range(3)] for kind in kinds}
    whole = sum(spent[0] for spent in total.values())
    print("| of it | seconds | share | CPU-ms a stage | calls a stage |\n| --- | --: | --: | --: | --: |")
    for kind, (seconds, busy, calls) in sorted(total.items(), key=lambda each: -each[1][0]):
        share, each = seconds / whole, 1000 * busy / count
        print(f"| {kind} | {seconds:.1f} | {share:.0%} | {each:.2f} | {calls / count:.1f} |", flush=True)


def rate(work: Callable[[int], object], seconds: float = 1.0) -> float:
    """Return how often a second something can be done, one after the other."""
    begun, count = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        work(count)
        count += 1
    return count / (time.monotonic() - begun)


def written(folder: Path, number: int) -> None:
    with open(folder / f"{number}", "wb") as file:
        file.write(ABOUT)
        os.fsync(file.fileno())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=64)
    parser.add_argument("--stages", type=int, default=10_000)
    parser.add_argument("--cell", type=int, default=20, help="stages of a cell")
    parser.add_argument("--alone", action="store_true", help="without the list of stages that a run uses")
    parser.add_argument("--out", type=Path, help="folder on the file system that is measured")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.out) as folder:
        root = Path(folder)
        disk = rate(functools.partial(written, root))
        print(f"{os.cpu_count()} cores; {disk:.0f} files of 1 kB written and synced a second, one after the other\n")
        print("| processes | stages | computed once | s | stages/s | CPU-ms a stage | cores | held by others | load |")
        print("| --: " * 9 + "|", flush=True)
        measured(options.processes, options.stages, options.cell, root, options.alone)


if __name__ == "__main__":
    main()
