"""Pipeline: does what a plan asks for, each stage only when its result is not in the store."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pdiff.components import Evaluator, Generator
from pdiff.context import Context, derive
from pdiff.data import DatasetSplits
from pdiff.engine import work
from pdiff.engine.bench import RunBench
from pdiff.engine.observe import notify
from pdiff.engine.plan import Plan
from pdiff.errors import UserError, as_baseline, of_baseline
from pdiff.files import load_tensors, read_json, save_tensors, write_json
from pdiff.networks import blank_network, build_network, extended
from pdiff.running import ranks
from pdiff.running.device import device_for, precision_for
from pdiff.running.memory import told_when_out
from pdiff.running.progress import Progress, Told
from pdiff.running.snapshot import Snapshot
from pdiff.running.store import Stage, Store
from pdiff.splits import checked, told_when_unfit
from pdiff.training.base_network import do_train
from pdiff.view import ORIGINAL, View
from pdiff.zoo import Zoo
from pdiff.zoo import about as about_of


class Pipeline:
    """The work of one plan, over one store."""

    def __init__(self, plan: Plan, name: str, progress: Progress | None = None):
        self.plan, self.name, self.progress = plan, name, progress or Progress()
        self.recipe = plan.recipe
        self.patient = True
        """Off: a stage that another process computes raises Busy, unless one that is under way needs it."""
        self._said, self._under_way = set[str](), 0
        # Caches of its own: a cache of the class would keep every pipeline, networks and all, as long as the process.
        self.generator = functools.cache(self.generator)  # type: ignore[method-assign]
        self.predictions = functools.cache(self.predictions)  # type: ignore[method-assign]
        self.store = Store.at(self.recipe.run.out, name, self.progress)
        self.device = device_for(self.recipe.run.device, self.recipe.run.precision)

    def _do(
        self, stage: Stage, seed_words: tuple[Any, ...], do: Callable[[Path, Context], None], what: str = ""
    ) -> Path:
        """Compute a stage unless it is there, with its own seed, snapshot and observers; `what` tells it in a line."""
        computed = False

        def observed(folder: Path) -> None:
            nonlocal computed
            computed = True
            self._under_way += 1
            self.progress.begins(stage.name, what)
            named = {"stage": stage.name, "key": stage.key}
            notify(self.warn, "stage_started", run=self.name, config=stage.config, **named)

            def tell(what: str, step: int, values: dict[str, float]) -> None:
                notify(self.warn, "stage_progress", what=what, step=step, values=values, **named)

            try:
                with told_when_out(stage.name):
                    do(folder, self.context(*seed_words, folder=folder, progress=Told(self.progress, tell)))
            finally:
                self._under_way -= 1

        def stored(work: Callable[[Path], None]) -> Path:
            return self.store.compute(stage, work, self.progress.say, self.patient or self._under_way > 0)

        folder = ranks.led(stored, observed)
        seconds = self.store.seconds(stage) if computed else None  # None too where another run computed it meanwhile
        self.progress.took(stage.name, what, seconds)
        if seconds is not None:
            notify(self.warn, "stage_finished", stage=stage.name, key=stage.key, seconds=seconds)
        return folder

    def warn(self, line: str) -> None:
        """Warn of a thing once."""
        if line not in self._said:
            self._said.add(line)
            self.progress.say(f"warning: {line}")

    def context(self, *words: object, folder: Path | None = None, progress: Progress | None = None) -> Context:
        """Return the context of a purpose: `words` decide its seed."""
        run = self.recipe.run
        return Context(
            seed=derive(self.recipe.seed, *words), device=self.device, progress=progress or self.progress,
            snapshot=Snapshot(folder), data_root=Path(run.data), download=run.download, batch_size=run.batch_size,
            threads=run.threads, precision=precision_for(run.precision, self.device), graphs=run.graphs,
            shard=run.shard, warn=self.warn,
        )  # fmt: skip

    @functools.cached_property
    def data(self) -> DatasetSplits:
        """The dataset. Raises UserError when a split that the protocol needs is empty, or holds what it should not."""
        needed = {"train", "test", self.recipe.selection}
        with ranks.leader_first():
            data = self.recipe.dataset.load(self.context("data"))
        for split in needed:
            if not len(data.split(split)):
                raise UserError(
                    f"dataset {self.recipe.dataset.name}: the {split} split is empty; "
                    f"protocol = {self.recipe.protocol!r} selects on {self.recipe.selection}"
                )
        task = self.recipe.task
        data = checked(data, self.recipe.dataset.name, task, needed)
        return replace(data, outputs=task.outputs(data.outputs), classes=data.outputs)

    def train(self) -> Path:
        recipe = self.recipe

        def do(folder: Path, ctx: Context) -> None:
            data = self.data
            with ranks.leader_first():  # it may fetch weights
                model = build_network(recipe.architecture, data, recipe.seed, ctx.progress.say)
            with told_when_unfit(model, self.data, recipe.task, recipe.architecture.name, recipe.dataset.name):
                work.layout_for(recipe, model, data, folder)  # what is wrong with it is told before anything is trained
                data = work.for_base(recipe, self.data)
                do_train(model, recipe.train, data, recipe.selection, recipe.task, folder, ctx)

        return self._do(self.plan.train, ("train",), do)

    def base_network(self) -> nn.Module:
        """Return a new copy of the base network, as the train stage left it."""
        state = load_tensors(self.train() / "network.safetensors")
        model = blank_network(self.recipe.architecture, self.data, 0)
        model.load_state_dict(state)
        return model

    def bench_of(self, zoo: Zoo, measures: Callable[[], dict[str, Tensor]] | None = None) -> RunBench:
        """Return the services of a zoo."""
        recipe = self.recipe
        return RunBench(
            recipe.architecture, recipe.task, lambda: self.data, recipe.selection, zoo, self.context, measures,
            recipe.encoder, recipe.dataset.preprocess, recipe.selector, recipe.train,
        )  # fmt: skip

    @functools.cached_property
    def bench(self) -> RunBench:
        """The services of the zoo in use."""
        return self.bench_of(self.zoo, self.measures)

    @functools.cached_property
    def zoo(self) -> Zoo:
        """The checkpoints in use."""
        return Zoo.open(self._zoo())

    def _zoo(self) -> Path:
        self.train()
        collected = self._do(self.plan.collect, ("collect",), self._collect)
        if self.plan.zoo == self.plan.collect:
            return collected

        def use(folder: Path, ctx: Context) -> None:
            work.do_zoo(collected, self.recipe, self.bench_of, folder, ctx)

        return self._do(self.plan.zoo, ("zoo",), use, "zoo")

    def _collect(self, folder: Path, ctx: Context) -> None:
        model, recipe = self.base_network(), self.recipe
        layout = work.layout_for(recipe, model, self.data, folder)
        extended(model, recipe.selector, recipe.seed)
        base = Zoo.of_one({key: value.clone() for key, value in model.state_dict().items()}, layout)
        work.do_collect(recipe, model, self.data, layout, self.bench_of(base), folder, ctx)

    def measures(self) -> dict[str, Tensor]:
        """Return the measures of the zoo's checkpoints on the selection split, from the store where they are there."""
        if not self.recipe.task.measures:
            return {}

        def do(folder: Path, ctx: Context) -> None:
            save_tensors(folder / "measures.safetensors", self.bench.measure(self.zoo.theta_ND))

        return load_tensors(self._do(self.plan.measure, ("measure",), do) / "measures.safetensors")

    def generator(self, source: str) -> Generator:
        """Return a fitted method."""
        method, zoo = self.plan.methods[source], self.zoo

        def do(folder: Path, ctx: Context) -> None:
            label = source if source != self.plan.method else ""
            with of_baseline(label):
                ctx = ctx.replace(warn=lambda line: self.warn(as_baseline(label, line)))
                work.do_fit(method, zoo, self.bench, folder, ctx)

        folder = self._do(self.plan.fit(source), ("fit", method.name), do, source)
        return work.load_generator(method, zoo, self.bench, folder, self.context("fit", method.name))

    def sample(self, source: str, count: int = 0, draw: int = 0, quiet: bool = False) -> Tensor:
        """Return theta_MD of a source; `original` gives the zoo. `quiet`: without warnings, which need the data."""
        if source == ORIGINAL:
            return self.zoo.theta_ND
        stage, steps = self.plan.sample(source, count, draw), self.plan.steps(source)
        count = stage.config["count"]

        def asked(ctx: Context) -> list[dict[str, Any]] | None:
            return work.asked_for(
                self.generator(source), count, self.plan.about, self.recipe, self.zoo, self.bench, source, ctx,
                baseline=source != self.plan.method,
            )  # fmt: skip

        if not ranks.agreed(self.store.has(stage)):
            self.generator(source)  # its own stage comes first, and is not counted as time of this one
            if self.plan.about and (about := asked(self.context("about"))):
                self.bench.encode(about[:1])  # what cannot be asked is refused before anything is written

        def do(folder: Path, ctx: Context) -> None:
            finish = functools.partial(work.finished, steps=steps, zoo=self.zoo, bench=self.bench, ctx=ctx)
            work.do_sample(
                self.generator(source), count, asked(ctx), finish, self.zoo, self.bench, source, folder, ctx
            )  # fmt: skip

        folder = self._do(stage, ("sample", self.plan.methods[source].name, draw), do, source)
        for line in () if quiet else self.generator(source).warnings():
            self.warn(line)
        return load_tensors(folder / "samples.safetensors")["theta"]

    def about(self, source: str, count: int = 0, draw: int = 0) -> list[dict[str, Any]] | None:
        """Return what the networks of `sample` are each for; None where they are for nothing in particular."""
        if source == ORIGINAL:
            about = [about_of(row) for row in self.zoo.rows]
            return about if all(about) else None
        self.sample(source, count, draw, quiet=True)
        path = self.store.folder(self.plan.sample(source, count, draw)) / work.ABOUT
        return read_json(path) if path.is_file() else None

    def scores(self, theta_MD: Tensor, about: list[dict[str, Any]] | None) -> list[float]:
        """Return the scores of networks on the selection split, each on what it is about where tasks differ."""
        return self.bench.score(theta_MD, about).tolist()

    @functools.cached_property
    def theta(self) -> dict[str, Tensor]:
        """The populations by source: one tensor each for all views, so that what is known of it stands."""
        return {source: self.sample(source) for source in self.plan.populations}

    def predictions(self, source: str, split: str) -> Tensor:
        """Return the predictions `[M, E, ...]` of a source on a split, from the store where they are there."""

        def do(folder: Path, ctx: Context) -> None:
            theta_MD, what = self.sample(source), f"predict {source} ({split})"
            predictions = self.bench.predictor.predict(theta_MD, self.data.split(split), ctx, what)
            save_tensors(folder / "predictions.safetensors", {"predictions": predictions})

        known = source == ORIGINAL and split == self.recipe.selection  # as collecting ended
        folder = self._zoo() if known else self._do(self.plan.predict(source, split), ("predict",), do)
        return load_tensors(folder / "predictions.safetensors")["predictions"]

    def view(self, scores: dict[str, Any] | None = None, extra: Sequence[Evaluator] = ()) -> View:
        """Return what evaluators see, or, with scores, what reports see; `extra` are evaluators beside the recipe's."""
        generators = {source: self.generator(source) for source in self.plan.methods}
        logs = {"train": read_json(self.train() / "log.json")} | {s: g.log for s, g in generators.items()}
        return View(
            recipe=self.recipe, name=self.name, zoo=self.zoo, theta=self.theta, method=self.plan.method,
            methods=self.plan.methods, generators=generators, bench=self.bench, predictions=self.predictions,
            targets=lambda split: self.data.split(split).targets, logs=logs, scores=scores or {},
            evaluators={evaluator.name: evaluator for evaluator in (*self.recipe.evaluate, *extra)}, warn=self.warn,
        )  # fmt: skip

    def evaluate(self, evaluator: Evaluator) -> dict[str, Any]:
        """Return what an evaluator gives."""

        def do(folder: Path, ctx: Context) -> None:
            write_json(folder / "scores.json", evaluator.evaluate(self.view(), ctx))

        folder = self._do(self.plan.evaluate(evaluator), ("evaluate", evaluator.name), do, evaluator.name)
        scores: dict[str, Any] = read_json(folder / "scores.json")
        return scores
