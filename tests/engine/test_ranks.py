"""One run over several processes: they agree with one alone, and a run that lost one says so and goes on."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pdiff.files import load_tensors, read_json
from tests.helpers import TINY, in_ranks

RECIPE = """
plugins = ["mine.py"]
[dataset]
name = "tiny_data"
[task]
name = "tiny_task"
[architecture]
name = "tiny_net"
[selector]
name = "entire"
[train]
epochs = 2
batch_size = 20
[collect]
name = "seeds"
count = 40
steps = 30
lr = 0.01
batch_size = 20
every = 10
[method]
name = "pdiff"
steps = 20
timesteps = 10
[sample]
count = 7
[[evaluate]]
name = "breaks"
"""

PLUGIN = """
import os, signal
from pathlib import Path
from pdiff import UserError, hookimpl
from pdiff.components import Evaluator
from pdiff.running.snapshot import Snapshot
from pdiff.testing import TinyData, TinyNet, TinyTask

HOW = Path("how").read_text() if Path("how").is_file() else ""

if HOW == "killed" and os.environ["RANK"] == "0":
    kept = Snapshot.save
    def save(self, tensors, state):
        kept(self, tensors, state)
        if "fit-" in str(self.folder) and state["step"] == 10:
            os.kill(os.getpid(), signal.SIGKILL)
    Snapshot.save, Snapshot.due = save, lambda self: "fit-" in str(self.folder)

class Breaks(Evaluator):
    "Scores, unless the second process is to fail."
    name = "breaks"
    def evaluate(self, view, ctx):
        if HOW == "told" and os.environ["RANK"] == "1":
            raise UserError("breaks: no more")
        return {"mean": view.bench.score(view.theta["pdiff"]).mean().item()}

@hookimpl
def register_datasets(register):
    register(TinyData)

@hookimpl
def register_tasks(register):
    register(TinyTask)

@hookimpl
def register_architectures(register):
    register(TinyNet)

@hookimpl
def register_evaluators(register):
    register(Breaks)
"""


PDIFF = [sys.executable, "-m", "pdiff", "run"]


def assert_agree(first: Path, second: Path) -> None:
    """Check the tensors of two stores: predictions, checkpoints and fits are equal, samples nearly.

    The first may hold more: other tests draw from it.
    """
    paths = {path.relative_to(second) for path in second.glob("*/*.safetensors")}
    assert paths and paths <= {path.relative_to(first) for path in first.glob("*/*.safetensors")}
    for path in paths:
        ours, theirs = load_tensors(first / path), load_tensors(second / path)
        nearly = 1e-5 if path.name == "samples.safetensors" else 0.0
        for key, value in ours.items():
            torch.testing.assert_close(value, theirs[key], rtol=0, atol=nearly, msg=f"{path} {key}")


def test_two_processes_of_torchrun_agree_with_one(finished, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "pdiff", "run", "tiny.toml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("6/6 report") == done.stdout.count("results in") == 1
    runs = finished.folder.parent
    assert_agree(runs / "store", tmp_path / "runs" / "store")
    ours, theirs = (untimed(folder / finished.folder.name / "report.md") for folder in (runs, tmp_path / "runs"))
    assert ours == theirs


def untimed(report: Path) -> list[str]:
    """Return a report's lines but those of how long stages took."""
    return [line for line in report.read_text().splitlines() if not re.search(r"[\d.]+ s( \||\.$)", line)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of one process."""
    folder = tmp_path_factory.mktemp("alone")
    ((code, _, error),) = in_ranks([*PDIFF, "mine.toml"], prepared(folder), 1)
    assert code == 0, error
    return folder / "runs" / "store"


def prepared(folder: Path) -> Path:
    (folder / "mine.toml").write_text(RECIPE)
    (folder / "mine.py").write_text(PLUGIN)
    return folder


def test_what_ends_one_process_is_told_once(tmp_path: Path) -> None:
    (prepared(tmp_path) / "how").write_text("told")
    (first, _, error), (second, out, lost) = in_ranks([*PDIFF, "mine.toml"], tmp_path)
    assert (first, second, out) == (2, 2, "")
    assert f"{error}{lost}" == "error: breaks: no more\n"


def test_a_run_whose_leader_was_killed_goes_on_within_the_stage(alone: Path, tmp_path: Path) -> None:
    (prepared(tmp_path) / "how").write_text("killed")
    (first, _, _), (second, out, lost) = in_ranks([*PDIFF, "mine.toml"], tmp_path)
    assert (first, second, out) == (-signal.SIGKILL, 2, "")
    assert lost.count("error: ") == 1 and "another process of the run has ended" in lost
    store = tmp_path / "runs" / "store"
    assert len(list(store.glob("fit-*.part/snapshot*.safetensors"))) == 1
    (tmp_path / "how").unlink()
    (first, text, error), (second, _, _) = in_ranks([*PDIFF, "mine.toml"], tmp_path)
    assert first == second == 0, error
    assert "2/6 collect   cached" in text and not list(store.glob("*.part"))
    assert_agree(alone, store)
    ours, theirs = (next(folder.glob("evaluate-*")) for folder in (alone, store))
    assert read_json(ours / "scores.json") == read_json(theirs / "scores.json")
