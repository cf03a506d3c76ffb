"""Sweeps of runs that are evaluated by conditions alone: no evaluator gives the task's score."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pdiff.context import Context
from pdiff.results.scores import compared
from pdiff_plugins.conditions.evaluation.evaluator import Conditions
from pdiff_plugins.fleet import effects, page
from pdiff_plugins.fleet.folder import Sweep
from pdiff_plugins.fleet.grid import Cell
from pdiff_plugins.maths.crossed import difference
from tests.conditions.evaluation.helpers import Given, network, scored, view, wrong_in


def swept(folder: Path, seeds: int) -> tuple[Sweep, dict[int, dict[str, Any]]]:
    """Return a sweep of runs whose method errs in one class of five, and one of whose baselines errs in none."""
    sweep, scores = Sweep.make(folder, [Cell("r.toml", {"seed": seed}, "r", seed) for seed in range(seeds)]), {}
    for seed in range(seeds):
        noisy = {name: Given(make, 0.6) for name, make in (("pdiff", wrong_in(1)), ("poor", wrong_in(3)))}
        seen = view(noisy | {"kernel": Given(network)})
        given = json.loads(json.dumps(Conditions(rival_steps=0, adapt=()).evaluate(seen, Context(seed=seed))))
        scores[seed] = scored(seen, given) | {
            "run": f"r-{seed}", "recipe": {"seed": seed}, "expect": [], "columns": {"conditions": []},
        }  # fmt: skip
        effects.keep(SimpleNamespace(scores=scores[seed]), sweep.examples(seed))  # type: ignore[arg-type]
    return sweep, scores


def test_one_seed_says_what_its_run_says(tmp_path: Path) -> None:
    sweep, scores = swept(tmp_path, 1)
    (group,) = page.groups(sweep, scores)
    for name, gain in scores[0]["conditions"]["gains"].items():
        assert group.gains[name].interval() == pytest.approx((gain["low"], gain["high"]))
    assert group.worse_than == ["kernel"] and "kernel beats pdiff" in page.verdict(group)


def test_over_seeds_controls_that_are_no_source_stand_in_the_table(tmp_path: Path) -> None:
    sweep, scores = swept(tmp_path, 3)
    written = page.write(sweep, "T", scores, {}).read_text()
    (group,) = page.groups(sweep, scores)
    assert group.sources == [
        "original", "pdiff", "poor", "kernel", "larger class", "mean of all networks", "yes to the first class",
    ]  # fmt: skip
    assert "kernel" in group.worse_than and "poor" in group.better_than
    assert "larger class" in written and "mean of all networks" in written and "kernel beats pdiff" in written.lower()


def test_over_seeds_examples_are_crossed_with_them(tmp_path: Path) -> None:
    sweep, scores = swept(tmp_path, 3)
    (group,) = page.groups(sweep, scores)
    for name in ("original", "poor", "larger class"):
        means = [
            compared(each)["pdiff"]["mean"] - compared(each)[name]["mean"] for each in scores.values()
        ]  # fmt: skip
        assert group.gains[name].mean == pytest.approx(sum(means) / 3)
        groups = [each["conditions"]["groups"] for each in scores.values()]
        gain_SG = torch.tensor([each["pdiff"] for each in groups]) - torch.tensor([each[name] for each in groups])
        known = difference(gain_SG, torch.zeros(1, gain_SG.shape[1]))
        assert group.gains[name].error == pytest.approx(known.error, rel=1e-4)
