"""The house: floors look down, the core knows no plugin, plugins use what is public, no circle crosses a folder."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pdiff.public import PUBLIC
from tests.helpers import ROOT

FLOORS = (  # of the core, from the ground up
    "errors files mapped deprecation public",
    "data zoo running results checkpoints",
    "components context objective bench view hookspecs networks exporting ensembles services splits steps way",
    "training populations",
    "plugins",
    "recipe",
    "engine",
    "folders members runs",
    "api",
    "__init__ __main__ testing cli",
)
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor.split()}
SPINE = "components context bench view hookspecs plugins/discovery.py recipe engine runs.py api.py"
"""Contracts, discovery, recipe, engine, runs, api."""
CORE_LINES, SPINE_LINES, FILE_LINES, TEST_LINES = 11720, 4120, 350, 300
"""The aim for the core was 5,000. What an evaluator shows (results/shown.py) and the scores that it shows, typed and
told (results/scores.py), are contracts that have since come to stand in it; so has what lets results survive kills,
full disks and flipped bits (a writer of tensors, digests, locks, pages: files.py, running/locks.py, running/store.py,
results/pages.py), and what keeps hostile plugins, files and counts from ending the program (plugins/loading.py,
cli/commands.py, running/memory.py), which no plugin can do for the core; and
that a step on CUDA is known to be one that can be replayed, and leaves nothing behind where it is not
(training/capture.py). So that a user's own things need no package, no plugin can do it for the core either: files that
others wrote are read as they are (checkpoints/), files of code are plugins and objects of a session stand in recipes
(plugins/files.py, recipe/given.py), inputs may be several tensors and splits are checked (data.py, splits.py), networks
answer together (ensembles.py); and that a run says what it lacks before it begins, and who follows it
(components/ahead.py, components/tracker.py, engine/preflight.py); that what is larger than memory lies in files
(mapped.py); that results lie at an address, which every stage is looked for in (running/remote.py, results/mirror.py);
that many processes share a store (running/locks.py, engine/sharing.py), which engines run (components/engine.py), or
make one run, which is decided where stages, steps and rows are (running/ranks.py, training/shares.py); and that
networks are each for something (components/encoder.py, components/family.py, populations/asked.py), of which a zoo, a
stage of samples, every score and every question to a finished run must know; and that sources can be compared by
another evaluator's numbers than the task's score (results/scores.py, components/evaluator.py); and that collectors, and
evaluators that a finished run is given, say what they cannot take before anything is done, and what a file says a
network is for is checked before it is scored (components/collector.py, components/family.py, engine/preflight.py);
and that a selector may add to a network what is generated, which files and modules for others do not show, and in which
distances mean something else (components/selector.py, engine/bench.py), and that it may have formats of its own, of
which each network is a folder, whole or not there (folders.py); and that a fitted method says what it can hold of
networks of unseen tasks before it samples any (engine/gate.py), for which what these score is known once for all; and
that what a run cost can be counted (components/collector.py, components/method.py); and that an ensemble goes out as a
folder that needs nothing of pdiff (exporting/), of which half is the file that the folder holds, which ensembles use
themselves, and that which sources have one, calibrated by what, is decided once (members.py); and that a training whose
loss is not finite is known by its error's class, by which other trainings can be told from it (training/loop.py); and
that tasks may see examples of their own, which only the data can say (components/family.py, populations/asked.py)."""


@functools.cache
def files() -> dict[str, Path]:
    """Return every module by its dotted name; a package stands for its face."""
    modules = {}
    for package, base in (("pdiff", ROOT / "pdiff"), ("pdiff_plugins", ROOT / "plugins" / "pdiff_plugins")):
        for path in base.rglob("*.py"):
            modules[".".join([package, *path.relative_to(base).with_suffix("").parts])] = path
    return modules


@functools.cache
def arrows(name: str) -> frozenset[tuple[str, str]]:
    """Return (module, name taken from it) of all imports, also those inside functions and for types alone."""
    return frozenset(_arrows(name))


def _arrows(name: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(files()[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield from _target(f"{node.module}.{alias.name}", name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from _target(alias.name, name)


def _target(dotted: str, importer: str) -> Iterator[tuple[str, str]]:
    parent, _, last = dotted.rpartition(".")
    for module, taken in ((dotted, ""), (f"{dotted}.__init__", ""), (parent, last), (f"{parent}.__init__", last)):
        if module in files() and module != importer:
            yield module, taken
            return


def room(name: str) -> str:
    return name.split(".")[1]


def is_core(name: str) -> bool:
    return name.startswith("pdiff.")


def test_no_import_looks_up_a_floor_and_the_core_knows_no_plugin() -> None:
    core = [(name, module) for name in files() if is_core(name) for module, _ in arrows(name)]
    assert not [pair for pair in core if not is_core(pair[1])]
    assert not [(a, b) for a, b in core if FLOOR[room(b)] > FLOOR[room(a)]]


def test_plugins_import_only_what_is_public() -> None:
    public = {(module, name) for module, names in PUBLIC.items() for name in names}
    private = [
        (name, f"{module}: {taken or 'the module'}")
        for name in files() if not is_core(name)
        for module, taken in arrows(name)
        if is_core(module) and (module.removesuffix(".__init__"), taken) not in public
    ]  # fmt: skip
    assert not [pair for pair in private if pair[1] != "pdiff.__init__: the module"]


def reach(start: str) -> set[str]:
    """Return what a module imports, and what that imports; a face only hands on."""
    seen, todo = set(), [start]
    while todo:
        for module, _ in arrows(todo.pop()):
            if module not in seen and not module.endswith("__init__"):
                seen.add(module)
                todo.append(module)
    return seen


def test_no_circle_crosses_a_folder() -> None:
    def folder(name: str) -> str:
        return name.rpartition(".")[0] if name.count(".") > 1 else name

    def top(name: str) -> str:
        return ".".join(name.split(".")[:2]) if name.count(".") > 1 else name

    reached = {name: reach(name) for name in files()}
    circles = [(a, b) for a in files() for b in reached[a] if a < b and a in reached[b] and folder(a) != folder(b)]
    assert not [pair for pair in circles if top(pair[0]) != top(pair[1])]
    assert not circles


def test_what_is_public_is_there_typed_and_told() -> None:
    for module, names in PUBLIC.items():
        loaded = importlib.import_module(module)
        assert (loaded.__doc__ or "").strip(), module
        for name in names:
            value = getattr(loaded, name)
            if inspect.isfunction(value) or inspect.isclass(value):
                assert (value.__doc__ or "").strip(), f"{module}.{name} has no docstring"
    for package in ("pdiff", "plugins/pdiff_plugins"):
        assert (ROOT / package / "py.typed").is_file()


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _without_examples(path: Path) -> int:
    """Return the lines of the hooks' specification, those of its examples not counted."""
    text = re.sub(r"\n    Example:\n(?:(?:        .*)?\n)+?(?=    \"\"\")", "\n", path.read_text(encoding="utf-8"))
    return len(text.splitlines())


def _count(paths: list[Path]) -> int:
    return sum(_without_examples(path) if path.name == "hookspecs.py" else _lines(path) for path in paths)


def test_the_core_and_its_spine_stay_small() -> None:
    core = [path for path in (ROOT / "pdiff").rglob("*.py") if "testing" not in path.parts]
    spine = [ROOT / "pdiff" / part for part in SPINE.split()]
    spine = [path for part in spine for path in (part.rglob("*.py") if part.is_dir() else [part.with_suffix(".py")])]
    assert _count(core) < CORE_LINES, f"the core has {_count(core)} lines"
    assert _count(spine) < SPINE_LINES, f"its spine has {_count(spine)} lines"


@pytest.mark.parametrize(("folder", "most"), [("pdiff", FILE_LINES), ("plugins", FILE_LINES), ("tests", TEST_LINES)])
def test_no_file_grows_too_long(folder: str, most: int) -> None:
    long = {str(path.relative_to(ROOT)): _lines(path) for path in (ROOT / folder).rglob("*.py")}
    assert not {name: lines for name, lines in long.items() if lines > most and not name.endswith("hookspecs.py")}
