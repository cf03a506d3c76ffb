"""Whole runs of each task on a pretended accelerator: trained, collected, fitted, sampled, evaluated and reported."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torchvision  # noqa: F401 - its modules are looked up by name

from pdiff.components import Dataset
from pdiff.testing import tiny_run
from pdiff_plugins.populations import chooser
from tests.accelerator.helpers import clean
from tests.accelerator.modes import pretended
from tests.coco import small_coco
from tests.components.cases import CASES, pixel_splits
from tests.components.runs import DIGITS, DRAWING, FIELDS, SHAPES, SOLIDS
from tests.radiance.helpers import DESCRIBED, SCENES

PDIFF = {
    "method": {"name": "pdiff", "codec": {"name": "pca", "latent": 4}, "steps": 8, "timesteps": 8, "batch_size": 5}
}
SHORT = {
    "train": {"epochs": 1, "batch_size": 8},
    "collect": {"name": "trajectory", "count": 8, "lr": 0.01, "batch_size": 8},
}


UNSTEADY = {
    "segmentation": {"nll_loss2d_forward", "nll_loss2d_backward", "upsample_bilinear2d_backward"},
    "detection": {"_roi_align_backward"},
}
"""Tasks that do not repeat bit by bit on CUDA (see docs/reliability.md), and what has no deterministic kernel there."""


QUICK = {"classification", "adapters"}
"""Runs that are tried each time."""


class Pixels(Dataset):
    """Small images with a class for every pixel."""

    name = "pixels"

    def load(self, ctx: Any) -> Any:
        return pixel_splits()


class Rows(Dataset):
    """The rows of a task's case."""

    name = "rows"
    of: str

    def load(self, ctx: Any) -> Any:
        return CASES["task"][self.of]["data"]


OF_TASKS = PDIFF | {
    "train": {"epochs": 0},
    "architecture": {"name": "mlp", "hidden": (4,)}, "selector": {"name": "entire"},
    "dataset": DIGITS | {"image_size": 8, "augment": "none"},
    "collect": {"name": "tasks", "learnt": 8, "held_out": 3, "steps": 4, "lr": 0.01, "batch_size": 8},
    "baseline": [{"name": "hypernetwork", "steps": 4, "tasks": 4}, {"name": "kernel"}],
    "evaluate": [{"name": "conditions", "tasks": 4, "samples": 2, "adapt": (0, 1), "rival_steps": 2}],
}  # fmt: skip
ROWED = ("regression", "binary", "multilabel")
ROWS = SHORT | PDIFF | {
    "architecture": {"name": "mlp", "hidden": (4,)}, "selector": {"name": "entire"}, "evaluate": [{"name": "accuracy"}],
}  # fmt: skip
RUNS: dict[str, dict[str, Any]] = {
    "classification": SHORT | PDIFF | {
        "dataset": DIGITS | {"image_size": 16, "augment": "pad_crop_flip"}, "task": {"name": "classification"},
        "architecture": {"name": "convnet_mini"}, "selector": {"name": "entire"}, "baseline": [{"name": "soup"}],
        "train": {"epochs": 1, "keep": "average"},
        "evaluate": [{"name": "accuracy"}, {"name": "similarity"}, {"name": "distance"}, {"name": "denoising"}],
    },
    "adapters": SHORT | PDIFF | {
        "dataset": DIGITS, "task": {"name": "classification"}, "architecture": {"name": "strided_cnn"},
        "selector": {"name": "lora", "rank": 2}, "collect": {"name": "seeds", "count": 8, "steps": 4, "lr": 0.01},
        "baseline": [{"name": "soup"}], "evaluate": [{"name": "accuracy"}, {"name": "distance"}],
    },
    "segmentation": SHORT | PDIFF | {
        "dataset": Pixels(), "task": {"name": "segmentation", "classes": 3}, "selector": {"name": "last_norms"},
        "architecture": {"name": "fcn_tiny", "widths": (4, 8)}, "evaluate": [{"name": "accuracy"}],
    },
    "detection": SHORT | PDIFF | {
        "dataset": {"name": "coco_detection", "root": "coco", "validation": 0.25, "classes": ("person", "bicycle")},
        "task": {"name": "detection"}, "architecture": {"name": "fasterrcnn_tiny", "widths": (4, 8), "image_size": 64},
        "selector": {"name": "last_norms"}, "evaluate": [{"name": "accuracy"}],
    },
    "subsets": OF_TASKS | {"task": {"name": "subsets"}, "encoder": {"name": "bits"}},
    "shifts": OF_TASKS | {"task": {"name": "shifts"}, "encoder": {"name": "attributes", "angles": ("rotation",)}},
    "orders": OF_TASKS | {"task": {"name": "orders"}, "encoder": {"name": "features", "by": "inputs"}},
    "field": FIELDS | PDIFF | {
        "evaluate": [{"name": "fields"}, {"name": "renderings", "samples": 2, "films": 1, "frames": 3, "sides": (4,)}],
    },
    "radiance": SCENES | DESCRIBED | PDIFF | {
        "baseline": [{"name": "hypernetwork", "steps": 4, "tasks": 4}, {"name": "kernel"}],
        "evaluate": [{"name": "conditions", "tasks": 2, "samples": 2, "adapt": (), "rival_steps": 0}],
    },
    "solids": SOLIDS | {"evaluate": [{"name": "fields"}]},
    "shape": SHAPES | PDIFF | {
        "baseline": [{"name": "hypernetwork", "steps": 4, "tasks": 4}, {"name": "kernel"}],
        "evaluate": [{"name": "conditions", "tasks": 4, "adapt": (), "rival_steps": 0}, {"name": "fields"}],
    },
    "generation": DRAWING | SHORT | PDIFF | {"evaluate": [{"name": "frechet", "images": 2}]},
    "control": SHORT | PDIFF | {
        "dataset": {"name": "cartpole"}, "task": {"name": "control", "steps": 4, "horizon": 3},
        "architecture": {"name": "mlp", "hidden": (4,)}, "selector": {"name": "entire"},
        "evaluate": [{"name": "accuracy"}],
    },
    **{name: ROWS | {"dataset": Rows(of=name), "task": {"name": name}} for name in ROWED},
    "python": ROWS | {"dataset": DIGITS, "task": {"name": "python", "target": "tests.own.code:loss"}},
}  # fmt: skip


def test_every_task_has_a_run() -> None:
    assert {run["task"]["name"] for run in RUNS.values()} == set(CASES["task"]) | {"detection"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in RUNS])
def test_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chooser, "QUICK_S", 0.0)  # several networks at a time are tried, too
    monkeypatch.setattr(chooser, "WORTH_S", 0.0)
    # What torchvision takes in place of its kernel where deterministic ones are asked for: it is compiled.
    monkeypatch.setattr(sys.modules["torchvision.ops.roi_align"], "_roi_align", None)
    if name == "detection":
        small_coco.write(tmp_path / "coco", train=12, val=6, side=56)
    runs = {"out": str(tmp_path / "runs"), "data": str(tmp_path), "device": "cuda:1"}
    with pretended() as pretence:
        pipeline = tiny_run(tmp_path, **RUNS[name], run=runs)
        scores = [pipeline.evaluate(evaluator) for evaluator in pipeline.recipe.evaluate]
    assert all(scores)
    clean(pretence)
    assert pretence.unsteady == UNSTEADY.get(name, set())
    assert pretence.replays > 0 or name in ("detection", "solids")
