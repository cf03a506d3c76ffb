"""A folder as a user has it: code of their own, checkpoints, and a small recipe that names both."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from tests.own.code import checkpoints

RECIPE = """
[dataset]
name = "python"
target = "mine:splits"

[task]
name = "classification"

[architecture]
name = "python"
target = "mine.py:Net"
options = { width = 6 }

[selector]
name = "entire"

[collect]
name = "folder"
path = "checkpoints"

[method]
name = "gaussian"

[sample]
count = 8
baseline_count = 4

[[evaluate]]
name = "accuracy"
"""
QUICK = {"method": {"name": "gaussian"}, "baseline": [{"name": "soup"}], "evaluate": [{"name": "accuracy"}]}
"""Instead of defaults that take a minute."""


def write_code(folder: Path) -> None:
    shutil.copy(Path(__file__).parent / "code.py", folder / "mine.py")


def write_checkpoints(folder: Path) -> None:
    folder.mkdir()
    for number, state in enumerate(checkpoints()):
        torch.save({"model": state, "optimizer": {"step": torch.tensor(number)}}, folder / f"step{number}.pt")
