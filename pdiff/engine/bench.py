"""The bench of a run: its networks, its task and its data, as services."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.components import Architecture, Encoder, Family, Selector, Task, Train
from pdiff.context import Context
from pdiff.data import About, DatasetSplits, Split, some
from pdiff.engine.gate import EXAMPLES, Held, held_out
from pdiff.engine.observe import ask
from pdiff.errors import UserError
from pdiff.networks import blank_network, extended
from pdiff.objective import Objective
from pdiff.populations import asked
from pdiff.populations.predictor import Predictor
from pdiff.populations.tasks import LogProbabilities, Measured
from pdiff.running.device import placed
from pdiff.running.progress import Progress
from pdiff.services import Through
from pdiff.way import Predicts
from pdiff.zoo import Layout, Zoo
from pdiff.zoo import about as about_of

TASKS = 16
"""That a network which is of none is scored on."""


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
    encoder: Encoder | None = None
    preprocess: Callable[[], nn.Module | None] = lambda: None
    """The dataset's."""
    selector: Selector | None = None
    training: Train = field(default_factory=Train)

    @property
    def data(self) -> DatasetSplits:
        return self.load()

    @property
    def names(self) -> tuple[str, ...]:
        return self.data.names

    @property
    def classes(self) -> int:
        return self.data.classes or self.data.outputs

    def examples(self, split: str) -> Split:
        return self.data.split(split or self.selection)

    def encode(self, about: Sequence[About]) -> Tensor:
        if self.encoder is None:
            raise UserError("conditions: the recipe has no [encoder] that makes them; add one, such as name = 'bits'")
        known = [about_of(row) for row in self.zoo.rows]
        missing = next((number for number, what in enumerate(known) if not what), None)
        if missing is not None:
            raise UserError(
                f"encoder {self.encoder.name}: checkpoint {missing} does not say what it is about; collect with "
                "'tasks', with 'fields' from data that have classes, or write a task.json beside its file"
            )
        return self.encoder.encode(about, known, self, self.contexts("encode"))

    def build(self, seed: int, outputs: int = 0) -> nn.Module:
        data = replace(self.data, outputs=outputs or self.data.outputs)
        model = blank_network(self.architecture, data, seed)
        if outputs or self.selector is None or not self.selector.extends:
            return model
        own, model = list(model.state_dict()), extended(model, self.selector, seed)
        model.load_state_dict(model.state_dict() | {key: self.zoo.anchor[key] for key in own})
        return model

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

    def score(self, theta_MD: Tensor, about: Sequence[About] | None = None) -> Tensor:
        split, ctx = self.data.split(self.selection), self._quiet("score")

        def predict(theta_MD: Tensor, split: Split) -> Tensor:
            return self.predictor.predict(theta_MD, split, ctx, "score")

        if not isinstance(self.task, Family):
            return self.task.score(predict(theta_MD, split), split.targets)
        if about is not None:
            return asked.scores(self.task, theta_MD, about, split, predict)
        return asked.scores_on_all(self.task, theta_MD, self._some_tasks, split, predict)

    @functools.cached_property
    def held(self) -> Held | None:
        """Own networks of tasks held out; None where the zoo is no family's, or holds none."""
        holdout, rows, family, ctx = self.zoo.holdout, held_out(self.zoo), self.task, self._quiet("gate")
        if holdout is None or not rows or not isinstance(family, Family):
            return None
        about = [about_of(holdout.rows[row]) for row in rows]
        split = some(self.data.split(self.selection), EXAMPLES, ctx.generator("examples"))

        def predict(theta_MD: Tensor, split: Split) -> Tensor:
            return self.predictor.predict(theta_MD, split, ctx, "gate")

        return Held(holdout.theta_ND[rows], lambda theta_HD: asked.scores(family, theta_HD, about, split, predict))

    @property
    def _some_tasks(self) -> list[About]:
        """Tasks of the zoo, evenly spaced."""
        count = len(self.zoo)
        return [about_of(self.zoo.rows[place * count // min(TASKS, count)]) for place in range(min(TASKS, count))]

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
    def log_probabilities(self, theta_MD: Tensor, split: str | Split, most: int) -> tuple[Tensor, Tensor] | None:
        name, examples = (split, self.data.split(split)) if isinstance(split, str) else ("examples", split)
        examples = some(examples, most, self.contexts("some", name).generator("examples"))
        first = examples.batch(torch.zeros(1, dtype=torch.int64), self.contexts("predict").device)
        if self.task.log_probabilities(self.network.eval(), first.inputs) is None:
            return None
        what = f"probabilities ({name})"
        return self._prober.predict(theta_MD, examples, self.contexts("predict"), what), examples.targets

    def align(self, theta_MD: Tensor, to_MD: Tensor | None = None) -> Tensor | None:
        return self._aligner(theta_MD, to_MD) if self._aligner else None

    @functools.cached_property
    def _aligner(self) -> Callable[[Tensor, Tensor | None], Tensor] | None:
        if self.selector is not None and self.selector.extends:
            return None  # what it adds has coordinates of its own
        ctx = self.contexts("align")
        aligner: Callable[[Tensor, Tensor | None], Tensor] | None = ask(
            ctx.warn, "align_networks", model=self.build(0), inputs=self.data.example(), layout=self.zoo.layout,
            reference_D=self.zoo.theta_ND[0], ctx=ctx,
        )  # fmt: skip
        return aligner

    def coordinates(self, theta_MD: Tensor) -> Tensor:
        return theta_MD if self.selector is None else self.selector.coordinates(theta_MD, self.zoo.layout)

    def through(self, decode: Callable[[Tensor], Tensor]) -> Through:
        return Through(self, decode)

    def _quiet(self, what: str) -> Context:
        return self.contexts(what).replace(progress=Progress())
