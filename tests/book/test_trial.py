"""One recipe of the book as the campaign tries all of them, and that the campaign sees what is wrong."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from torchvision.datasets import CIFAR10

from tests.campaign import book
from tests.campaign.book_world import offline, reading, sets


def damaged(path: Path, old: str, new: str) -> str | None:
    """Return what is said of the run where one of its files is another."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    told = reading.fault(path.parent)
    path.write_text(text)
    return told


def test_a_recipe_of_the_book_runs_offline_from_its_data_to_its_report(here: Path, monkeypatch) -> None:
    sets.cifar(here / "data", CIFAR10, "labels", 10, monkeypatch)
    asked = offline.cut_off(monkeypatch)
    book.weigh(here / book.RESNET20)
    plan = book.planned(book.RECIPES / "cifar10_resnet20.toml", seed=0)
    assert plan.small["collect"]["count"] < 10 and [table["name"] for table in plan.small["baseline"]][-1] == "constant"
    assert book.trial(plan, asked) is None
    (folder,) = (path for path in (here / "runs").glob("cifar10_resnet20-*"))
    assert reading.fault(folder) is None
    assert damaged(folder / "scores.json", '"mean": ', '"mean": NaN, "more": ') == "scores.json holds NaN"
    assert damaged(folder / "report.md", "\n| soup |", "\n| soap |") == "report.md has no row of soup"
    assert damaged(folder / "report.md", "## Time", "## Not shown\n\n- score: fell") == "report.md has no ## Time"
    assert damaged(folder / "index.html", 'id="denoising"', 'id="x"') == "no figure denoising"
    (folder / "audit.html").unlink()
    assert reading.fault(folder) == "audit.html is listed and not there"


def test_other_hosts_are_refused_and_written_down(monkeypatch) -> None:
    asked = offline.cut_off(monkeypatch)
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("example.org", 80), timeout=1)
    with socket.socket() as one, pytest.raises(OSError, match="no network"):
        one.connect(("192.0.2.1", 80))
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
    assert asked == ["example.org", "192.0.2.1"]
