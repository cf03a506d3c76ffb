"""Folders of checkpoints whose task.json says what they are for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pdiff.errors import UserError
from pdiff.files import save_tensors
from pdiff_plugins.collectors.folder.collector import Folder
from tests.collectors.test_collectors import SUBSET, collect, network


def folders(root: Path, tasks: dict, deep: str = "") -> Folder:
    """Write two checkpoints for each task, and a task.json where it is not None; strings are written as they are."""
    for number, (name, task) in enumerate(tasks.items()):
        for step in (1, 2):
            state = network().state_dict() | {"1.bias": torch.full((6,), 10.0 * number + step)}
            path = root / name / deep / f"step_{step}.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            save_tensors(path, state)
        if task is not None:
            (root / name / "task.json").write_text(task if isinstance(task, str) else json.dumps(task))
    return Folder(path=str(root))


GIVEN = {
    "a": {"about": {"classes": [0, 3]}}, "b": {"about": {"classes": [1]}, "part": "hard"},
    "c": {"about": {"classes": [2]}, "part": "learnt"}, "d": {"about": {"classes": [3]}, "part": "held out"},
}  # fmt: skip


@pytest.mark.parametrize("deep", ["", "weights"])
def test_rows_say_their_task_and_what_is_kept_back_lies_apart(tmp_path: Path, deep: str) -> None:
    collector = folders(tmp_path, GIVEN, deep)
    zoo = collect(collector, network(), SUBSET)
    assert [row["about"]["classes"] for row in zoo.rows] == [[0, 3], [0, 3], [2], [2]]
    assert {row["part"] for row in zoo.rows} == {"learnt"} and collector.expected() == 4
    assert [row["part"] for row in zoo.holdout.rows] == ["hard", "hard", "held out", "held out"]
    assert zoo.theta_ND[:, 6:].mean(dim=1).tolist() == [1, 2, 21, 22]
    assert zoo.holdout.theta_ND[:, 6:].mean(dim=1).tolist() == [11, 12, 31, 32]
    before = collector.identity()
    (tmp_path / "a" / "task.json").write_text(json.dumps({"about": {"classes": [0]}}))
    assert collector.identity() != before, "another task is another zoo"


def test_without_any_nothing_changes(tmp_path: Path) -> None:
    zoo = collect(folders(tmp_path, {"a": None, "b": None}), network(), SUBSET)
    assert zoo.holdout is None and all("about" not in row and "part" not in row for row in zoo.rows)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("{", r"e/task.json: is no JSON \(Expecting.*\); write it as \{"),
        ([1], "e/task.json: does not say what its networks are for, by 'about'"),
        ({"classes": [1]}, "e/task.json: does not say what its networks are for, by 'about'"),
        ({"about": {"classes": [1]}, "part": "held"}, "part = 'held' is none of learnt, held out, hard"),
        ({"about": {"classes": [1]}, "split": "hard"}, "has 'split'; it may have 'about' and 'part' alone"),
        (None, r"e/step_1.safetensors: no task.json says what it is for, and others have one"),
    ],
)
def test_what_is_wrong_with_one_is_said_in_a_line(tmp_path: Path, task, message: str) -> None:
    collector = folders(tmp_path, GIVEN | {"e": task})
    for ask in (collector.expected, lambda: collect(collector, network(), SUBSET)):
        with pytest.raises(UserError, match=message) as error:
            ask()
        assert "\n" not in str(error.value)


def test_two_must_be_left_to_learn_from(tmp_path: Path) -> None:
    collector = folders(tmp_path, {"b": GIVEN["b"], "d": GIVEN["d"]})
    with pytest.raises(UserError, match="0 checkpoints are of tasks learnt, and methods need 2 at least"):
        collector.expected()
