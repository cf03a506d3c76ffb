"""A transformer, G.pt and a run of it at the size of a test."""

from __future__ import annotations

TRANSFORMER = {"width": 8, "depth": 1, "heads": 2}
SHORT_GPT = TRANSFORMER | {"steps": 3, "batch_size": 8, "timesteps": 6, "sampling_steps": 2, "waves": 4, "warmup": 0}
PROMPTED = {
    "task": {"name": "classification"}, "architecture": {"name": "mlp", "hidden": (4,)}, "train": {},
    "selector": {"name": "entire"}, "zoo": [{"name": "holdout", "count": 6}], "baseline": [],
    "method": {"name": "gpt"} | SHORT_GPT,
    "collect": {"name": "seeds", "count": 6, "steps": 4, "lr": 0.1, "batch_size": 20, "every": 2,
                "include_start": True},
}  # fmt: skip
"""A run in which networks are asked for."""
