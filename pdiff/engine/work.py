"""The stages: what each depends on, and what it writes. Each is one file away from the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.components import Architecture, Evaluator, Generator, Method, Task, identity
from pdiff.context import Context, derive
from pdiff.data import Batch, DatasetSplits, Split
from pdiff.engine.store import Stage
from pdiff.engine.use import used
from pdiff.errors import UserError
from pdiff.files import PRETRAINED, load_tensors, read_json, save_tensors, write_json
from pdiff.populations.predictor import Predictor, check, score_model
from pdiff.recipe.tables import Recipe, Train
from pdiff.running.device import placed
from pdiff.symmetry.align import symmetry_within
from pdiff.symmetry.permutations import Symmetry
from pdiff.training.loop import epoch_order, train
from pdiff.view import View
from pdiff.zoo import Layout, Zoo

FORMAT = 2
"""Of what a collect stage holds: 2 added the scores of the checkpoints."""
AVERAGE = 0.999
"""Decay, per step, of the moving average of the weights that `keep = "average"` keeps."""

# What each stage's key is made from. A key holds exactly the tables that the stage reads, and its inputs' keys.


def train_stage(recipe: Recipe) -> Stage:
    tables = ("dataset", "task", "architecture", "train")
    config = {name: identity(getattr(recipe, name)) for name in tables}
    content = recipe.dataset.content(Path(recipe.run.data))
    if content:
        config["dataset"] |= {"content": content}
    return Stage("train", config | {"seed": recipe.seed, "protocol": recipe.protocol})


def collect_stage(recipe: Recipe, base: Stage) -> Stage:
    config = {name: identity(getattr(recipe, name)) for name in ("selector", "collect")}
    return Stage("collect", config | {"train": base.key, "seed": recipe.seed, "format": FORMAT})


def zoo_stage(recipe: Recipe, collected: Stage) -> Stage:
    zoo = recipe.zoo
    asked = {key: value for key, value in zoo.model_dump().items() if value}
    rows = {"rows": True} if zoo.holdout else {}  # of what is held out: they were not kept at first
    return Stage("zoo", {"collect": collected.key, "first": 0} | asked | rows) if asked else collected


def measure_stage(recipe: Recipe, zoo: Stage) -> Stage:
    return Stage("measure", {"of": zoo.key, "measures": list(recipe.task.measures)})


def fit_stage(recipe: Recipe, zoo: Stage, method: Method) -> Stage:
    own = {key: value for key, value in method.identity().items() if key not in method.sampling}
    return Stage("fit", {"collect": zoo.key, "method": own, "seed": recipe.seed})


def sample_stage(
    recipe: Recipe, fitted: Stage, method: Method, count: int, draw: int = 0, temperature: float = 1.0
) -> Stage:
    own = {key: value for key, value in method.identity().items() if key in method.sampling}
    config = {"fit": fitted.key, "count": count, "draw": draw, "seed": recipe.seed}
    if temperature != 1:
        config["temperature"] = temperature
    if recipe.sample.batchnorm_recalibration:
        config["batchnorm_recalibration"] = recipe.sample.batchnorm_recalibration
    return Stage("sample", config | ({"options": own} if own else {}))


def predict_stage(population: Stage, split: str) -> Stage:
    return Stage("predict", {"of": population.key, "split": split})


def evaluate_stage(recipe: Recipe, populations: dict[str, Stage], evaluator: Evaluator) -> Stage:
    sources = [[source, stage.key] for source, stage in populations.items()]
    return Stage("evaluate", {"of": sources, "evaluator": evaluator.identity(), "protocol": recipe.protocol})


# What each stage does.


def build_network(architecture: Architecture, data: DatasetSplits, seed: int) -> nn.Module:
    """Return a new network, its weights file loaded where the recipe names one. Raises UserError."""
    torch.manual_seed(derive(seed, "init"))
    model = architecture.build(input_shape=data.input_shape, outputs=data.outputs)
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in model.parameters()):
        model.eval()(torch.zeros(2, *data.input_shape))
    if architecture.weights and architecture.weights != PRETRAINED:
        load_into(model, architecture.state(), f"architecture.weights = {architecture.weights!r}")
    return model


def load_into(model: nn.Module, state: dict[str, Tensor], where: str) -> None:
    """Load a whole state dict. Raises UserError that names the first entry that does not fit."""
    own = model.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    extra = [key for key in state if key not in own]
    if missing or extra:
        lacks = f"lacks {missing[0]!r}" if missing else f"has {extra[0]!r}, which the network has not"
        raise UserError(
            f"{where}: not this network's state dict: it {lacks} ({len(missing)} missing, {len(extra)} extra)"
        )
    for key, value in state.items():
        if own[key].shape != value.shape:
            raise UserError(f"{where}: {key} has shape {list(value.shape)}, the network {list(own[key].shape)}")
    model.load_state_dict(state)


def do_train(
    model: nn.Module, settings: Train, data: DatasetSplits, selection: str, task: Task, part: Path, ctx: Context
) -> None:
    """Train the base network and write network.safetensors, log.json and result.json."""
    split, log = data.split(selection), []
    if settings.epochs:
        per_epoch = -(-len(data.train) // settings.batch_size)
        best = None
        if settings.keep != "average":
            best = _KeepBest(model, per_epoch, settings.keep, lambda: score_model(model, task, split, ctx))
        log = _fine_tune(placed(model, ctx.device), settings, data, task, ctx, per_epoch, best)
        if best:
            model.load_state_dict(best.state)
            log = best.merge(log, per_epoch)
    save_tensors(part / "network.safetensors", model.state_dict())
    write_json(part / "log.json", log)
    write_json(part / "result.json", {task.metric: score_model(model, task, split, ctx), "split": selection})


def _fine_tune(
    model: nn.Module, settings: Train, data: DatasetSplits, task: Task, ctx: Context, per_epoch: int,
    best: _KeepBest | None,
) -> list[dict[str, float]]:  # fmt: skip
    def draw(step: int, generator: torch.Generator) -> Batch:
        index = epoch_order(len(data.train), settings.batch_size, step, ctx.seed)
        return data.train.batch(index, ctx.device, generator)

    def loss(*batch: Tensor) -> Tensor:
        return task.loss(model, Batch(*batch))

    cosine = {"cosine": _by_epoch(per_epoch, settings.epochs), "constant": "constant"}[settings.schedule]
    model.train()
    return train(
        model, loss, steps=settings.epochs * per_epoch, ctx=ctx, what="train", lr=settings.lr,
        optimizer=settings.optimizer, weight_decay=settings.weight_decay, schedule=cosine, observer=best, draw=draw,
        ema=0.0 if best else AVERAGE,
    )  # fmt: skip


def _by_epoch(per_epoch: int, epochs: int) -> Any:
    """Cosine that falls once an epoch."""
    cosine = torch.cos(torch.pi * torch.arange(epochs, dtype=torch.float64) / epochs)
    factors = (0.5 * (1 + cosine)).tolist()
    return lambda step: factors[step // per_epoch]


class _KeepBest:
    """Keeps the state of the epoch with the best score (or of the last epoch)."""

    def __init__(self, model: nn.Module, per_epoch: int, keep: str, score: Any):
        self.model, self.per_epoch, self.keep, self.score = model, per_epoch, keep, score
        self.state: dict[str, Tensor] = {}
        self.scores: list[float] = []

    def after(self, step: int) -> dict[str, float]:
        if step % self.per_epoch == 0:
            training = self.model.training
            self.scores.append(self.score())
            self.model.train(training)
            if self.keep == "last" or not self.state or self.scores[-1] > max(self.scores[:-1]):
                self.state = {key: value.detach().clone() for key, value in self.model.state_dict().items()}
        return {"score": self.scores[-1]} if self.scores else {}

    def tensors(self) -> dict[str, Tensor]:
        return self.state | {"/scores": torch.tensor(self.scores, dtype=torch.float64)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.scores = tensors.pop("/scores").tolist()
        self.state = tensors

    def merge(self, log: list[dict[str, float]], per_epoch: int) -> list[dict[str, float]]:
        """Return the log with a row per epoch's score."""
        epochs = [{"step": (epoch + 1) * per_epoch, "score": score} for epoch, score in enumerate(self.scores)]
        return sorted([*log, *epochs], key=lambda row: row["step"])


