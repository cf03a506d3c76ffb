"""Cells made smaller: with few steps, or with the method that a CPU can train."""

from __future__ import annotations

from typing import Any

Recipe = dict[str, Any]
NOISES = ("input_noise", "latent_noise")
TRAIN, TEST, BATCH, CHECKPOINTS, STEPS, DRAWN = 16, 8, 4, 4, 2, 3
"""Of a smoke test: examples, those of a step, checkpoints, training steps, networks."""

TRAINED = ("s_kde30", "sane_kde30", "sane_sub")
"""Baselines with a codec that is trained."""


def efficient(recipe: Recipe) -> Recipe:
    """Return the recipe with pdiff's default instead of the paper's method; what an ablation varies is kept."""
    method = recipe["method"]
    if method["name"] != "pdiff_paper":
        return recipe | {"method": {"name": method["name"].removesuffix("_paper")}}
    brief: Recipe = {"name": "pdiff"} | {key: method[key] for key in ("timesteps", "batch_size") if key in method}
    noises = {key: method["codec"][key] for key in NOISES if key in method["codec"]}
    if noises:  # principal components know no noise
        brief["codec"] = {"name": "autoencoder"} | noises
    return recipe | {"method": brief}


def smoke(recipe: Recipe) -> Recipe:
    """Return the recipe with few examples, checkpoints, steps and networks, from random weights."""
    few = {"name": "part", "of": recipe["dataset"], "train": TRAIN, "validation": TEST, "test": TEST}
    random = {key: value for key, value in recipe["architecture"].items() if key != "weights"}
    small: Recipe = {
        "dataset": few,
        "architecture": random,
        "collect": _short(recipe["collect"]),
        "method": _brief(recipe["method"]),
    }
    if "train" in recipe:
        small["train"] = recipe["train"] | {"epochs": min(recipe["train"]["epochs"], 1), "batch_size": BATCH}
    if "zoo" in recipe:
        small["zoo"] = [step | {"count": min(step["count"], CHECKPOINTS)} for step in recipe["zoo"]]
    coarse = {"name": "denoising", "networks": 2, "points": 2}
    evaluators = [coarse if evaluator["name"] == "denoising" else evaluator for evaluator in recipe["evaluate"]]
    if "baseline" in recipe:
        small["baseline"] = [
            baseline | ({"codec": {"steps": STEPS, "batch_size": STEPS}} if baseline["name"] in TRAINED else {})
            for baseline in recipe["baseline"]
        ]
    return recipe | small | {"evaluate": evaluators, "sample": {"count": DRAWN, "baseline_count": 2}}


def _short(collect: Recipe) -> Recipe:
    less = {"count": CHECKPOINTS, "batch_size": BATCH, "every": 1, "skip_steps": 0}
    return collect | {key: value for key, value in less.items() if key in collect}


def _brief(method: Recipe) -> Recipe:
    batch = {"batch_size": min(method.get("batch_size", STEPS), STEPS)}
    less = method | batch | {"steps": STEPS}
    if method["name"].startswith("pdiff"):
        less |= {"sampler": "ddim", "sampling_steps": STEPS}
        codec = method.get("codec")
        if codec and codec["name"] != "pca":
            less["codec"] = codec | batch | {"steps": STEPS}
    return less
