"""Fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers import TINY

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A copy of the small recipe, alone in a folder that is the current one."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory):
    """A finished run of the small recipe; tests read it and do not change it."""
    import pdiff

    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.toml").write_text(TINY)
    return pdiff.run(folder / "tiny.toml", set={"run.out": str(folder / "runs")}, quiet=True)
