"""Campaign: a sweep from its cells to its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from pdiff.cli.options import sampling
from pdiff.cli.text import console, print_lines, print_table
from pdiff.components import Engine
from pdiff.errors import Faults, Lacking, UserError
from pdiff.files import read_json
from pdiff.plugins.discovery import registry
from pdiff.results.runs import SCORES
from pdiff.results.scores import compared, unit_of
from pdiff.view import ORIGINAL
from pdiff_plugins.fleet.display import display_for
from pdiff_plugins.fleet.folder import Outcome, Sweep
from pdiff_plugins.fleet.graph import Graph, graph_of
from pdiff_plugins.fleet.grid import Cell
from pdiff_plugins.fleet.watch import Watch

NOT_DONE = Outcome(failure="not done")


def engine_of(name: str, options: Sequence[str]) -> Engine:
    """Return the engine of a name with its options, `key=value`. Raises UserError."""
    component, values = registry().find("engine", name)
    try:
        return cast(Engine, component.model_validate({**values, **sampling(list(options))}))
    except ValidationError as error:
        lines = (f"-o {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        known = ", ".join(component.model_fields)
        raise Faults(f"{line}; options of {name}: {known}" for line in lines) from None


class Campaign:
    """The cells of a sweep and the folder that they share."""

    def __init__(
        self, cells: Sequence[Cell], plugins: Sequence[str], out: Path | None = None, name: str = "", title: str = ""
    ):
        """`out`: by default that of the first cell; `name`: of the sweep's folder; `title`: of its page."""
        self.cells, self.out, self.name = list(cells), out, name
        self.title = title or "Sweep of " + ", ".join(dict.fromkeys(Path(cell.recipe).stem for cell in cells))
        self.plugins = [str(Path(plugin).absolute()) for plugin in plugins]

    def run(
        self, engine: Engine, workers: int = 0, dry_run: bool = False, quiet: bool = False, skip: bool = False
    ) -> Path | None:
        """Run the cells and return the page, or with `dry_run` only print what there is to do.

        Raises UserError where a recipe is at fault or lacks something, before anything is computed; with `skip`, cells
        that lack something are left out. At the end, when all others are done, where a cell failed.
        """
        with console().status("looking for what the cells need") if console().is_terminal else nullcontext():
            graph, lacking = graph_of(self.cells, self.plugins)
        if lacking and not (skip and graph.of):
            raise Lacking(self._lacking(lacking))
        if dry_run:
            self._tell(graph)
            print_lines(f"skipped: {line}" for line in self._lacking(lacking))
            return None
        out = self.out or next(iter(graph.stores.values())).root.parent
        sweep = Sweep.make(out, self.cells, self.plugins, self.name, graph.runs)
        todo = max(sum(not sweep.good(number) for number in graph.of), len(graph.stages) - len(graph.there), 1)
        count = min(workers or min(engine.places(), len(self.cells)), todo)
        if not quiet:
            print_lines(graph.said)
            print_lines([self._begins(graph, engine, count)])
        Watch(sweep, graph, display_for(console(), len(graph.stages), quiet), self._told).run(engine, count, lacking)
        return self._ended(sweep)

    def _lacking(self, lacking: Mapping[int, str]) -> list[str]:
        """Return what cells lack, a line for each reason."""
        cells: dict[str, list[str]] = {}
        for number, reason in lacking.items():
            cells.setdefault(reason, []).append(self.cells[number].name)
        return [
            f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {reason}"
            for reason, names in cells.items()
        ]

    def _tell(self, graph: Graph) -> None:
        print_table(*graph.overview())
        print_lines([""])
        print_table(*graph.by_cell(self.cells))
        todo = len(graph.stages) - len(graph.there)
        print_lines(["", f"{len(self.cells)} cells, {len(graph.stages)} stages, {todo} to do", *graph.said])

    def _begins(self, graph: Graph, engine: Engine, count: int) -> str:
        shared = sum(users > 1 for users in graph.users.values())
        cells = "1 cell" if len(self.cells) == 1 else f"{len(self.cells)} cells"
        workers = "1 worker" if count == 1 else f"{count} workers"
        return (
            f"{cells}, {len(graph.stages)} stages ({len(graph.there)} cached, {shared} shared); "
            f"{workers}, engine {engine.name}"
        )

    def _told(self, number: int, outcome: Outcome) -> str:
        """Return what became of a cell, in a line."""
        if outcome.failure:
            return outcome.failure if outcome.failure.startswith("skipped: ") else f"failed: {outcome.failure}"
        try:
            scores = read_json(Path(outcome.run) / SCORES)
        except UserError as error:
            return str(error)
        unit, known = unit_of(scores), compared(scores)
        told = [
            f"{source} {unit.text(known[source]['mean'])}" for source in (ORIGINAL, scores["method"]) if source in known
        ]
        return f"mean {', '.join(told)}" if told else outcome.run

    def _ended(self, sweep: Sweep) -> Path:
        from pdiff_plugins.fleet import page

        outcomes = sweep.outcomes()
        scores: dict[int, dict[str, Any]] = {
            number: read_json(Path(outcome.run) / SCORES) for number, outcome in outcomes.items() if sweep.good(number)
        }
        written = page.write(sweep, self.title, scores, outcomes)
        for group in page.groups(sweep, scores):
            print_lines(f"{each.name}: {page.verdict(each)}" for each in (group, *group.measures))
        print_lines([f"page: {written}"])
        failed = [number for number in range(len(self.cells)) if number not in scores]
        print_lines(f"{self.cells[number].name}: {(outcomes.get(number) or NOT_DONE).failure}" for number in failed)
        if failed:
            raise UserError(
                f"sweep: {len(failed)} of {len(self.cells)} cells have no result, for reasons that are above and in "
                "the page; the same command tries them again, and uses what is there"
            )
        return written
