"""Pipeline: runs the stages of a recipe, each only when its result is not in the store."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.components import Evaluator, Generator, Method, identity, plain
from pdiff.context import Context, derive
from pdiff.data import DatasetSplits, some
from pdiff.engine import work as stages
from pdiff.engine.observe import Observed, notify
from pdiff.engine.recalibrate import recalibrated
from pdiff.engine.store import Stage, Store
from pdiff.errors import UserError
from pdiff.files import load_tensors, read_json, save_tensors
from pdiff.objective import Objective
from pdiff.populations.predictor import LogProbabilities, Measured, Predictor
from pdiff.recipe.tables import Recipe
from pdiff.running.device import device_for, placed, precision_for
from pdiff.running.progress import Progress
from pdiff.running.snapshot import Snapshot
from pdiff.symmetry.align import aligner
from pdiff.view import ORIGINAL, View
from pdiff.zoo import Zoo


class Pipeline:
    """The stages of one recipe, over one store."""

    def __init__(self, recipe: Recipe, name: str, progress: Progress | None = None):
        self.recipe, self.name, self.progress = recipe, name, progress or Progress()
        self._said: set[str] = set()
        self.store = Store(Path(recipe.run.out) / "store")
        self.device = device_for(recipe.run.device)

    # What there is to do

    @functools.cached_property
    def train_stage(self) -> Stage:
        return stages.train_stage(self.recipe)

    @functools.cached_property
    def collect_stage(self) -> Stage:
        return stages.collect_stage(self.recipe, self.train_stage)

    @functools.cached_property
    def zoo_stage(self) -> Stage:
        """The stage that holds the checkpoints in use."""
        return stages.zoo_stage(self.recipe, self.collect_stage)

    @functools.cached_property
    def methods(self) -> dict[str, Method]:
        """The recipe's method and its baselines, by source: the label in every table."""
        found: dict[str, Method] = {}
        for method in (self.recipe.method, *self.recipe.baseline):
            for label, variant in method.variants().items():
                number = 2
                while label in found or label == ORIGINAL:
                    label, number = f"{label.split(' #')[0]} #{number}", number + 1
                found[label] = variant
        return found

    @property
    def method(self) -> str:
        """The source that is the recipe's method."""
        return next(iter(self.methods))

    def fit_stage(self, source: str) -> Stage:
        return stages.fit_stage(self.recipe, self.zoo_stage, self.methods[source])

    def sample_stage(self, source: str, count: int = 0, draw: int = 0) -> Stage:
        sample = self.recipe.sample
        count = count or (sample.count if source == self.method else sample.baseline_count)
        temperature = sample.temperature if source == self.method else 1.0
        return stages.sample_stage(
            self.recipe, self.fit_stage(source), self.methods[source], count, draw, temperature
        )  # fmt: skip

    @property
    def populations(self) -> dict[str, Stage]:
        """Source -> the stage that holds its networks."""
        return {ORIGINAL: self.zoo_stage} | {source: self.sample_stage(source) for source in self.methods}

    def evaluate_stage(self, evaluator: Evaluator) -> Stage:
        return stages.evaluate_stage(self.recipe, self.populations, evaluator)

    def plan(self) -> Iterator[tuple[str, Stage]]:
        """Yield (what, stage) for everything that the recipe leads to, but predictions, which evaluators ask for."""
        yield "train", self.train_stage
        yield "collect", self.collect_stage
        if self.zoo_stage != self.collect_stage:
            yield "zoo", self.zoo_stage
        for source in self.methods:
            yield f"fit {source}", self.fit_stage(source)
            yield f"sample {source}", self.sample_stage(source)
        for evaluator in self.recipe.evaluate:
            yield f"evaluate {evaluator.name}", self.evaluate_stage(evaluator)

    # Doing it

    def _do(self, stage: Stage, seed_words: tuple[Any, ...], work: Callable[[Path, Context], None]) -> Path:
        """Compute a stage unless it is there, with its own seed, snapshot and observers."""

        computed = False

        def observed(part: Path) -> None:
            nonlocal computed
            computed = True
            notify(self.progress, "stage_started", stage=stage.name, key=stage.key, run=self.name, config=stage.config)
            ctx = self.context(*seed_words, folder=part, progress=Observed(self.progress, stage))
            work(part, ctx)

        folder = self.store.compute(stage, observed, waiting=self.progress.say)
        if computed:  # and not waited for, while another run computed it
            seconds = self.store.seconds(stage)
            notify(self.progress, "stage_finished", stage=stage.name, key=stage.key, seconds=seconds)
        return folder

    def _warn(self, line: str) -> None:
        """Warn of a thing once."""
        if line not in self._said:
            self._said.add(line)
            self.progress.say(f"warning: {line}")

    def context(self, *words: Any, folder: Path | None = None, progress: Progress | None = None) -> Context:
        run = self.recipe.run
        return Context(
            seed=derive(self.recipe.seed, *words), device=self.device, progress=progress or self.progress,
            snapshot=Snapshot(folder), data_root=Path(run.data), download=run.download, batch_size=run.batch_size,
            threads=run.threads, precision=precision_for(run.precision, self.device), graphs=run.graphs,
            warn=self._warn,
        )  # fmt: skip

    @functools.cached_property
    def data(self) -> DatasetSplits:
        """The dataset. Raises UserError when a split that the protocol needs is empty."""
        data = self.recipe.dataset.load(self.context("data"))
        for split in {"train", "test", self.recipe.selection}:
            if not len(data.split(split)):
                raise UserError(
                    f"dataset {self.recipe.dataset.name}: the {split} split is empty; "
                    f"protocol = {self.recipe.protocol!r} selects on {self.recipe.selection}"
                )
        return data

    def train(self) -> Path:
        recipe = self.recipe

        def work(part: Path, ctx: Context) -> None:
            model = stages.build_network(recipe.architecture, self.data, recipe.seed)
            stages.do_train(model, recipe.train, self.data, recipe.selection, recipe.task, part, ctx)

        return self._do(self.train_stage, ("train",), work)

    def base_network(self) -> nn.Module:
        """Return a new copy of the base network, as the train stage left it."""
        state = load_tensors(self.train() / "network.safetensors")
        model = self.build(0)
        model.load_state_dict(state)
        return model

    @functools.cached_property
    def zoo(self) -> Zoo:
        def work(part: Path, ctx: Context) -> None:
            stages.do_collect(self.recipe, self.base_network(), self.data, part, ctx)

        self.train()
        collected = self._do(self.collect_stage, ("collect",), work)
        if self.zoo_stage == self.collect_stage:
            return Zoo.open(collected)

        def use(part: Path, ctx: Context) -> None:
            stages.do_zoo(self.recipe, self.data, collected, part, ctx)

        return Zoo.open(self._do(self.zoo_stage, ("zoo",), use))

    @property
    def holdout(self) -> Tensor | None:
        """The checkpoints that are held out, theta_HD."""
        self.zoo  # noqa: B018 - its stage writes them
        path = self.store.folder(self.zoo_stage) / "holdout.safetensors"
        return load_tensors(path)["theta"] if self.recipe.zoo.holdout else None

    @property
    def holdout_rows(self) -> list[dict[str, Any]]:
        """Their rows."""
        path = self.store.folder(self.zoo_stage) / "holdout.json"
        return read_json(path) if self.recipe.zoo.holdout else []

    def align(self) -> Callable[[Tensor], Tensor] | None:
        """Return what aligns networks to the first checkpoint; None where no units can be reordered."""
        return aligner(self.zoo, self.build(0), torch.zeros(2, *self.data.input_shape), self.context("align"))

    @functools.cached_property
    def network(self) -> nn.Module:
        """A network that holds the zoo's anchor, to be overwritten population by population."""
        model = self.build(0)
        model.load_state_dict(self.zoo.anchor)
        return placed(model, self.device)

    @functools.cached_property
    def predictor(self) -> Predictor:
        """What runs all populations of this run; it finds out once how best to."""
        return Predictor(self.network, self.zoo.layout, self.recipe.task)

    @functools.cache  # noqa: B019 - a pipeline lives as long as its run
    def generator(self, source: str) -> Generator:
        method = self.methods[source]

        def work(part: Path, ctx: Context) -> None:
            stages.do_fit(method, self.zoo, part, self._for_methods(ctx).replace(objective=self.objective))

        zoo = self.zoo
        folder = self._do(self.fit_stage(source), ("fit", method.name), work)
        return stages.load_generator(method, zoo, folder, self.context("fit", method.name))

    def _for_methods(self, ctx: Context) -> Context:
        measure = functools.partial(self.measure, split=self.recipe.selection)
        return ctx.replace(score=self.score, measure=measure, measures=self.measures, build=self.build)

    @property
    def objective(self) -> Objective:
        return Objective(self.network, self.zoo.layout, self.recipe.task, self.data.train)

    def build(self, seed: int) -> nn.Module:
        """Return a new network, as its architecture initialises it."""
        return stages.build_network(self.recipe.architecture.model_copy(update={"weights": ""}), self.data, seed)

    def start(self, seed: int) -> Tensor:
        """Return the selected parameters of a new network, theta_D."""
        return self.zoo.layout.vector(self.build(seed).state_dict())

    def measure(self, theta_MD: Tensor, split: str) -> dict[str, Tensor]:
        """Return the task's measures of networks on a split, `[M]` each in float64."""
        part, ctx = self.data.split(split), self.context("measure", progress=Progress())
        sums = self._measurer.predict(theta_MD, part, ctx, "measure").sum(dim=1) / len(part)
        return dict(zip(self.recipe.task.measures, sums.unbind(dim=1), strict=True))

    @functools.cached_property
    def _measurer(self) -> Predictor:
        return Predictor(self.network, self.zoo.layout, Measured(self.recipe.task), steady=True)

    def measures(self) -> dict[str, Tensor]:
        """Return the measures of the zoo's checkpoints on the selection split, from the store where they are there."""
        if not self.recipe.task.measures:
            return {}
        stage = stages.measure_stage(self.recipe, self.zoo_stage)

        def work(part: Path, ctx: Context) -> None:
            save_tensors(part / "measures.safetensors", self.measure(self.zoo.theta_ND, self.recipe.selection))

        return load_tensors(self._do(stage, ("measure",), work) / "measures.safetensors")

    def score(self, theta_MD: Tensor) -> Tensor:
        """Return the scores `[M]` of networks on the selection split."""
        split = self.data.split(self.recipe.selection)
        ctx = self.context("score", progress=Progress())
        return self.recipe.task.score(self.predictor.predict(theta_MD, split, ctx, "score"), split.targets)

    def sample(self, source: str, count: int = 0, draw: int = 0) -> Tensor:
        """Return theta_MD of a source; `original` gives the zoo."""
        if source == ORIGINAL:
            return self.zoo.theta_ND
        stage = self.sample_stage(source, count, draw)

        if not self.store.has(stage):
            self.generator(source)  # its own stage comes first, and is not counted as time of this one

        def work(part: Path, ctx: Context) -> None:
            def finish(theta_MD: Tensor) -> Tensor:
                return self._finished(theta_MD, stage.config, ctx)

            own = self._for_methods(ctx).replace(score=lambda theta_MD: self.score(finish(theta_MD)))
            stages.do_sample(self.generator(source), stage.config["count"], finish, self.zoo.layout, source, part, own)

        folder = self._do(stage, ("sample", self.methods[source].name, draw), work)
        for line in self.generator(source).warnings():
            self._warn(line)
        return load_tensors(folder / "samples.safetensors")["theta"]

    def _finished(self, theta_MD: Tensor, config: Mapping[str, Any], ctx: Context) -> Tensor:
        """Return sampled networks as `[sample]` asks for them: tempered, and their BatchNorm statistics taken anew."""
        if "temperature" in config:
            theta_MD = self.zoo.tempered(theta_MD, config["temperature"])
        if examples := config.get("batchnorm_recalibration"):
            theta_MD = recalibrated(theta_MD, self.network, self.zoo.layout, self.data.train, examples, ctx)
        return theta_MD

    @functools.cache  # noqa: B019
    def predictions(self, source: str, split: str) -> Tensor:
        """Return the predictions `[M, E, ...]` of a source on a split, from the store where they are there."""
        stage = stages.predict_stage(self.populations[source], split)

        def work(part: Path, ctx: Context) -> None:
            theta_MD, what = self.sample(source), f"predict {source} ({split})"
            stages.do_predict(self.predictor, theta_MD, self.data.split(split), part, ctx, what)

        known = source == ORIGINAL and split == self.recipe.selection  # as collecting ended
        folder = self.store.folder(self.zoo_stage) if known else self._do(stage, ("predict",), work)
        return load_tensors(folder / "predictions.safetensors")["predictions"]

    @torch.no_grad()
    def _log_probabilities(self, source: str, split: str, most: int) -> tuple[Tensor, Tensor] | None:
        part = some(self.data.split(split), most, self.context("some", split).generator("examples"))
        first = part.batch(torch.zeros(1, dtype=torch.int64), self.device)
        if self.recipe.task.log_probabilities(self.network.eval(), first.inputs) is None:
            return None
        what = f"probabilities {source} ({split})"
        return self._prober.predict(self.sample(source), part, self.context("predict"), what), part.targets

    @functools.cached_property
    def _prober(self) -> Predictor:
        return Predictor(self.network, self.zoo.layout, LogProbabilities(self.recipe.task))

    def _predict_networks(self, theta_MD: Tensor, split: str) -> Tensor:
        what = f"predict ({split})"
        return self.predictor.predict(theta_MD, self.data.split(split), self.context("predict"), what)

    def view(self, scores: dict[str, Any] | None = None) -> View:
        theta = {source: self.sample(source) for source in self.populations}
        generators = {source: self.generator(source) for source in self.methods}
        logs = {"train": read_json(self.train() / "log.json")} | {s: g.log for s, g in generators.items()}
        return View(
            recipe=self.recipe, name=self.name, zoo=self.zoo, theta=theta, method=self.method, methods=self.methods,
            generators=generators, predict=self.predictions, predict_networks=self._predict_networks,
            log_probabilities=self._log_probabilities,
            targets=lambda split: self.data.split(split).targets, logs=logs, scores=scores or {},
            measures=self.measures, measure=self.measure, start=self.start, objective=self.objective,
            holdout=self.holdout, holdout_rows=self.holdout_rows, find_align=self.align,
        )  # fmt: skip

    def evaluate(self, evaluator: Evaluator) -> dict[str, Any]:
        def work(part: Path, ctx: Context) -> None:
            stages.do_evaluate(evaluator, self.view(), part, ctx)

        return read_json(self._do(self.evaluate_stage(evaluator), ("evaluate", evaluator.name), work) / "scores.json")

    def scores(self, extra: tuple[Evaluator, ...] = ()) -> dict[str, Any]:
        """Run every stage up to the evaluators, and return what they gave, put together."""
        self.zoo  # noqa: B018 - in the order of the table, so that the base network comes first
        for source in self.methods:
            self.sample(source)
        evaluators = [*self.recipe.evaluate, *extra]
        networks = {source: {"count": len(self.sample(source))} for source in self.populations}
        scores: dict[str, Any] = {
            "run": self.name, "recipe": self.recipe.table(), "protocol": self.recipe.protocol,
            "selection": self.recipe.selection, "method": self.method, "main": self.recipe.task.metric,
            "device": str(self.device), "parameters": self.zoo.layout.dim, "networks": networks,
            "stages": [self.train_stage.folder_name, self.collect_stage.folder_name],
            "columns": {e.name: [list(column) for column in e.columns] for e in evaluators},
            "legends": [e.legend for e in evaluators if e.legend],
            "facts": {source: self.generator(source).facts for source in self.methods},
            "base": read_json(self.train() / "result.json"), "expect": plain(self.recipe.expect),
        }  # fmt: skip
        for evaluator in evaluators:
            own = self.evaluate(evaluator)
            for source, values in own.pop("networks", {}).items():
                networks[source][evaluator.name] = values
            scores[evaluator.name] = own
        scores["seconds"] = {what: self.store.seconds(stage) for what, stage in self.plan()}
        return json.loads(json.dumps(scores))


def run_key(recipe: Recipe) -> str:
    """Return the first 8 digits of the hash of everything that decides the run."""
    parts = {name: identity(getattr(recipe, name)) for name in type(recipe).model_fields if name != "run"}
    return Stage("run", parts | {"train": stages.train_stage(recipe).key}).key[:8]
