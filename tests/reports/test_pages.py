"""Pages are whole or not there, and what is not whole any more is written again."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest

from pdiff_plugins.reports import reports
from tests.helpers import call, mistake


@pytest.fixture
def folder(finished, here: Path) -> Path:
    shutil.copytree(finished.folder.parent, here / "runs")
    shutil.copyfile(finished.folder.parent.parent / "tiny.toml", here / "tiny.toml")
    return here / "runs" / finished.folder.name


@pytest.mark.parametrize("harm", [
    lambda page, mark: page.write_text(page.read_text()[:100]),
    lambda page, mark: page.write_text("x" * len(page.read_text())),
    lambda page, mark: page.unlink(),
    lambda page, mark: mark.write_bytes(b""),
    lambda page, mark: mark.write_text("[]"),
    lambda page, mark: mark.write_text('{"wanted": 1, "paths": ["report.md"]}'),
])  # fmt: skip
def test_a_page_that_is_not_as_it_was_written_is_written_again(folder: Path, harm) -> None:
    page, mark = folder / "report.md", folder / "report.json"
    before = page.read_text()
    harm(page, mark)
    call("run", "tiny.toml", "-q")
    assert page.read_text() == before and json.loads(mark.read_text())["pages"].keys() == {"report.md"}


def test_a_full_disk_keeps_the_old_page_names_it_and_is_made_good(folder: Path, monkeypatch) -> None:
    page, before = folder / "report.md", (folder / "report.md").read_text()
    with monkeypatch.context() as patch:
        patch.setattr("pdiff.files.os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
        assert "report.md: cannot be written (No space left); make room" in mistake("report", "tiny")
    assert page.read_text() == before and not (folder / "report.json").exists()
    call("run", "tiny.toml", "-q")
    assert page.read_text() == before and (folder / "report.json").is_file()


def test_a_report_that_writes_in_place_and_fails_is_not_taken_as_good(folder: Path, monkeypatch) -> None:
    before = (folder / "report.md").read_text()

    def in_place(path: Path, text: str) -> None:
        path.write_text(text[:100])
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(reports, "write_text", in_place)
        assert f"{folder.name}: Input/output error" in mistake("report", "tiny")
    call("run", "tiny.toml", "-q")
    assert (folder / "report.md").read_text() == before


def test_what_a_kill_left_half_written_is_cleared_away(folder: Path) -> None:
    (folder / "scores.json.1234.tmp").write_text("{")
    call("run", "tiny.toml", "-q")
    assert not list(folder.rglob("*.tmp"))
