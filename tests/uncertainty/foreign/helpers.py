"""Runs of which only the dataset counts, and what their splits hold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pdiff.data import DatasetSplits
from tests.images.helpers import context, everything

DIGITS8 = {"image_size": 8, "mean": (0.3,), "std": (0.4,)}


def run_on(dataset: Any, splits: DatasetSplits | None = None, root: Any = "data") -> Any:
    """Return what foreign examples read of a view."""
    splits = splits or dataset.load(context(root))
    bench = SimpleNamespace(examples=splits.split)
    return SimpleNamespace(recipe=SimpleNamespace(dataset=dataset), bench=bench)


def pixels(split: Any, dataset: Any) -> Any:
    """Return all images of a split in 0..1, by the dataset's mean and standard deviation."""
    return everything(split).inputs * dataset.std[0] + dataset.mean[0]
