"""Runs whose task is a family: what the stages, the steps and a finished run make of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from pdiff import UserError
from pdiff.components import Encoder
from pdiff.engine.pipeline import Pipeline
from pdiff.engine.preflight import look_ahead
from pdiff.files import read_json, save_tensors
from pdiff.runs import Run
from pdiff.testing import tiny_run
from pdiff.testing.tiny import TinyCollector

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


@pytest.mark.parametrize("collect", [{"name": "seeds", "count": 3, "steps": 1, "lr": 0.1}, {"name": "trajectory"}])
def test_a_collector_that_knows_no_tasks_is_refused_before_anything_is_trained(tmp_path: Path, collect) -> None:
    with pytest.raises(
        UserError, match="tiny_collector does not say what each network is about, as task subsets needs"
    ):
        run_of(tmp_path, collect=TinyCollector()).zoo  # noqa: B018
    recipe = run_of(tmp_path, collect={"count": 3, "lr": 0.1} | collect).recipe
    (line,) = look_ahead(recipe).what("lacks")
    assert line.startswith("collect: ") and "of task subsets each has its own; use the collector 'tasks'" in line


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (None, "no task.json says what its networks are for, and of task subsets each has its own"),
        (
            {"clases": [0]},
            r"says about = \{'clases': \[0\]\}, which task subsets cannot be asked \(ValueError: it says no",
        ),
        ({"classes": "cat"}, "says about = {'classes': 'cat'}, which task subsets cannot be asked"),
    ],
)
def test_files_that_do_not_say_a_task_are_named(tmp_path: Path, told, message: str) -> None:
    zoo = run_of(tmp_path / "other").zoo
    for number in range(2):
        (tmp_path / "files" / str(number)).mkdir(parents=True)
        save_tensors(tmp_path / "files" / str(number) / "w.safetensors", zoo.state_dict(zoo.theta_ND[number]))
    if told:
        for number in range(2):
            (tmp_path / "files" / str(number) / "task.json").write_text(json.dumps({"about": told}))
    run = run_of(tmp_path, collect={"name": "folder", "path": str(tmp_path / "files")})
    with pytest.raises(UserError, match=message) as error:
        run.zoo  # noqa: B018
    assert "\n" not in str(error.value)
    assert bool(look_ahead(run.recipe).what("lacks")) is (told is None)


def test_what_asks_all_networks_one_thing_is_refused(tmp_path: Path) -> None:
    (line,) = look_ahead(run_of(tmp_path, train={"epochs": 2}).recipe).what("lacks")
    assert line == "train.epochs = 2: no task of subsets is the base network's; leave it out"
    steps = {"step": [{"name": "recalibration", "examples": 9}]}
    (line,) = look_ahead(run_of(tmp_path, task={"name": "shifts"}, sample=steps).recipe).what("lacks")
    assert line.startswith("sample.step[0]: recalibration shows all networks the same examples")
    (line,) = look_ahead(run_of(tmp_path, baseline=[{"name": "posterior"}]).recipe).what("lacks")
    assert line.startswith("baseline[0]: posterior trains all networks for one thing")
    with pytest.raises(UserError, match="'loss' is not measured by task subsets"):
        run_of(tmp_path, method={"name": "gpt", "metric": "loss"}).generator("gpt")


def test_what_the_recipe_asks_for_is_asked_of_those_who_can_be_asked(tmp_path: Path) -> None:
    asked = {"count": 2, "baseline_count": 2, "about": {"task": "1,2"}}
    pipeline = run_of(tmp_path, sample=asked, baseline=[{"name": "soup"}])
    assert pipeline.about("nearest") == [{"classes": [1, 2]}] * 2 and pipeline.about("soup") is None
    run = Run(tmp_path / "run", pipeline)
    with pytest.raises(UserError, match="soup: takes no conditions, so that it cannot be asked for task"):
        run.drawing("soup", task="0").draw(2, source="soup")
    with pytest.raises(UserError, match="soup: takes no conditions"):
        run_of(tmp_path / "alone", sample=asked, method={"name": "soup"}).sample("soup")


def test_a_finished_run_says_of_empty_words_and_of_evaluators_what_is_wrong(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", run_of(tmp_path))
    with pytest.raises(UserError, match="condition = '': has 0 bits; give 3"):
        run.sample(1, condition="")
    with pytest.raises(UserError, match=r"evaluate: accuracy asks all networks one thing.*use the evaluator 'condi"):
        run.evaluate(["accuracy"])
    long = run.drawing(task="0," + " " * 300 + "1")
    (folder, _), (other, _) = (
        each.sample_to(None, count=1) for each in (long, run.drawing(task="0," + " " * 299 + "1"))
    )
    assert folder != other and len(folder.name) < 120


def test_networks_that_are_drawn_say_what_they_are_for(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", run_of(tmp_path))
    folder, rows = run.sample_to(None, count=3)
    told = read_json(folder / "scores.json")
    assert list(told["about"]) == list(told["scores"]) == [name for name, _ in rows]
    assert list(told["about"].values()) == run.pipeline.about("nearest", 3, 1)


def test_networks_of_one_task_alone_answer_together(tmp_path: Path) -> None:
    run, tasks = Run(tmp_path / "run", run_of(tmp_path)), "are each for a task of its own, which no average is for"
    for source in ("nearest", "original"):
        with pytest.raises(UserError, match=tasks):
            run.ensemble(2, source)
    assert len(run.drawing(task="1,2").ensemble(2).members) == 2


class Told(Encoder):
    """The number of letters of what is said, or of classes."""

    name = "told"
    reads = ("text",)

    def encode(self, about: Any, known: Any, bench: Any, ctx: Any) -> torch.Tensor:
        return torch.tensor([[float(len(one.get("text", one.get("classes", ()))))] for one in about])

    def read(self, asked: Any, known: Any, bench: Any) -> dict[str, Any]:
        return dict(asked)


def test_of_a_task_that_was_told_in_words_no_score_is_known(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", run_of(tmp_path, encoder=Told()))
    asked = run.drawing(text="no")
    folder, rows = asked.sample_to(None, count=2)
    assert all(math.isnan(score) for _, score in rows) and len(asked.networks(1)) == 1
    assert list(read_json(folder / "scores.json")["scores"].values()) == [None, None]
    assert all(0 <= score <= 1 for _, score in run.sample_to(None, count=2)[1])
