"""Recipes cut down: few examples, steps, checkpoints and networks; every component, its name and its place stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Table = dict[str, Any]

SIDES = {480: 64, 224: 32, 160: 64, 128: 64}
"""Sides of images that are made smaller, and what they become."""
PART = {"train": 16, "validation": 8, "test": 8}
"""Examples of each split, of a set that has too many."""
LISTED = ("flowers102", "food101", "oxford_pets", "imagenet")
"""Sets that are refused unless all of their classes are there."""
DRAWING = 2
"""Steps of drawing an image."""
ZERO_IS_ALL = ("sampling_steps", "shapes")
MOST: dict[str, dict[str, int]] = {
    "dataset": {
        "train": 24, "validation": 12, "test": 12, "examples": 3, "test_count": 12, "count": 30, "resolution": 12,
        "near": 200, "longest": 64,
    },
    "task": {"steps": 20},
    "architecture": {"min_size": 64, "max_size": 96},
    "train": {"epochs": 2, "batch_size": 8},
    "collect": {
        "count": 6, "steps": 30, "batch_size": 8, "every": 2, "skip_steps": 5, "log_spaced": 4, "shapes": 24,
        "points": 64, "near": 64,
    },
    "zoo": {"count": 5},
    "method": {
        "steps": 2, "batch_size": 2, "sampling_steps": 3, "networks": 4, "copies": 1, "warmup": 2,
        "centres": 4,
    },
    "sample": {"count": 2, "baseline_count": 2},
    "evaluate": {
        "networks": 2, "points": 3, "steps": 2, "resamples": 50, "draws": 2, "aligned": 2, "starts": 3, "prompts": 4,
        "recursive": 2, "repeats": 2, "optimizer_steps": 5, "optimizer_starts": 2, "grid": 4, "nearest": 10,
        "surface_points": 64, "compared": 6, "samples": 3,
    },
    "report": {"samples": 3},
}  # fmt: skip
"""Section -> option -> the most that is left of it, at any depth."""
MOST["baseline"] = MOST["method"]


def cut_down(recipe: Table, whole: Mapping[str, Any]) -> Table:
    """Return the recipe with smaller numbers; `whole` is it with every option written out."""
    small = recipe | {
        section: _cut(recipe.get(section, [] if isinstance(whole[section], list) else {}), whole[section], most)
        for section, most in MOST.items()
        if whole[section]
    }
    if recipe["task"]["name"] == "generation":
        small["task"]["steps"] = DRAWING
    if recipe["dataset"]["name"] in LISTED:
        small["dataset"] = {"name": "part", "of": small["dataset"], **PART}
    return small


def _cut(given: Any, whole: Any, most: Mapping[str, int]) -> Any:
    if isinstance(whole, list):
        return [_cut(table, all_of_it, most) for table, all_of_it in zip(given, whole, strict=True)]
    table = dict(given)
    for option, value in whole.items():
        if isinstance(value, Mapping) or (isinstance(value, list) and value and isinstance(value[0], Mapping)):
            inner = _cut(given.get(option, {} if isinstance(value, Mapping) else value), value, most)
            if inner != given.get(option, {}):
                table[option] = inner if isinstance(inner, list) else {"name": value["name"]} | inner
        elif isinstance(value, int) and (less := _less(option, value, most)) != value:
            table[option] = less
    return table


def _less(option: str, value: int, most: Mapping[str, int]) -> int:
    if option == "image_size":
        return SIDES.get(value, value)
    bound = most.get(option, value)
    return bound if value > bound or (value == 0 and option in ZERO_IS_ALL and option in most) else value
