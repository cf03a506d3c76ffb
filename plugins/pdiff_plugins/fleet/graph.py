"""Graph: the stages of all cells, which of them several cells share, and which are there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pdiff.engine.preflight import ready
from pdiff.errors import Faults, Lacking, UserError
from pdiff.recipe.loading import load_recipe
from pdiff.running.store import Stage, Store
from pdiff_plugins.fleet.grid import Cell


@dataclass
class Graph:
    """The stages of cells."""

    stages: dict[str, Stage] = field(default_factory=dict)
    """By name."""
    stores: dict[str, Store] = field(default_factory=dict)
    of: dict[int, list[str]] = field(default_factory=dict)
    """Cell -> the names of its stages."""
    runs: dict[int, str] = field(default_factory=dict)
    """Cell -> the name of its run."""
    said: list[str] = field(default_factory=list)
    """What a user must know before: what is fetched, notes."""
    there: set[str] = field(default_factory=set)
    """Stages that are known to be in the store."""

    def look(self) -> int:
        """Look which stages are there by now, and return how many."""
        roots = {store.root for store in self.stores.values() if store.root.is_dir()}
        seen = {(root, name) for root in roots for name in os.listdir(root)}
        missing = [name for name in self.stages.keys() - self.there if (self.stores[name].root, name) in seen]
        self.there |= {name for name in missing if self.stores[name].here(self.stages[name])}
        return len(self.there)

    @property
    def users(self) -> Counter[str]:
        """How many cells need each stage."""
        return Counter(name for names in self.of.values() for name in names)

    def overview(self) -> tuple[list[str], list[list[str]]]:
        """Return head and rows of a table: for each kind of stage how many are there, to do, and shared."""
        users, rows = self.users, []
        for kind in dict.fromkeys(stage.name for stage in self.stages.values()):
            names = [name for name, stage in self.stages.items() if stage.name == kind]
            shared = [users[name] for name in names if users[name] > 1]
            rows.append([
                kind, str(sum(users[name] for name in names)), str(len(names)),
                str(sum(name in self.there for name in names)), str(sum(name not in self.there for name in names)),
                f"{len(shared)}, by {_range(shared)} cells" if shared else "",
            ])  # fmt: skip
        return ["stage", "in all cells", "different", "cached", "to do", "shared"], rows

    def by_cell(self, cells: Sequence[Cell]) -> tuple[list[str], list[list[str]]]:
        """Return head and rows of a table: for each cell its stages, how many are there, to do, and shared."""
        users = self.users
        rows = [
            [cell.name, str(len(names)), str(sum(name in self.there for name in names)),
             str(sum(name not in self.there for name in names)), str(sum(users[name] > 1 for name in names))]
            for cell, names in ((cells[number], names) for number, names in self.of.items())
        ]  # fmt: skip
        return ["cell", "stages", "cached", "to do", "shared"], rows


def _range(counts: Sequence[int]) -> str:
    return str(min(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def graph_of(cells: Sequence[Cell], plugins: Sequence[str]) -> tuple[Graph, dict[int, str]]:
    """Return the stages of all cells, and by number those cells that lack something, with the reason.

    Raises Faults for all faults of all recipes at once.
    """
    graph, lacking, faults = Graph(), dict[int, str](), list[str]()
    for number, cell in enumerate(cells):
        try:
            recipe = load_recipe(cell.recipe, cell.changes, plugins)
            plan, name, ahead = ready(recipe, Path(cell.recipe))
        except Lacking as error:
            lacking[number] = "; ".join(error.lines)
        except UserError as error:
            faults += [line for line in str(error).splitlines() if line not in faults]
        else:
            store = Store.at(recipe.run.out)
            named = {stage.folder_name: stage for _, stage in plan}
            graph.of[number], graph.runs[number] = list(named), name
            graph.stages |= named
            graph.stores |= dict.fromkeys(named, store)
            graph.said += [f"to be fetched: {line}" for line in ahead.what("fetches")]
            graph.said += [f"note: {line}" for line in ahead.what("notes")]
    if faults:
        raise Faults(faults)
    graph.said = list(dict.fromkeys(graph.said))
    graph.there = {name for name, stage in graph.stages.items() if graph.stores[name].has(stage)}
    return graph, lacking
