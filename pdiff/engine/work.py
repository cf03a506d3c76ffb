"""What each stage does, and what it writes. Each is one file away from the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from pdiff.bench import Bench
from pdiff.components import Generator, Method, Transform
from pdiff.context import Context
from pdiff.data import DatasetSplits
from pdiff.engine.bench import RunBench, predictor_of
from pdiff.errors import UserError
from pdiff.files import load_tensors, read_json, save_rows, save_tensors, write_json
from pdiff.mapped import finite_rows
from pdiff.populations.predictor import check
from pdiff.recipe.tables import Recipe
from pdiff.running.device import placed
from pdiff.running.memory import needs
from pdiff.services import Finished
from pdiff.steps import in_turn
from pdiff.zoo import Layout, Zoo


def layout_for(recipe: Recipe, model: nn.Module, folder: Path) -> Layout:
    """Return what the selector takes. Raises UserError where the checkpoints find no room in a stage's folder."""
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
    predictions = predictor_of(model, layout, recipe.task, ctx).predict(zoo.theta_ND, split, ctx, what)
    for row, score in zip(zoo.rows, recipe.task.score(predictions, split.targets).tolist(), strict=True):
        row["metrics"].setdefault(recipe.task.metric, score)
    save_tensors(folder / "predictions.safetensors", {"predictions": predictions})
    zoo.save(folder)


def do_zoo(
    collected: Path, steps: Sequence[Transform], bench: Callable[[Zoo], RunBench], selection: str, folder: Path,
    ctx: Context,
) -> None:  # fmt: skip
    """Write the checkpoints of a collect stage as `[[zoo]]` asks for them, those held out, and all predictions.

    `bench` gives the services of a zoo: each step has those of the zoo that it is given.
    """
    zoo = Zoo.open(collected)
    zoo.rows = [row | {"of": index} for index, row in enumerate(zoo.rows)]
    for step, step_ctx in in_turn(steps, ctx):
        zoo = step.zoo(zoo, bench(zoo), step_ctx)
        if len(zoo) < 2:
            raise UserError(f"zoo: the step {step.name} leaves {len(zoo)} checkpoints; methods need 2 at least")
    zoo.save(folder)
    if all(step.exact for step in steps):
        lost = [row for row in zoo.rows if "of" not in row]
        if lost:
            names = ", ".join(step.name for step in steps)
            raise UserError(f"zoo: one of the steps {names} lost `of` from its rows; mend its plugin, or leave it out")
        known = load_tensors(collected / "predictions.safetensors")["predictions"]
        predictions = known[[row["of"] for row in zoo.rows]]
    else:
        predictions = bench(zoo).predict(zoo.theta_ND, selection)
    save_tensors(folder / "predictions.safetensors", {"predictions": predictions})


def finished(theta_MD: Tensor, steps: Sequence[Transform], zoo: Zoo, bench: Bench, ctx: Context) -> Tensor:
    """Return sampled networks as `[[sample.step]]` asks for them."""
    for step, step_ctx in in_turn(steps, ctx):
        theta_MD = step.samples(theta_MD, zoo, bench, step_ctx)
    return theta_MD


def do_fit(method: Method, zoo: Zoo, bench: Bench, folder: Path, ctx: Context) -> None:
    """Fit a method and write generator.safetensors, log.json and facts.json."""
    generator = method.fit(zoo, bench, ctx)
    save_tensors(folder / "generator.safetensors", generator.tensors())
    write_json(folder / "log.json", generator.log)
    write_json(folder / "facts.json", generator.facts)


def load_generator(method: Method, zoo: Zoo, bench: Bench, folder: Path, ctx: Context) -> Generator:
    """Rebuild a fitted method from its stage."""
    generator = method.load(load_tensors(folder / "generator.safetensors"), zoo, bench, ctx)
    generator.log, generator.facts = read_json(folder / "log.json"), read_json(folder / "facts.json")
    return generator


def do_sample(
    generator: Generator, count: int, finish: Callable[[Tensor], Tensor], zoo: Zoo, bench: Bench, who: str,
    folder: Path, ctx: Context,
) -> None:  # fmt: skip
    """Sample networks, finish them as `[[sample.step]]` asks for, and write samples.safetensors."""
    needs(who, count, zoo.layout.dim, "sample.count, sample.baseline_count or --count", folder)
    theta_MD = generator.sample(count, Finished(bench, finish), ctx)
    theta_MD = finish(theta_MD.detach().to("cpu", torch.float32))
    check(theta_MD, zoo.layout, who)
    save_rows(folder / "samples.safetensors", theta_MD)
