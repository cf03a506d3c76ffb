"""What commands print: tables that fit, what is left out of them by name, and help that is not cut."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.main import get_command

from pdiff.cli import build, text
from pdiff.results.summary import shown, table

TITLES = ["best", "mean", "std", "min", "IoU in", "IoU to", "ratio", "NLL", "N&P 1x"]
SCORES: dict[str, Any] = {
    "run": "quickstart-0123abcd", "recipe": {}, "protocol": "holdout", "scored_by": "", "method": "pdiff",
    "columns": {"one": [[title, title, ".4f"] for title in TITLES]}, "first": ["best", "mean", "IoU in", "ratio"],
    "networks": {
        source: {"count": 300, "one": dict.fromkeys(TITLES, 0.12345)} for source in ("original", "noise 1 zoo", "pdiff")
    },
    "legends": ["IoU: overlap of wrong answers, in: within the source; NLL: negative log-likelihood, of classes"],
    "notes": [], "verdict": "pdiff is as good as the originals",
}  # fmt: skip


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch):
    """Return a function that prints a run as a terminal of a width shows it, no width: into a file."""

    def print_run(width: int, **options: Any) -> list[str]:
        out = io.StringIO()
        console = Console(file=out, force_terminal=bool(width), width=width or 40, color_system=None)
        monkeypatch.setattr(text, "console", lambda: console)
        text.print_run(SCORES, Path("runs/my run"), **options)
        return out.getvalue().splitlines()

    return print_run


@pytest.mark.parametrize("width", [60, 80, 120, 0])
def test_the_table_fits_and_what_is_left_out_is_named(printed, width: int) -> None:
    lines = printed(width)
    if width:
        assert max(map(len, lines)) <= width
    head = next(line for line in lines if line.startswith("networks"))
    assert head.split() == ["networks", "n", "best", "mean", "IoU", "in", "ratio"] and len(head) <= 60
    more = "5 columns more (std, min, IoU to, NLL, N&P 1x): pdiff show 'runs/my run' --wide, or --json"
    assert " ".join(" ".join(lines).split()).count(more) == 1
    assert all(len(line) <= (width or 80) for line in lines if "--wide" in line or "columns more" in line)
    assert "verdict: pdiff is as good as the originals" in lines
    words = " ".join(lines).split()
    assert "overlap" in words and "likelihood," not in words, "no legend of columns that are not there"
    assert not any(line != line.rstrip() for line in lines) or width


def test_every_column_is_there_when_it_is_asked_for(printed) -> None:
    lines = printed(0, wide=True)
    head = next(line for line in lines if line.startswith("networks"))
    assert [title for title in TITLES if title not in head] == [] and "columns more" not in " ".join(lines)
    assert sum("0.1235" in line for line in lines) == 3 and any("negative log-likelihood" in line for line in lines)


def test_columns_go_from_the_right_where_even_those_do_not_fit() -> None:
    head, rows = table(SCORES)
    for width in (60, 40, 30, 20, 5):
        kept = shown(SCORES, head, rows, width)
        needed = sum(max(len(head[i]), *(len(row[i]) for row in rows)) + 2 for i in kept) - 2
        assert kept[:2] == [0, 1] and (needed <= width or len(kept) == 2)
    foreign = {key: value for key, value in SCORES.items() if key != "first"}
    assert shown(foreign, head, rows, 500) == list(range(len(head))), "of an older run, or of others' evaluators: all"


def test_help_fits_a_terminal_and_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    group = get_command(build())
    for name in ("", *group.commands):
        for flag in ("-h", "--help"):
            out = io.StringIO()
            monkeypatch.setattr(sys, "stdout", out)
            with pytest.raises(SystemExit) as stop:
                group.main([*([name] if name else []), flag], prog_name="pdiff")
            assert not stop.value.code
        lines = out.getvalue().splitlines()
        assert lines[0].startswith("Usage: pdiff") and max(map(len, lines)) <= 80
        if not name:
            assert not [line for line in lines if line.endswith("...") and not line.startswith("Usage")]
            assert {"--install-completion", "--show-completion"} <= set(" ".join(lines).split())


def test_the_package_is_the_program_and_completes(tmp_path: Path) -> None:
    def said(*arguments: str, **environment: str) -> str:
        command = [sys.executable, "-m", "pdiff", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert said("--version").startswith("pdiff ")
    typed = {"_PDIFF_COMPLETE": "complete_bash", "COMP_WORDS": "pdiff list", "COMP_CWORD": "1"}
    assert said(**typed).split() == ["list-plugins"]
