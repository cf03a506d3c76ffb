"""Scores: everything that the evaluators of a run gave, put together."""

from __future__ import annotations

import json
from typing import Any

from pdiff.components import Evaluator, plain
from pdiff.engine.pipeline import Pipeline
from pdiff.files import read_json
from pdiff.results.shown import Showing
from pdiff.running import ranks


def scores_of(pipeline: Pipeline, extra: tuple[Evaluator, ...] = ()) -> dict[str, Any]:
    """Run every stage up to the evaluators, those of the recipe and `extra`, and return what they gave."""
    plan, recipe = pipeline.plan, pipeline.recipe
    if ranks.leader():
        pipeline.store.note(*(stage.folder_name for _, stage in plan))  # at once: all runs of a folder share one lock
    evaluators, stage = [*recipe.evaluate, *extra], pipeline.progress.stage
    with stage("train"):
        pipeline.train()
    with stage("collect"):
        zoo = pipeline.zoo
    with stage("fit"):
        for source in plan.methods:
            pipeline.generator(source)
    with stage("sample"):
        networks: dict[str, dict[str, Any]] = {
            source: {"count": len(pipeline.sample(source))} for source in plan.populations
        }
    compares = (e.name for e in evaluators if e.compares)
    scores: dict[str, Any] = {
        "run": pipeline.name, "recipe": recipe.table(), "protocol": recipe.protocol, "selection": recipe.selection,
        "method": plan.method, "main": recipe.task.metric, "device": str(pipeline.device),
        "scored_by": next((e.name for e in evaluators if e.gives_score), ""),
        "compared_by": next((e.name for e in evaluators if e.gives_score), next(compares, "")),
        "parameters": zoo.layout.dim, "networks": networks,
        "stages": [plan.train.folder_name, plan.collect.folder_name],
        "columns": {e.name: [list(column) for column in e.columns] for e in evaluators},
        "first": [title for e in evaluators for title in e.first_columns],
        "legends": [e.legend for e in evaluators if e.legend],
        "facts": {source: pipeline.generator(source).facts for source in plan.methods},
        "base": read_json(pipeline.train() / "result.json"), "expect": plain(recipe.expect),
        "elsewhere": ["weights"] * bool(recipe.architecture.weights) + ["checkpoints"] * recipe.collect.elsewhere,
    }  # fmt: skip
    with stage("evaluate"):
        for evaluator in evaluators:
            given = pipeline.evaluate(evaluator)
            for source, values in given.pop("networks", {}).items():
                networks[source][evaluator.name] = values
            scores[evaluator.name] = given
    scores["seconds"] = {what: pipeline.store.seconds(stage) for what, stage in plan}
    stored: dict[str, Any] = json.loads(json.dumps(scores))
    showing = Showing({e.name: e for e in evaluators}, pipeline.warn)
    return stored | {"verdict": showing.findings(stored)[0], "notes": showing.notes(stored)}
