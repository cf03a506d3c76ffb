"""Runs whose task is a family: what the stages, the steps and a finished run make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pdiff.engine.pipeline import Pipeline
from pdiff.testing import tiny_run

TASKS = {"name": "tasks", "learnt": 4, "steps": 3, "lr": 0.01, "batch_size": 20}


def run_of(tmp_path: Path, **tables: Any) -> Pipeline:
    """Return the pipeline of a run of the subsets of three classes."""
    given = {
        "task": {"name": "subsets"}, "train": {}, "collect": TASKS, "encoder": {"name": "bits"},
        "method": {"name": "nearest"}, "baseline": [],
    }  # fmt: skip
    return tiny_run(tmp_path, **given | tables)


def test_tasks_that_a_step_holds_out_are_not_learnt(tmp_path: Path) -> None:
    zoo = run_of(tmp_path, zoo=[{"name": "holdout", "count": 1}]).zoo
    assert zoo.holdout is not None and [row["part"] for row in zoo.holdout.rows] == ["held out"]
    assert [row["part"] for row in zoo.rows] == ["learnt"] * 3
