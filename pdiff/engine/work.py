"""What each stage does, and what it writes. Each is one file away from the next."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.bench import Bench
from pdiff.components import Family, Generator, Method, Transform
from pdiff.context import Context
from pdiff.data import DatasetSplits, TensorSplit
from pdiff.engine.bench import RunBench, predictor_of
from pdiff.engine.gate import gate, warning
from pdiff.errors import UserError
from pdiff.files import load_tensors, read_json, save_rows, save_tensors, write_json
from pdiff.mapped import finite_rows
from pdiff.networks import extended
from pdiff.populations import asked
from pdiff.populations.predictor import Predictor, check
from pdiff.recipe.tables import Recipe
from pdiff.results.scores import Unit
from pdiff.running.device import placed
from pdiff.running.memory import needs
from pdiff.running.progress import Progress
from pdiff.services import Finished
from pdiff.steps import in_turn
from pdiff.zoo import Layout, Zoo
from pdiff.zoo import about as about_of

ABOUT = "about.json"
"""Of a sample stage: what each network is for."""


def layout_for(recipe: Recipe, model: nn.Module, data: DatasetSplits, folder: Path) -> Layout:
    """Return what the selector takes of a network, or adds to it, which is left as it was, and runs on examples.

    Raises UserError where the checkpoints find no room in a stage's folder.
    """
    if recipe.selector.extends:
        model = extended(copy.deepcopy(model), recipe.selector, recipe.seed).eval()
        with torch.no_grad():
            recipe.selector.check(model, lambda: recipe.task.predict(model, data.example()))
    layout = Layout.of(model, recipe.selector.select(model))
    needs("collect", recipe.collect.expected() or 0, layout.dim, "collect.count, or select less", folder)
    return layout


def do_collect(
    recipe: Recipe, model: nn.Module, data: DatasetSplits, layout: Layout, bench: Bench, folder: Path, ctx: Context
) -> None:
    """Collect the zoo, score all checkpoints in one pass on the selection split, and write it."""
    zoo = recipe.collect.collect(
        placed(model, ctx.device), data=data, task=recipe.task, layout=layout, bench=bench, ctx=ctx
    )
    bad = int((~finite_rows(zoo.theta_ND)).sum())
    if bad:
        raise UserError(
            f"collect: {bad} of {len(zoo)} checkpoints hold NaN or Inf; lower collect.lr or remove the files"
        )
    model.load_state_dict(zoo.anchor)
    split, what = data.split(recipe.selection), f"predict original ({recipe.selection})"
    predictor, metric = predictor_of(model, layout, recipe.task, ctx), recipe.task.metric
    if isinstance(recipe.task, Family):
        for part in (zoo, zoo.holdout) if zoo.holdout else (zoo,):
            about = [about_of(row) for row in part.rows]
            if not all(about):
                raise UserError(
                    f"collect: {recipe.collect.name} does not say what each network is about, as task "
                    f"{recipe.task.name} needs; use the collector 'tasks'"
                )
            _check(recipe.task, part.rows, data)
            _put(part.rows, metric, asked.scores(recipe.task, part.theta_ND, about, split, _quietly(predictor, ctx)))
    else:
        predictions = predictor.predict(zoo.theta_ND, split, ctx, what)
        _put(zoo.rows, metric, recipe.task.score(predictions, split.targets))
        save_tensors(folder / "predictions.safetensors", {"predictions": predictions})
    zoo.save(folder)


def _check(family: Family, rows: list[dict[str, Any]], data: DatasetSplits) -> None:
    """Raise UserError that names the first checkpoint whose task is none of the family's."""
    for number, row in enumerate(rows):
        try:
            family.check(about_of(row), data)
        except UserError as error:
            raise UserError(f"collect: {row.get('file', f'network {number}')}: task {family.name}: {error}") from None


def _put(rows: list[dict[str, Any]], metric: str, scores: Tensor) -> None:
    for row, score in zip(rows, scores.tolist(), strict=True):
        row["metrics"].setdefault(metric, score)


def _quietly(predictor: Predictor, ctx: Context) -> asked.Predict:
    ctx = ctx.replace(progress=Progress())
    return lambda theta_MD, split: predictor.predict(theta_MD, split, ctx, "predict")


