"""The README's section on one's own checkpoints, line by line, on files as torch.save wrote them."""

from __future__ import annotations

import re
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

import pdiff
from pdiff_plugins.own import given
from tests.helpers import ROOT
from tests.own.helpers import QUICK

MINE = """
import torch
from sklearn.datasets import load_digits
from torch import nn

class MyNet(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    def forward(self, x):
        return self.body(x)

x, y = load_digits(return_X_y=True)
x = x / 16
train, test = (x[:1297], y[:1297]), (x[1297:], y[1297:])

def load():
    return train, test
"""
SECTION = re.search(r"## Your own checkpoints\n(.*?)\n## ", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
BLOCKS = [
    textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n|^\n)+", SECTION[1], re.MULTILINE) if block.strip()
]


@pytest.fixture
def folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of the user's own, and files as its training left them."""
    (here / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(here)
    sys.modules.pop("mine", None)
    from mine import MyNet, train

    inputs, targets = torch.tensor(train[0], dtype=torch.float32), torch.tensor(train[1])
    net = MyNet()
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    (here / "checkpoints").mkdir()
    for step in range(130):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(inputs), targets).backward()
        optimizer.step()
        if step >= 100:
            saved = {"model": net.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(saved, here / "checkpoints" / f"step{step:03}.pt")
    yield here
    sys.modules.pop("mine", None)


def test_the_lines_of_python_give_an_ensemble(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (code,) = (block for block in BLOCKS if "import pdiff" in block)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    for table, value in QUICK.items():
        monkeypatch.setitem(given.DEFAULTS, table, value)
    names: dict[str, object] = {}
    exec(code, names)
    digits, labels = load_digits(return_X_y=True)
    right = names["probabilities"].argmax(axis=1) == labels[1297:]
    assert right.mean() > 0.8 and names["probabilities"].sum(axis=1) == pytest.approx(1, abs=1e-5)
    x = torch.tensor(digits[1297:] / 16, dtype=torch.float32)
    assert torch.allclose(names["ensemble"](x).exp().detach(), torch.from_numpy(names["probabilities"]), atol=1e-5)
    assert len(names["models"]) == 5
    assert "members.15.body.2.bias" in torch.load(folder / "ensemble.pt", weights_only=True)
    printed = Path(capsys.readouterr().out.splitlines()[-1])
    assert printed.is_file() and printed.suffix == ".html"


def test_the_tables_make_a_recipe(folder: Path) -> None:
    (tables,) = (tomllib.loads(block) for block in BLOCKS if "[architecture]" in block)
    recipe = (ROOT / "recipes" / "bring_your_own_checkpoints.toml").read_text(encoding="utf-8")
    assert tables.keys() == {"architecture", "dataset", "collect"} <= tomllib.loads(recipe).keys()
    (folder / "mine.toml").write_text(recipe)
    run = pdiff.run("mine.toml", set=tables | QUICK | {"sample.count": 5, "report": []}, quiet=True)
    saved = torch.load(folder / "checkpoints" / "step100.pt", weights_only=True)["model"]
    assert torch.equal(run.state_dict(0, "original")["body.2.bias"], saved["body.2.bias"])
    assert run.scores["networks"]["original"]["accuracy"]["mean"] > 0.7
