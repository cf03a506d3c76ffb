"""The bench of a run: its networks, its task and its data, as services."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.components import Architecture, Task
from pdiff.context import Context
from pdiff.data import DatasetSplits, Split, some
from pdiff.engine.observe import ask
from pdiff.networks import blank_network
from pdiff.objective import Objective
from pdiff.populations.predictor import Predictor
from pdiff.populations.tasks import LogProbabilities, Measured
from pdiff.running.device import placed
from pdiff.running.progress import Progress
from pdiff.services import Through
from pdiff.way import Predicts
from pdiff.zoo import Layout, Zoo


def predictor_of(model: nn.Module, layout: Layout, task: Predicts, ctx: Context, steady: bool = False) -> Predictor:
    """Return what runs populations of a network, by the quickest way that a plugin knows.

    `steady`: by a way that follows from shapes alone, for numbers that decide what comes after them.
    """
    chooser = ask(ctx.warn, "choose_ways", model=model, layout=layout, task=task, steady=steady)
    return Predictor(model, layout, task, chooser)


@dataclass(frozen=True)
class RunBench:
    """See `pdiff.bench.Bench`."""

    architecture: Architecture
    task: Task
    load: Callable[[], DatasetSplits]
    """Gives the data, which not everything needs."""
    selection: str
    zoo: Zoo
    """Its anchor completes every network, and to its first checkpoint others are aligned."""
    contexts: Callable[..., Context]
    """Gives the context of a purpose, which words name."""
    known_measures: Callable[[], dict[str, Tensor]] | None = None
    """The measures of the zoo's checkpoints."""

    @property
    def data(self) -> DatasetSplits:
        return self.load()

    def build(self, seed: int) -> nn.Module:
        return blank_network(self.architecture, self.data, seed)

    def converted(self, state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        return self.architecture.converted(state, model)

    def start(self, seed: int) -> Tensor:
        return self.zoo.layout.vector(self.build(seed).state_dict())

    @functools.cached_property
    def network(self) -> nn.Module:
        """A network that holds the anchor, to be overwritten population by population."""
        model = self.build(0)
        model.load_state_dict(self.zoo.anchor)
        return placed(model, self.contexts("network").device)

    @functools.cached_property
    def objective(self) -> Objective:
        return Objective(self.network, self.zoo.layout, self.task, self.data.train)

    @functools.cached_property
    def predictor(self) -> Predictor:
        """What runs all populations of this run; it finds out once how best to."""
        return predictor_of(self.network, self.zoo.layout, self.task, self.contexts("predict"))

    @functools.cached_property
    def _measurer(self) -> Predictor:
        return predictor_of(self.network, self.zoo.layout, Measured(self.task), self.contexts("measure"), steady=True)

    @functools.cached_property
    def _prober(self) -> Predictor:
        return predictor_of(self.network, self.zoo.layout, LogProbabilities(self.task), self.contexts("predict"))

    def score(self, theta_MD: Tensor) -> Tensor:
        split, ctx = self.data.split(self.selection), self._quiet("score")
        return self.task.score(self.predictor.predict(theta_MD, split, ctx, "score"), split.targets)

    @property
    def input_shape(self) -> Any:
        return self.data.input_shape

    def measure(self, theta_MD: Tensor, split: str = "") -> dict[str, Tensor]:
        if not self.task.measures:
            return {}
        examples = self.data.split(split or self.selection)
        parts = self._measurer.predict(theta_MD, examples, self._quiet("measure"), "measure")
        return dict(zip(self.task.measures, (parts.sum(dim=1) / len(examples)).unbind(dim=1), strict=True))

    def measures(self) -> dict[str, Tensor]:
        return self.known_measures() if self.known_measures else self.measure(self.zoo.theta_ND)

    def predict(self, theta_MD: Tensor, split: str | Split, at_once: int = 0) -> Tensor:
        ctx, what = self.contexts("predict"), f"predict ({split})" if isinstance(split, str) else "predict"
        examples = self.data.split(split) if isinstance(split, str) else split
        return self.predictor.predict(theta_MD, examples, ctx.replace(batch_size=at_once or ctx.batch_size), what)

    @torch.no_grad()
    def log_probabilities(self, theta_MD: Tensor, split: str, most: int) -> tuple[Tensor, Tensor] | None:
        examples = some(self.data.split(split), most, self.contexts("some", split).generator("examples"))
        first = examples.batch(torch.zeros(1, dtype=torch.int64), self.contexts("predict").device)
        if self.task.log_probabilities(self.network.eval(), first.inputs) is None:
            return None
        what = f"probabilities ({split})"
        return self._prober.predict(theta_MD, examples, self.contexts("predict"), what), examples.targets

    def align(self, theta_MD: Tensor, to_MD: Tensor | None = None) -> Tensor | None:
        return self._aligner(theta_MD, to_MD) if self._aligner else None

    @functools.cached_property
    def _aligner(self) -> Callable[[Tensor, Tensor | None], Tensor] | None:
        ctx = self.contexts("align")
        aligner: Callable[[Tensor, Tensor | None], Tensor] | None = ask(
            ctx.warn, "align_networks", model=self.build(0), inputs=self.data.example(), layout=self.zoo.layout,
            reference_D=self.zoo.theta_ND[0], ctx=ctx,
        )  # fmt: skip
        return aligner

    def through(self, decode: Callable[[Tensor], Tensor]) -> Through:
        return Through(self, decode)

    def _quiet(self, what: str) -> Context:
        return self.contexts(what).replace(progress=Progress())
