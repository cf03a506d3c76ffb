"""View: what evaluators and reports see of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pdiff.results.shown import Shows
from pdiff.results.summary import table as summary_table

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Train
    from pdiff.components.architecture import Architecture
    from pdiff.components.collector import Collector
    from pdiff.components.dataset import Dataset
    from pdiff.components.method import Generator, Method
    from pdiff.components.selector import Selector
    from pdiff.components.task import Task
    from pdiff.zoo import Zoo

ORIGINAL = "original"


class Setup(Protocol):
    """What evaluators and reports read of a recipe."""

    @property
    def task(self) -> Task: ...
    @property
    def dataset(self) -> Dataset: ...
    @property
    def architecture(self) -> Architecture: ...
    @property
    def selector(self) -> Selector: ...
    @property
    def train(self) -> Train: ...
    @property
    def collect(self) -> Collector: ...
    @property
    def selection(self) -> str: ...


@dataclass
class View:
    """The populations of a run, by source: `original`, the method, each baseline."""

    recipe: Setup
    name: str
    zoo: Zoo
    theta: Mapping[str, Tensor]
    """Source -> theta_MD, float32 on the CPU, in the order of the table."""
    method: str
    """The source that is the recipe's method."""
    methods: Mapping[str, Method]
    """Source -> method; `original` has none."""
    generators: Mapping[str, Generator]
    """Source -> fitted method."""
    bench: Bench
    """The services of the zoo."""
    predictions: Callable[[str, str], Tensor]
    """(source, split) -> the task's predictions `[M, E, ...]`, computed once and shared."""
    targets: Callable[[str], Tensor]
    """split -> targets `[E, ...]`."""
    logs: Mapping[str, list[dict[str, float]]] = field(default_factory=dict)
    """Training curves: `train`, and each method by source."""
    scores: dict[str, Any] = field(default_factory=dict)
    """For reports: everything that the evaluators gave."""
    evaluators: Mapping[str, Shows] = field(default_factory=dict)
    """For reports: the evaluators by name, in the recipe's order, then those that were added later."""
    warn: Callable[[str], None] = print
    """Tells a person of something that does not stop the run, in one line."""

    @property
    def selection(self) -> str:
        return self.recipe.selection

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return (head, rows) of the summary table, as text."""
        return summary_table(self.scores)
