"""A run whose networks are read, and others like it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pdiff
from pdiff.runs import Run

TABLES: dict[str, Any] = {
    "seed": 3,
    "dataset": {"name": "part", "of": {"name": "digits", "image_size": 8, "mean": [0.0], "std": [1.0]}, "train": 300,
                "validation": 200, "test": 60},
    "task": {"name": "classification"},
    "architecture": {"name": "mlp", "hidden": [6]},
    "selector": {"name": "entire"},
    "train": {"epochs": 0},
    "collect": {"name": "varied", "count": 120, "steps": [1, 60], "lr": [1e-3, 0.1], "batch_size": 32},
    "method": {"name": "interpolation"},
    "baseline": [],
    "sample": {"count": 12},
    "evaluate": [{"name": "predict_property", "readers": [{"name": "statistics"}]}],
    "report": [{"name": "markdown"}],
}  # fmt: skip


def finished(folder: Path, **tables: Any) -> Run:
    """Return a finished run in a folder, by other tables where they are given."""
    return pdiff.run(TABLES | tables, out=folder, name="read", quiet=True)
