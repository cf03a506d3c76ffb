"""Runs hand out ensembles as folders: from Python, by the command, and of adapters that are merged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import pdiff
from pdiff.exporting.ensemble import Ensemble
from tests.helpers import SMALL, call, mistake


@pytest.mark.parametrize(
    "selector",
    ['name = "layers"\nlayer = "linear"\npositions = [-1]', 'name = "lora"\nrank = 2'],
    ids=["last layer", "adapters"],
)
def test_a_run_writes_its_best_networks_as_one_folder(here: Path, selector: str) -> None:
    Path("mine.toml").write_text(SMALL.replace('name = "entire"', selector))
    run = pdiff.run("mine.toml", quiet=True)
    (folder,) = (
        Path(line.split(": an ensemble")[0]) for line in call("export", "mine", "--ensemble", "3").splitlines()
    )
    assert folder.parent == run.folder
    images = torch.rand(4, 1, 20, 13)
    told = Ensemble(folder).uncertainty(images, raw=True)
    wanted = run.ensemble(3).uncertainty(run.preprocess(images))
    assert told.keys() == wanted.keys() and all(torch.allclose(told[key], wanted[key], atol=1e-6) for key in told)
    about = json.loads((folder / "ensemble.json").read_text())
    assert about["classes"] == [str(number) for number in range(10)] and about["run"] == run.folder.name
    assert about["members"] == 3 and about["input_shape"] == [1, 16, 16] and about["preprocess"]["size"] == 16
    text = (folder / "README.md").read_text()
    assert len(text.splitlines()) < 25 and "raw=True" in text and "Classes, in order: 0, 1, 2" in text
    assert "is there already" in mistake("export", "mine", "--ensemble", "3")
    call("export", "mine", "--ensemble", "2", "--to", "out", "--source", "original")
    assert json.loads(Path("out/ensemble.json").read_text())["source"] == "original"
    assert "--all: an ensemble is of the best networks" in mistake("export", "mine", "--ensemble", "3", "--all")