def do_collect(recipe: Recipe, model: nn.Module, data: DatasetSplits, part: Path, ctx: Context) -> None:
    """Collect the zoo, score all checkpoints in one pass on the selection split, and write it."""
    layout = Layout.of(model, recipe.selector.select(model))
    ctx = ctx.replace(build=lambda seed: build_network(recipe.architecture, data, seed))
    zoo = recipe.collect.collect(placed(model, ctx.device), data=data, task=recipe.task, layout=layout, ctx=ctx)
    if not torch.isfinite(zoo.theta_ND).all():
        bad = int((~torch.isfinite(zoo.theta_ND)).any(dim=1).sum())
        raise UserError(
            f"collect: {bad} of {len(zoo)} checkpoints hold NaN or Inf; lower collect.lr or remove the files"
        )
    model.load_state_dict(zoo.anchor)
    split, what = data.split(recipe.selection), f"predict original ({recipe.selection})"
    predictions = Predictor(model, layout, recipe.task).predict(zoo.theta_ND, split, ctx, what)
    for row, score in zip(zoo.rows, recipe.task.score(predictions, split.targets).tolist(), strict=True):
        row["metrics"].setdefault(recipe.task.metric, score)
    save_tensors(part / "predictions.safetensors", {"predictions": predictions})
    zoo.save(part)


