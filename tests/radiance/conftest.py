"""A run of scenes that several tests read."""

from __future__ import annotations

import pytest

import pdiff
from tests.helpers import ROOT

SMALL = {
    "dataset": {"name": "scenes3d", "count": 9, "side": 8, "views": 4, "unseen": 1},
    "collect": {"name": "fields", "learnt": 6, "held_out": 3, "steps": 15, "points": 32, "near": 0},
    "method": {"name": "hypernetwork", "steps": 3, "tasks": 2, "batch_size": 8, "width": 8, "around": "mean"},
    "baseline": [{"name": "kernel"}, {"name": "pdiff", "steps": 3, "timesteps": 6, "batch_size": 6}],
    "sample": {"count": 4, "baseline_count": 2},
    "evaluate": [
        {"name": "renderings", "samples": 3, "films": 2, "frames": 3, "turns": 5, "side": 8, "sides": (8, 12)}
    ],
    "report": [{"name": "html"}, {"name": "meshes", "side": 12, "samples": 2, "format": "obj"}],
}  # fmt: skip
"""Of the recipe, cut down; its networks are hardly fitted."""


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Return a finished run whose pictures were kept."""
    pytest.importorskip("skimage")
    pytest.importorskip("trimesh")
    folder = tmp_path_factory.mktemp("scenes")
    return pdiff.run(ROOT / "recipes" / "radiance_scenes.toml", set=SMALL | {"run.out": str(folder)}, quiet=True)
