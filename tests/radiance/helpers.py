"""Scenes at the size of a test."""

from __future__ import annotations

from typing import Any

SCENES: dict[str, Any] = {
    "dataset": {"name": "scenes3d", "count": 18, "side": 12, "views": 1, "unseen": 2}, "task": {"name": "radiance"},
    "train": {}, "architecture": {"name": "radiance_mlp", "width": 8}, "selector": {"name": "entire"},
    "collect": {"name": "fields", "learnt": 12, "held_out": 6, "steps": 2, "points": 8, "near": 0},
    "encoder": {"name": "label"}, "method": {"name": "neighbours"}, "baseline": [{"name": "copy"}],
    "sample": {"count": 6, "baseline_count": 6},
}  # fmt: skip
"""A run in which networks are scenes, hardly fitted, asked for by kind."""
DESCRIBED = {"encoder": {"name": "attributes", "numbers": ["red", "green", "blue", "size", "height"]}}
"""What asks for them by all that tells them apart."""
