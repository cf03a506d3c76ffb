"""What each stage's key is made from: exactly the tables that the stage reads, and its inputs' keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pdiff.components import Evaluator, Method, Transform, identity
from pdiff.recipe.tables import COUNTED, Recipe
from pdiff.running.store import Stage

FORMAT = 2
"""Of what a collect stage holds: 2 added the scores of the checkpoints."""
TRAINING = 2
"""How networks are trained: 2 lays convolutions among BatchNorms out channels-last on a CPU, which gives other bits."""


def train_stage(recipe: Recipe) -> Stage:
    tables = ("dataset", "task", "architecture", "train")
    config = {name: identity(getattr(recipe, name)) for name in tables}
    content = recipe.dataset.content(Path(recipe.run.data))
    if content:
        config["dataset"] |= {"content": content}
    if counted := recipe.run.model_dump(include=set(COUNTED), exclude_defaults=True):
        config["run"] = counted
    return Stage("train", config | {"seed": recipe.seed, "protocol": recipe.protocol, "training": TRAINING})


def collect_stage(recipe: Recipe, base: Stage) -> Stage:
    config = {name: identity(getattr(recipe, name)) for name in ("selector", "collect")}
    return Stage("collect", config | {"train": base.key, "seed": recipe.seed, "format": FORMAT})


def zoo_stage(recipe: Recipe, collected: Stage) -> Stage:
    if not recipe.zoo and recipe.encoder is None:
        return collected
    encoder = {"encoder": identity(recipe.encoder)} if recipe.encoder else {}
    return Stage("zoo", {"collect": collected.key, "steps": identity(recipe.zoo)} | encoder)


def measure_stage(recipe: Recipe, checkpoints: Stage) -> Stage:
    return Stage("measure", {"of": checkpoints.key, "measures": list(recipe.task.measures)})


def fit_stage(recipe: Recipe, checkpoints: Stage, method: Method) -> Stage:
    learnt = {key: value for key, value in method.identity().items() if key not in method.sampling}
    return Stage("fit", {"collect": checkpoints.key, "method": learnt, "seed": recipe.seed})


def sample_stage(
    recipe: Recipe, fitted: Stage, method: Method, count: int, draw: int = 0, steps: Sequence[Transform] = (),
    about: Mapping[str, Any] | None = None,
) -> Stage:  # fmt: skip
    options = {key: value for key, value in method.identity().items() if key in method.sampling}
    config = {"fit": fitted.key, "count": count, "draw": draw, "seed": recipe.seed, "options": options}
    asked = {"about": identity(about)} if about else {}
    if about and recipe.encoder and (content := recipe.encoder.content(about)):
        asked["content"] = content
    return Stage("sample", config | {"steps": identity(steps)} | asked)


def predict_stage(population: Stage, split: str) -> Stage:
    return Stage("predict", {"of": population.key, "split": split})


def evaluate_stage(recipe: Recipe, populations: dict[str, Stage], evaluator: Evaluator) -> Stage:
    sources = [[source, stage.key] for source, stage in populations.items()]
    return Stage("evaluate", {"of": sources, "evaluator": evaluator.identity(), "protocol": recipe.protocol})


def run_key(recipe: Recipe, train: Stage | None = None) -> str:
    """Return the first 8 digits of the hash of all that decides the run; `train`: its stage, where it is known."""
    tables = type(recipe).model_fields.keys() - {"run", "plugins"}  # a plugin counts by what the recipe takes of it
    parts = {name: identity(getattr(recipe, name)) for name in tables if getattr(recipe, name) is not None}
    parts["sample"] = {key: value for key, value in parts["sample"].items() if key != "about" or value}
    return Stage("run", parts | {"train": (train or train_stage(recipe)).key}).key[:8]
