"""Two runs at once end in the bytes of one that was left alone; tests/campaign has what kills leave."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every result but the clock times in stage.json."""
    files = [file for file in sorted((folder / "runs" / "store").rglob("*")) if file.is_file()]
    names = [f for f in files if f.name != "stage.json" and f.suffix != ".lease" and not f.name.startswith("snapshot")]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in names}


def copies(tiny: Path, *names: str) -> list[Path]:
    """Return folders that hold the recipe."""
    folders = [tiny.parent / name for name in names]
    for folder in folders:
        folder.mkdir()
        (folder / "tiny.toml").write_text(tiny.read_text())
    return folders


def start(folder: Path) -> subprocess.Popen:
    code = "import pdiff; pdiff.run('tiny.toml', quiet=True)"
    return subprocess.Popen([sys.executable, "-c", code], cwd=folder, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow  # test_store has the same for one stage
def test_two_runs_at_once_on_one_store_give_one_result(tiny: Path) -> None:
    (alone,) = copies(tiny, "alone")
    processes = [start(tiny.parent), start(tiny.parent), start(alone)]
    for process in processes:
        assert process.communicate()[1] == "" and process.returncode == 0
    assert not list((tiny.parent / "runs" / "store").glob("*.part"))
    assert digests(tiny.parent) == digests(alone)
