"""Plan: what there is to do for a recipe, stage by stage; nothing here computes anything."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pdiff.components import Evaluator, Method, Transform
from pdiff.engine import keys
from pdiff.recipe.tables import Recipe
from pdiff.running.store import Stage
from pdiff.view import ORIGINAL


class Plan:
    """The stages of one recipe."""

    def __init__(
        self, recipe: Recipe, *, train: Stage | None = None, collect: Stage | None = None,
        methods: dict[str, Method] | None = None, about: Mapping[str, Any] | None = None,
    ):  # fmt: skip
        """`train` and `collect`: those of a finished run, where files that the recipe names may have moved since.

        `methods`: by source, instead of the recipe's. `about`: what networks are asked for, likewise.
        """
        self.recipe, self.about = recipe, dict(recipe.sample.about if about is None else about)
        self.train = train or keys.train_stage(recipe)
        self.collect = collect or keys.collect_stage(recipe, self.train)
        self.zoo = keys.zoo_stage(recipe, self.collect)
        """The stage that holds the checkpoints in use."""
        self.methods = methods or _labelled((recipe.method, *recipe.baseline))
        """The recipe's method and its baselines, by source: the label in every table."""

    @property
    def method(self) -> str:
        """The source that is the recipe's method."""
        return next(iter(self.methods))

    @property
    def measure(self) -> Stage:
        return keys.measure_stage(self.recipe, self.zoo)

    def fit(self, source: str) -> Stage:
        return keys.fit_stage(self.recipe, self.zoo, self.methods[source])

    def sample(self, source: str, count: int = 0, draw: int = 0) -> Stage:
        asked = self.recipe.sample
        count = count or (asked.count if source == self.method else asked.baseline_count)
        fitted, steps = self.fit(source), self.steps(source)
        return keys.sample_stage(self.recipe, fitted, self.methods[source], count, draw, steps, self.about)

    def steps(self, source: str) -> tuple[Transform, ...]:
        """Return the steps that a source's samples go through."""
        return tuple(step for step in self.recipe.sample.step if source == self.method or step.baselines)

    @functools.cached_property
    def populations(self) -> dict[str, Stage]:
        """Source -> the stage that holds its networks."""
        return {ORIGINAL: self.zoo} | {source: self.sample(source) for source in self.methods}

    def predict(self, source: str, split: str) -> Stage:
        return keys.predict_stage(self.populations[source], split)

    def evaluate(self, evaluator: Evaluator) -> Stage:
        return keys.evaluate_stage(self.recipe, self.populations, evaluator)

    def __iter__(self) -> Iterator[tuple[str, Stage]]:
        """Yield (what, stage) for everything that the recipe leads to, but predictions, which evaluators ask for."""
        yield "train", self.train
        yield "collect", self.collect
        if self.zoo != self.collect:
            yield "zoo", self.zoo
        for source in self.methods:
            yield f"fit {source}", self.fit(source)
            yield f"sample {source}", self.sample(source)
        for evaluator in self.recipe.evaluate:
            yield f"evaluate {evaluator.name}", self.evaluate(evaluator)

    def next(self, has: Callable[[Stage], bool]) -> list[tuple[str, Stage]]:
        """Return what is not there, and whose inputs are: what can be computed next, or side by side."""
        first = [(what, stage) for what, stage in self if stage in (self.train, self.collect, self.zoo)]
        for what, stage in first:
            if not has(stage):
                return [(what, stage)]
        missing = [(what, stage) for what, stage in list(self)[len(first) :] if not has(stage)]
        fitted = {f"sample {source}" for source in self.methods if has(self.fit(source))}
        networks = [(what, stage) for what, stage in missing if stage.name != "evaluate"]
        if networks:
            return [(what, stage) for what, stage in networks if stage.name == "fit" or what in fitted]
        return [(what, stage) for what, stage in self.predictions if missing and not has(stage)] or missing

    @functools.cached_property
    def predictions(self) -> list[tuple[str, Stage]]:
        """What evaluators that give a score will ask for: what each source's networks predict on both splits."""
        splits = dict.fromkeys((self.recipe.selection, "test"))
        asked = [(source, split) for source in self.populations for split in splits]
        known = {(ORIGINAL, self.recipe.selection)}  # as collecting ended
        scored = any(evaluator.gives_score for evaluator in self.recipe.evaluate)
        return [(f"predict {source} ({split})", self.predict(source, split)) for source, split in asked
                if scored and (source, split) not in known]  # fmt: skip


def _labelled(methods: tuple[Method, ...]) -> dict[str, Method]:
    """Return methods and their variants by label, a number behind a label that is taken."""
    labelled: dict[str, Method] = {}
    numbers: Counter[str] = Counter()  # of each label, so that thousands of one are numbered in linear time
    for method in methods:
        for label, variant in method.variants().items():
            while label in labelled or label == ORIGINAL:
                bare = label.split(" #")[0]
                numbers[bare] += 1
                label = f"{bare} #{numbers[bare] + 1}"
            labelled[label] = variant
    return labelled
