"""Run: what a finished run gives."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn

from pdiff.bench import Bench
from pdiff.components import Encoder, Evaluator, Family, Method, identity
from pdiff.context import Context
from pdiff.engine.observe import notify
from pdiff.engine.pipeline import Pipeline
from pdiff.engine.plan import Plan
from pdiff.engine.preflight import lacking
from pdiff.engine.scores import scores_of
from pdiff.ensembles import Ensemble
from pdiff.errors import Faults, UserError, did_you_mean
from pdiff.files import write_json
from pdiff.folders import check_format, write_folders
from pdiff.members import check_average, temperatures, told
from pdiff.plugins.discovery import registry
from pdiff.plugins.listing import default_evaluator
from pdiff.recipe.faults import faults
from pdiff.recipe.tables import Recipe
from pdiff.results import pages
from pdiff.results.export import in_name, in_words, number_of, shortened, write_network, write_networks, write_scored
from pdiff.results.runs import SCORES, read_scores
from pdiff.results.scores import scored
from pdiff.running.locks import run_locked
from pdiff.running.store import Stage
from pdiff.view import ORIGINAL
from pdiff.zoo import Zoo

ASKED = ("condition", "text", "examples")
"""Words by which a network is asked for, whatever encoder the run has."""


class Run:
    """A finished run: its scores, its networks, its files."""

    def __init__(self, folder: Path, pipeline: Pipeline, drawing: str = ""):
        """`drawing`: the options of sampling that are not the recipe's, as names of files show them."""
        self.folder, self.pipeline, self.drawn_with = folder, pipeline, drawing
        self._order = functools.cache(self._order)  # type: ignore[method-assign]
        self._ensemble = functools.lru_cache(1)(self._placed)

    def __repr__(self) -> str:
        return f"<Run {self.folder}: {', '.join(self.sources)}>"

    @property
    def recipe(self) -> Recipe:
        return self.pipeline.recipe

    @property
    def sources(self) -> list[str]:
        """`original`, the method, then the baselines, by their labels."""
        return list(self.pipeline.plan.populations)

    @property
    def scores(self) -> dict[str, Any]:
        """Everything the evaluators gave: `networks.<source>.<evaluator>`, and each evaluator's summary."""
        return read_scores(self.folder)

    def theta(self, source: str = "") -> Tensor:
        """Return the parameter vectors theta_MD of a source (default: the method)."""
        return self.pipeline.sample(self._source(source), quiet=True)

    @property
    def zoo(self) -> Zoo:
        """The checkpoints in use."""
        return self.pipeline.zoo

    @property
    def bench(self) -> Bench:
        """The services that the run gives its components."""
        return self.pipeline.bench

    def context(self, *words: object) -> Context:
        """Return device, progress and data folder for a purpose; `words` decide its seed."""
        return self.pipeline.context(*words)

    def draw(self, count: int, *, draw: int = 1, source: str = "") -> Tensor:
        """Return the vectors theta_MD of `count` more networks; another `draw` gives others."""
        return self.pipeline.sample(self._drawn(source), count, draw)

    def networks(self, count: int | None = None, source: str = "") -> list[nn.Module]:
        """Return networks of a source in eval mode, best on the selection split first; all without `count`."""
        order, theta_MD = self._order(self._source(source)), self.theta(source)
        return [self._network(theta_MD[index]) for index in order[:count]]

    def sample(
        self, count: int, draw: int = 1, source: str = "",
        condition: str | Sequence[float] | Tensor | Mapping[str, Any] | None = None,
    ) -> list[nn.Module]:  # fmt: skip
        """Draw `count` more networks; another `draw` gives others, the same gives the same.

        `condition`: what they are asked for, as its vector (`"0110010001"`, or its numbers), or in words by the
        encoder's keys (`{"task": "cat,dog"}`).
        """
        asked = condition if isinstance(condition, Mapping) else {} if condition is None else {"condition": condition}
        run = self.drawing(source, **asked) if asked else self
        return [run._network(theta_D) for theta_D in run.draw(count, draw=draw, source=source)]

    @functools.cached_property
    def preprocess(self) -> nn.Module | None:
        """What makes the networks' inputs of raw examples (of images: bytes of 0..255, or floats of 0..1); or None."""
        return self.recipe.dataset.preprocess()

    def ensemble(self, count: int = 16, source: str = "", raw: bool = False) -> Ensemble:
        """Return the `count` best networks of a source as one module; see `pdiff.ensembles.Ensemble`.

        With `raw` it takes examples as they are before `preprocess`. Raises UserError where that is not known, and of
        networks of which each is for a task of its own.
        """
        check_average(self.pipeline, source := self._source(source), count)
        networks, example = self.networks(count, source), self.pipeline.data.example()
        temperature = None if self.drawn_with else temperatures(self.scores, source).get(len(networks))
        about = told(self.pipeline, source, temperature)
        return Ensemble(networks, self.recipe.task, self.preprocess, raw, example, about)

    def predict(self, x: Any, source: str = "", count: int = 16, raw: bool = False) -> Any:
        """Return what an ensemble says of examples: the mean probabilities `[E, K]`, or else the mean outputs.

        `x`: an array (then so is what is returned), a tensor, or a tuple or a dict of such, on the run's device.
        """
        return self._ensemble(count, self._source(source), raw).predict(x)

    def drawing(self, source: str = "", **options: Any) -> Run:
        """Return this run with other options of a source's method that are read when sampling (default: the method).

        Such as `guidance = 2`, or, of a method that takes prompts, `prompt = {"loss": 0.2}`, `start` and `recursive`;
        of one that takes conditions what the networks are asked for, by the keys that the run's encoder reads:
        `label = 7`. Raises UserError where the method does not have them, or does not take the value.
        """
        plan, source = self.pipeline.plan, self._drawn(source)
        about = self._asked(plan.methods[source], options)
        others = {key: value for key, value in options.items() if key not in about}
        method = _changed(plan.methods[source], others, self.recipe.encoder)
        if others and (lines := lacking(self.recipe, "method", [method])):
            raise Faults(lines)
        changed = Plan(
            self.recipe, train=plan.train, collect=plan.collect, methods=plan.methods | {source: method},
            about=about or plan.about,
        )  # fmt: skip
        named = "".join(f"-{key}-{in_name(about[key] if key in about else getattr(method, key))}" for key in options)
        pipeline = Pipeline(changed, self.folder.name, self.pipeline.progress)
        return Run(self.folder, pipeline, shortened(self.drawn_with + named))

    def _asked(self, method: Method, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of the options that say what networks are asked for. Raises UserError."""
        encoder = self.recipe.encoder
        reads = encoder.reads if encoder else ()
        keys = [key for key in options if key not in method.sampling and (key in reads or "*" in reads or key in ASKED)]
        if keys and not encoder:
            raise UserError(
                f"{keys[0]}: the run has no conditions: its recipe has no [encoder], such as name = 'bits'; add one, "
                "and run it again"
            )
        for key in keys:
            if encoder and "*" not in reads and key not in reads:
                others = " or ".join(f"{known}=..." for known in reads)
                raise UserError(f"{key}: encoder {encoder.name} cannot be asked by it; say {others}")
        return {key: in_words(options[key]) for key in keys}

    def _as_recipe(self, what: str) -> None:
        """Raise UserError where options of sampling are not the recipe's: files of the run are of the recipe's."""
        if self.drawn_with:
            as_it_is = f"{what} is of the run as its recipe has it, not of other options"
            raise UserError(f"{self.folder.name}: {as_it_is}; ask the run itself, not its drawing()")

    def sample_to(
        self, folder: Path | None, *, count: int, draw: int = 1, source: str = "", overwrite: bool = False
    ) -> tuple[Path, list[tuple[str, float]]]:
        """Draw networks into a folder of safetensors (by default one in the run's folder, of a name of its own).

        Returns the folder, and (file name, score on the selection split) for each network: NaN where a family cannot
        ask examples for what was told in a person's words or images.
        """
        source = self._drawn(source)
        named = f"samples-{source.replace(' ', '-')}-{count}-draw-{draw}{self.drawn_with}"
        theta_MD = self.pipeline.sample(source, count, draw)
        about = self.pipeline.about(source, count, draw)
        scored = {"split": self.recipe.selection, "scores": self.pipeline.scores(theta_MD, about)}
        scored |= {"about": about} if about else {}
        return write_scored(self._state, theta_MD, scored, folder or self.folder / named, self.folder, overwrite)

    def render(self, folder: Path, *, count: int, draw: int = 1, source: str = "") -> list[Path]:
        """Let plugins draw what a source's networks of a draw show, and return the files. Raises UserError."""
        before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
        notify(
            self.pipeline.warn, "render_samples", recipe=self.recipe, zoo=self.zoo, bench=self.bench,
            theta_MD=self.draw(count, draw=draw, source=source), ctx=self.context("data"), folder=folder,
        )  # fmt: skip
        files = [path for path in sorted(folder.iterdir()) if path.stat().st_mtime_ns != before.get(path)]
        if not files:
            raise UserError(f"--render: networks of task {self.recipe.task.name} are no pictures; leave it out")
        return files

    def asked(self, count: int, draw: int = 1, source: str = "") -> dict[str, list[tuple[float, float]]]:
        """Return what networks of a draw were asked for and have on the selection split, by measure; else nothing."""
        method = self.pipeline.plan.methods[self._drawn(source)]
        wanted = method.asked()
        measured = self.measures(count, draw, source) if wanted else {}
        return {name: [(value, got) for got in measured[name]] for name, value in wanted.items()}

    def about(self, count: int = 0, draw: int = 0, source: str = "") -> list[dict[str, Any]] | None:
        """Return what the networks of a draw are each for (by default of the run); None: nothing in particular."""
        return self.pipeline.about(self._source(source), count, draw)

    def measures(self, count: int, draw: int = 1, source: str = "") -> dict[str, list[float]]:
        """Return the task's measures (what networks can be asked for) of drawn networks on the selection split."""
        theta_MD = self.draw(count, draw=draw, source=source)
        return {name: values.tolist() for name, values in self.pipeline.bench.measure(theta_MD).items()}

    def state_dict(self, which: str | int = "best", source: str = "") -> dict[str, Tensor]:
        """Return a whole state dict: `best` on the selection split, or a network by its number."""
        return self._state(self.theta(source)[self.number(which, source)])

    def number(self, which: str | int = "best", source: str = "") -> int:
        """Return the number of a network; which is best the run's scores say, so that no data is needed."""
        source = self._source(source)
        if which != "best":
            return number_of(which, len(self.theta(source)), source)
        return self._best(source)

    def export(
        self, to: str | Path | None = None, *, which: str | int = "best", source: str = "", every: bool = False,
        overwrite: bool = False, format: str = "", **options: Any,
    ) -> list[Path]:  # fmt: skip
        """Write one network to a file, or every network of the source to a folder; return the paths.

        By default they lie in the run's folder, under names of their own. `format`: one of the selector's, with its
        `options`; each network is a folder then, and the network that they were added to lies beside them.
        """
        named, to = in_name(self._source(source)) + self.drawn_with, Path(to) if to else None
        check_format(format, options, self.recipe.selector)
        if format:
            to = to or self.folder / f"network{'s' * every}-{named}{'' if every else f'-{which}'}-{format}"
            numbers = range(len(self.theta(source))) if every else [self.number(which, source)]
            paths = {to / f"network-{number:04d}" if every else to: number for number in numbers}
            return write_folders(self.pipeline, self._source(source), format, options, paths, to, overwrite)
        if every:
            return write_networks(self._state, self.theta(source), to or self.folder / f"networks-{named}", overwrite)
        to = to or self.folder / f"network-{named}-{which}.safetensors"
        return [write_network(to, lambda: self.state_dict(which, source), overwrite)]

    def evaluate(self, more: Sequence[str] = ()) -> dict[str, Any]:
        """Return the scores, with those of further evaluators (now and before), and keep them. Raises UserError."""
        self._as_recipe("evaluate")
        if lines := lacking(self.recipe, "evaluate", added(more, self.recipe)):
            raise Faults(lines)
        scores = scores_of(self.pipeline, added([*self.scores["columns"], *more], self.recipe))
        with run_locked(self.folder):
            write_json(self.folder / SCORES, scores)
        return scores

    def report(self, again: bool = False) -> list[Path]:
        """Write the recipe's reports below the run's folder unless they are there; return their paths."""
        self._as_recipe("report")
        with run_locked(self.folder):
            scores = self.scores
            wanted = Stage("report", {"scores": scores, "reports": identity(self.recipe.report)}).key
            if not again and (there := pages.whole(self.folder, wanted)) is not None:
                return there
            view, progress = self.pipeline.view(scores, added(scores["columns"], self.recipe)), self.pipeline.progress
            with progress.stage("report"), pages.marked(self.folder, wanted) as paths:
                for report in self.recipe.report:
                    progress.begins("report", report.name)
                    start = time.monotonic()
                    paths.extend(map(Path, report.render(view, self.folder)))
                    progress.took("report", report.name, time.monotonic() - start)
        return paths

    def _source(self, source: str) -> str:
        source = source or self.pipeline.plan.method
        if source not in self.sources:
            near = did_you_mean(source, self.sources)
            raise UserError(
                f"{self.folder.name}: no networks of source {source!r}{near}; there: {', '.join(self.sources)}"
            )
        return source

    def _drawn(self, source: str) -> str:
        """Return a source that can be drawn from."""
        source = self._source(source)
        if source == ORIGINAL:
            raise UserError(
                "original networks are collected, not drawn: pdiff export RUN --source original --all --to DIR"
            )
        return source

    def _best(self, source: str) -> int:
        """Return the network that is best on the selection split; where the scores have it, no data is needed."""
        known = None if self.drawn_with else scored(self.scores).get(source)
        return known["best_index"] if known and "best_index" in known else self._order(source)[0]

    def _order(self, source: str) -> list[int]:
        """Return the source's networks by score on the selection split, best first."""
        split = self.recipe.selection
        if isinstance(self.recipe.task, Family):
            scores = self.pipeline.scores(self.theta(source), self.pipeline.about(source))
            return sorted(range(len(scores)), key=lambda number: (math.isnan(scores[number]), -scores[number]))
        targets = self.pipeline.data.split(split).targets
        score_M = self.recipe.task.score(self.pipeline.predictions(source, split), targets)
        return score_M.argsort(descending=True, stable=True).tolist()

    def _network(self, theta_D: Tensor) -> nn.Module:
        model = self.pipeline.base_network()
        model.load_state_dict(self._state(theta_D))
        return model.eval()

    def _state(self, theta_D: Tensor) -> dict[str, Tensor]:
        """Return a whole state dict as the architecture has it."""
        return self.recipe.selector.plain(self.zoo.state_dict(theta_D))

    def _placed(self, count: int, source: str, raw: bool) -> Ensemble:
        return self.ensemble(count, source, raw).to(self.pipeline.device)


def _changed(method: Method, options: Mapping[str, Any], encoder: Encoder | None) -> Method:
    """Return the method with other options of sampling. Raises UserError."""
    for option in options:
        if option not in method.sampling:
            known, near = ", ".join(method.sampling) or "none", did_you_mean(option, method.sampling)
            having = {c.name for *_, c, _ in registry().offers("method") if option in getattr(c, "sampling", ())}
            others = f"; methods that have it: {', '.join(sorted(having))}" if having else ""
            none = f"{option}: method {method.name} has no such option of sampling"
            asks = f"; the encoder {encoder.name} reads: {', '.join(encoder.reads)}" if encoder else ""
            raise UserError(f"{none}{near}; it has: {known}{others}{asks}")
    before = {key: getattr(method, key) for key in type(method).model_fields}
    try:
        return type(method).model_validate(before | dict(options))
    except ValidationError as error:
        raise Faults(f"method: {line}" for line in faults(error, options, type(method))) from None


def added(names: Iterable[str], recipe: Recipe) -> tuple[Evaluator, ...]:
    """Return the evaluators of these names that are not the recipe's. Raises UserError."""
    recipes = {evaluator.name for evaluator in recipe.evaluate}
    added = [default_evaluator(name) for name in names if name not in recipes]
    return tuple({evaluator.name: evaluator for evaluator in added if evaluator.name not in recipes}.values())
