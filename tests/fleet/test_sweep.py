"""Sweeps in fresh processes: what is shared is computed once, and whatever fails or dies harms nobody else."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

import pdiff
from pdiff_plugins.fleet.engines.local import Local
from pdiff_plugins.fleet.folder import Sweep
from tests.fleet.helpers import SHARING, computed, digests, written
from tests.helpers import call, pdiff_command

BROKEN = """
from pdiff import hookimpl
from pdiff.components import Generator, Method


class Broken(Method):
    '''Fits, and draws nothing.'''

    name = "broken"

    def fit(self, zoo, bench, ctx):
        return Breaks()

    def load(self, tensors, zoo, bench, ctx):
        return Breaks()


class Breaks(Generator):
    def sample(self, count, bench, ctx):
        raise ArithmeticError("breaks on purpose")
"""


@pytest.fixture(scope="module")
def serial(tmp_path_factory) -> dict[str, str]:
    """What a store holds once the eight cells were run one after the other."""
    folder = tmp_path_factory.mktemp("serial")
    recipe = written(folder)
    for steps in range(10, 18):
        pdiff.run(recipe, set={"method.steps": steps, "run.out": str(folder / "runs")}, quiet=True)
    return digests(folder / "runs")


def the_sweep(folder: Path) -> Path:
    return next((folder / "runs" / "sweeps").iterdir())


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> tuple[Path, str]:
    """The folder of the same eight cells by two workers, and what the command said."""
    folder = tmp_path_factory.mktemp("swept")
    written(folder)
    done = pdiff_command("sweep", "tiny.toml", "--set", SHARING, "-j", "2", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_what_eight_cells_share_is_computed_once_and_bytes_are_those_of_one_run_after_the_other(serial, swept) -> None:
    folder, said = swept
    assert digests(folder / "runs") == serial
    assert computed(the_sweep(folder)) == len({name.split("/")[1] for name in serial})
    assert "8 cells, 50 stages (0 cached, 10 shared); 2 workers, engine local" in said
    assert said.count("mean original") == 8


def test_one_page_sets_the_cells_beside_each_other(swept) -> None:
    folder, said = swept
    page = the_sweep(folder) / "index.html"
    assert f"page: {page}" in said.replace("\n", "")
    rows = re.findall(r"^\| tiny method.steps=\d+ \| \d.*$", (the_sweep(folder) / "index.md").read_text(), re.M)
    assert len(rows) == 8
    told = json.loads((the_sweep(folder) / "results.json").read_text())
    run = pdiff.open_run(folder / "runs" / told[0]["runs"][0])
    assert told[0]["means"]["soup"] == [run.scores["networks"]["soup"]["accuracy"]["mean"]]
    assert "<script" not in page.read_text()


def test_the_same_command_again_computes_nothing(swept, monkeypatch) -> None:
    folder, _ = swept
    before = digests(folder / "runs")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(Local, "open", lambda *_: pytest.fail("a worker is started, and there is nothing to do"))
    assert "(50 cached, 10 shared)" in call("sweep", "tiny.toml", "--set", SHARING, "-j", "2")
    assert digests(folder / "runs") == before


@pytest.mark.slow
def test_a_recipe_that_was_changed_is_run_anew(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = written(tmp_path)
    call("sweep", "tiny.toml", "--set", "seed=0", "-j", "1")
    before = json.loads((the_sweep(tmp_path) / "results.json").read_text())
    recipe.write_text(recipe.read_text().replace("epochs = 2", "epochs = 1"))
    call("sweep", "tiny.toml", "--set", "seed=0", "-j", "1")
    after = json.loads((the_sweep(tmp_path) / "results.json").read_text())
    assert after[0]["runs"] != before[0]["runs"]


def test_a_worker_that_is_killed_harms_no_other_and_bytes_stay(serial, tmp_path: Path) -> None:
    written(tmp_path)
    killed: list[int] = []

    def kill() -> None:
        while not killed:
            time.sleep(0.02)
            for path in (tmp_path / "runs" / "sweeps").glob("*/workers/*.json"):
                status = Sweep(path.parents[1]).status(int(path.stem))
                if any(stage.startswith("fit") for stage in status.get("stages", [])) and not killed:
                    killed.append(status["process"])
                    os.kill(status["process"], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    four = "method.steps=10,11,12,13"
    done = pdiff_command("sweep", "tiny.toml", "--set", four, "-j", "2", cwd=tmp_path)
    assert killed and "was killed by SIGKILL" in done.stdout
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "runs").items() <= serial.items()


@pytest.mark.slow
def test_a_cell_that_fails_stops_no_other(tmp_path: Path, monkeypatch) -> None:
    written(tmp_path)
    (tmp_path / "broken.py").write_text(BROKEN)
    arguments = ("sweep", "tiny.toml", "--plugin", "broken.py", "--set", "method.name=broken,pdiff", "-j", "1")
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(re.sub(r"\[method\][^[]*", '[method]\nname = "pdiff"\n\n', recipe.read_text()))
    done = pdiff_command(*arguments, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr + done.stdout
    assert "tiny method.name=broken: failed: ArithmeticError: breaks on purpose" in done.stdout
    assert "1 of 2 cells have no result" in done.stderr and "error: " in done.stderr
    assert "ArithmeticError: breaks on purpose" in (the_sweep(tmp_path) / "index.md").read_text()