def do_zoo(recipe: Recipe, data: DatasetSplits, collected: Path, part: Path, ctx: Context) -> None:
    """Write the checkpoints of a collect stage that are used, as `[zoo]` asks for them, and those held out."""

    def symmetry(key: str) -> Symmetry:
        model = build_network(recipe.architecture.model_copy(update={"weights": ""}), data, 0)
        return symmetry_within(model, torch.zeros(2, *data.input_shape), zoo.layout, key)

    zoo = Zoo.open(collected)
    own = used(zoo, recipe.zoo, symmetry, ctx)
    own.zoo.save(part)
    predictions = load_tensors(collected / "predictions.safetensors")["predictions"]
    save_tensors(part / "predictions.safetensors", {"predictions": predictions[own.of]})
    if len(own.holdout_HD):
        save_tensors(part / "holdout.safetensors", {"theta": own.holdout_HD})
        write_json(part / "holdout.json", own.holdout_rows)


def do_fit(method: Method, zoo: Zoo, part: Path, ctx: Context) -> None:
    """Fit a method and write generator.safetensors, log.json and facts.json."""
    generator = method.fit(zoo, ctx)
    save_tensors(part / "generator.safetensors", generator.tensors())
    write_json(part / "log.json", generator.log)
    write_json(part / "facts.json", generator.facts)


def load_generator(method: Method, zoo: Zoo, folder: Path, ctx: Context) -> Generator:
    """Rebuild a fitted method from its stage."""
    generator = method.load(load_tensors(folder / "generator.safetensors"), zoo, ctx)
    generator.log, generator.facts = read_json(folder / "log.json"), read_json(folder / "facts.json")
    return generator


def do_sample(
    generator: Generator, count: int, finish: Callable[[Tensor], Tensor], layout: Layout, who: str, part: Path,
    ctx: Context,
) -> None:  # fmt: skip
    """Sample networks, finish them as `[sample]` asks for, and write samples.safetensors."""
    theta_MD = finish(generator.sample(count, ctx).detach().to("cpu", torch.float32))
    check(theta_MD, layout, who)
    save_tensors(part / "samples.safetensors", {"theta": theta_MD})


def do_predict(predictor: Predictor, theta_MD: Tensor, split: Split, part: Path, ctx: Context, what: str) -> None:
    """Predict with every network of a population and write predictions.safetensors."""
    save_tensors(part / "predictions.safetensors", {"predictions": predictor.predict(theta_MD, split, ctx, what)})


def do_evaluate(evaluator: Evaluator, view: View, part: Path, ctx: Context) -> None:
    """Run an evaluator and write scores.json."""
    write_json(part / "scores.json", evaluator.evaluate(view, ctx))
