"""View: what evaluators and reports see of a run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pdiff.results.summary import table as summary_table

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pdiff.components.architecture import Architecture
    from pdiff.components.collector import Collector
    from pdiff.components.dataset import Dataset
    from pdiff.components.method import Generator, Method
    from pdiff.components.task import Task
    from pdiff.objective import Objective
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
    predict: Callable[[str, str], Tensor]
    """(source, split) -> predictions `[M, E, ...]`, computed once and shared."""
    predict_networks: Callable[[Tensor, str], Tensor]
    """(theta_MD, split) -> predictions of other networks, not stored."""
    log_probabilities: Callable[[str, str, int], tuple[Tensor, Tensor] | None]
    """(source, split, most) -> (log-probabilities `[M, E, K]` in float16, targets `[E]`) of at most so many examples,
    drawn at random; None where the task has no classes. Not stored."""
    targets: Callable[[str], torch.Tensor]
    """split -> targets `[E, ...]`."""
    measures: Callable[[], dict[str, Tensor]]
    """The task's measures of the zoo's checkpoints on the selection split, `[N]` each, computed once."""
    measure: Callable[[Tensor, str], dict[str, Tensor]]
    """(theta_MD, split) -> the task's measures, `[M]` each, not stored."""
    start: Callable[[int], Tensor]
    """Seed -> theta_D of a new network, as its architecture initialises it."""
    objective: Objective
    """The task on training examples."""
    holdout: Tensor | None = None
    """theta_HD of the checkpoints that no method has seen (`[zoo] holdout`), or None."""
    holdout_rows: list[dict[str, Any]] = field(default_factory=list)
    """Their rows, as `Zoo.rows`."""
    find_align: Callable[[], Callable[[Tensor], Tensor] | None] = lambda: None
    """What finds `align`."""
    logs: Mapping[str, list[dict[str, float]]] = field(default_factory=dict)
    """Training curves: `train`, and each method by source."""
    scores: dict[str, Any] = field(default_factory=dict)
    """For reports: everything that the evaluators gave."""

    @functools.cached_property
    def align(self) -> Callable[[Tensor], Tensor] | None:
        """theta_MD -> theta_MD, each network's hidden units in the order nearest to the first checkpoint's.

        None where the network has no graph, or no units that can be reordered within the selection.
        """
        return self.find_align()

    @property
    def selection(self) -> str:
        return self.recipe.selection

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return (head, rows) of the summary table, as text."""
        return summary_table(self.scores)
