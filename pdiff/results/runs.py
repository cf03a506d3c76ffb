"""Finished runs on disk: how one is named, found and read. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pdiff.errors import UserError
from pdiff.files import read_json

SCORES = "scores.json"
GIVEN, RESOLVED = "recipe.toml", "resolved.toml"


def finished(out: str | Path) -> list[Path]:
    """Return the folders of finished runs, newest first."""
    folders = [path.parent for path in Path(out).glob(f"*/{SCORES}")]
    return sorted(folders, key=lambda folder: (folder / SCORES).stat().st_mtime, reverse=True)


def find_run(name: str | Path, out: str | Path = "runs") -> Path:
    """Return a run's folder, given that folder, its name, or its recipe's name or file (then the newest). UserError."""
    path = Path(name)
    for folder in (path, Path(out) / path):
        if (folder / SCORES).is_file():
            return folder
    runs = finished(out)
    for folder in runs:
        if folder.name.rpartition("-")[0] == path.stem:
            return folder
    known = ", ".join(folder.name for folder in runs[:5]) or "none yet: pdiff run RECIPE"
    raise UserError(f"{name}: no finished run of that name in {out}/ (there: {known})")


def read_scores(folder: Path) -> dict[str, Any]:
    """Return a run's scores. Raises UserError when they are damaged."""
    scores = read_json(folder / SCORES)
    if not isinstance(scores, dict) or not {"networks", "columns", "stages"} <= set(scores):
        raise UserError(f"{folder / SCORES}: damaged; run its recipe again, which computes only what is missing")
    return scores