def do_zoo(collected: Path, recipe: Recipe, bench: Callable[[Zoo], RunBench], folder: Path, ctx: Context) -> None:
    """Write the checkpoints of a collect stage as `[[zoo]]` asks for them, their conditions, and all predictions.

    `bench` gives the services of a zoo: each step has those of the zoo that it is given.
    """
    zoo, steps = Zoo.open(collected), recipe.zoo
    zoo.rows = [row | {"of": index} for index, row in enumerate(zoo.rows)]
    for step, step_ctx in in_turn(steps, ctx):
        zoo = step.zoo(zoo, bench(zoo), step_ctx)
        if len(zoo) < 2:
            raise UserError(f"zoo: the step {step.name} leaves {len(zoo)} checkpoints; methods need 2 at least")
    if recipe.encoder:
        for part in (zoo, zoo.holdout) if zoo.holdout else (zoo,):
            part.condition_NC = bench(zoo).encode([about_of(row) for row in part.rows])
    zoo.save(folder)
    if isinstance(recipe.task, Family):
        return
    if all(step.exact for step in steps):
        lost = [row for row in zoo.rows if "of" not in row]
        if lost:
            names = ", ".join(step.name for step in steps)
            raise UserError(f"zoo: one of the steps {names} lost `of` from its rows; mend its plugin, or leave it out")
        known = load_tensors(collected / "predictions.safetensors")["predictions"]
        predictions = known[[row["of"] for row in zoo.rows]]
    else:
        predictions = bench(zoo).predict(zoo.theta_ND, recipe.selection)
    save_tensors(folder / "predictions.safetensors", {"predictions": predictions})


def finished(theta_MD: Tensor, steps: Sequence[Transform], zoo: Zoo, bench: Bench, ctx: Context) -> Tensor:
    """Return sampled networks as `[[sample.step]]` asks for them."""
    for step, step_ctx in in_turn(steps, ctx):
        theta_MD = step.samples(theta_MD, zoo, bench, step_ctx)
    return theta_MD


def do_fit(method: Method, zoo: Zoo, bench: RunBench, folder: Path, ctx: Context) -> None:
    """Fit a method and write generator.safetensors, log.json and facts.json; say where it can hold little."""
    generator = method.fit(zoo, bench, ctx)
    if told := gate(generator, bench, ctx.scope("gate")):
        generator.facts |= {"gate": told}
        text = Unit.of((told["own"], told["through"]), bench.task.unit).text
        if line := warning(method.name, told, bench.selection, text):
            ctx.warn(line)
    save_tensors(folder / "generator.safetensors", generator.tensors())
    write_json(folder / "log.json", generator.log)
    write_json(folder / "facts.json", generator.facts)


def load_generator(method: Method, zoo: Zoo, bench: Bench, folder: Path, ctx: Context) -> Generator:
    """Rebuild a fitted method from its stage."""
    generator = method.load(load_tensors(folder / "generator.safetensors"), zoo, bench, ctx)
    generator.log, generator.facts = read_json(folder / "log.json"), read_json(folder / "facts.json")
    return generator


def for_base(recipe: Recipe, data: DatasetSplits) -> DatasetSplits:
    """Return the data that the base network learns: of a family, those of the task that it names, or nothing."""
    if not isinstance(recipe.task, Family):
        return data
    base = recipe.task.base()
    if base is not None:
        parts = {name: recipe.task.asked(data.split(name), base) for name in ("train", "validation", "test")}
        return replace(data, **parts)  # type: ignore[arg-type]
    assert not recipe.train.epochs, "see Family.foresee"
    nothing = TensorSplit(torch.empty(0), torch.empty(0))
    return replace(data, **{recipe.selection: nothing})  # type: ignore[arg-type]


def asked_for(
    generator: Generator, count: int, wanted: Mapping[str, Any], recipe: Recipe, zoo: Zoo, bench: Bench, who: str,
    ctx: Context, baseline: bool = False,
) -> list[dict[str, Any]] | None:  # fmt: skip
    """Return what so many networks are to be about; None where the generator takes no conditions.

    Raises UserError where it is asked all the same, but for baselines that the recipe asks with all others.
    """
    if not generator.conditional:
        if wanted and not (baseline and wanted == recipe.sample.about):
            raise UserError(f"{who}: takes no conditions, so that it cannot be asked for {next(iter(wanted))}")
        return None
    known = [about_of(row) for row in zoo.rows]
    if wanted:
        assert recipe.encoder is not None
        words = {key: str(value) for key, value in wanted.items()}
        return [recipe.encoder.read(words, known, bench)] * count
    return [known[row] for row in torch.randint(len(known), (count,), generator=ctx.generator("about")).tolist()]


def do_sample(
    generator: Generator, count: int, about: Sequence[Mapping[str, Any]] | None, finish: Callable[[Tensor], Tensor],
    zoo: Zoo, bench: Bench, who: str, folder: Path, ctx: Context,
) -> None:  # fmt: skip
    """Sample networks, finish them as `[[sample.step]]` asks for, and write them, and what each is about."""
    needs(who, count, zoo.layout.dim, "sample.count, sample.baseline_count or --count", folder)
    services = Finished(bench, finish)
    if about is None:
        theta_MD = generator.sample(count, services, ctx)
    else:
        theta_MD = generator.sample(count, services, ctx, bench.encode(about))
        write_json(folder / ABOUT, about)
    theta_MD = finish(theta_MD.detach().to("cpu", torch.float32))
    check(theta_MD, zoo.layout, who)
    save_rows(folder / "samples.safetensors", theta_MD)
