"""The page of a sweep: its tables, and what it says of the method, above all where a baseline wins."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from pdiff.files import save_tensors
from pdiff_plugins.fleet import page
from pdiff_plugins.fleet.effects import TARGETS
from pdiff_plugins.fleet.folder import Outcome, Sweep
from pdiff_plugins.fleet.grid import Cell

SOURCES = ("original", "pdiff", "soup", "noise")


def swept(
    folder: Path, means: dict[str, dict[int, list[float]]]
) -> tuple[Sweep, dict[int, dict[str, Any]], dict[int, Outcome]]:
    """Return a sweep whose cells, by setting and seed, have these mean scores of the four sources."""
    cells = [Cell("r.toml", {"a": name, "seed": seed}, name, seed) for name, seeds in means.items() for seed in seeds]
    sweep, scores = Sweep.make(folder, cells), {}
    for number, (name, seed) in enumerate((cell.group, cell.seed) for cell in cells):
        of = dict(zip(SOURCES, means[name][seed], strict=True))
        scores[number] = {
            "run": f"r-{number}", "method": "pdiff", "scored_by": "accuracy", "protocol": "holdout", "expect": [],
            "recipe": {"seed": seed},
            "networks": {
                source: {"count": 2, "accuracy": {"mean": mean, "values": [mean] * 2}} for source, mean in of.items()
            },
        }  # fmt: skip
        generator = torch.Generator().manual_seed(seed)
        noise_E = 0.01 * torch.randn(200, generator=generator, dtype=torch.float64)
        noise_E -= noise_E.mean()
        tensors = {
            f"of {source}": mean + (noise_E if source == "pdiff" else 0 * noise_E) for source, mean in of.items()
        }
        tensors |= {f"over {source}": torch.tensor([of["pdiff"] - of[source], 0.001, 50.0]).double() for source in of}
        tensors[TARGETS] = torch.zeros(2, dtype=torch.uint8)
        save_tensors(sweep.examples(number), tensors)
    return sweep, scores, {}


def test_a_baseline_that_beats_the_method_is_named_first_and_counted(tmp_path: Path) -> None:
    wins = {seed: [0.90, 0.95 + seed / 1000, 0.90 + seed / 1000, 0.80] for seed in range(3)}
    loses = {seed: [0.90, 0.80 + seed / 1000, 0.90 + seed / 1000, 0.70] for seed in range(3)}
    sweep, scores, outcomes = swept(tmp_path, {"wins": wins, "loses": loses})
    first, second = page.groups(sweep, scores)
    assert page.verdict(first) == "better than original, soup, noise"
    assert page.verdict(second).startswith("pdiff is worse than the checkpoints it learnt from; soup beats pdiff")
    assert page.headline([first, second]) == (
        "2 settings: a baseline beats the method in 1; it is better than all other sources in 1"
    )
    written = page.write(sweep, "T", scores, outcomes).read_text()
    assert "soup beats pdiff" in written.lower() and "a baseline beats the method in 1" in written


def test_a_seed_that_is_missing_and_a_cell_that_failed_leave_their_places_empty(tmp_path: Path) -> None:
    sweep, scores, _ = swept(tmp_path, {"a": {0: [0.9] * 4, 1: [0.8, 0.81, 0.82, 0.7]}, "b": {1: [0.5, 0.6, 0.5, 0.4]}})
    del scores[0]
    page.write(sweep, "T", scores, {0: Outcome(failure="fit pdiff: no luck")})
    text = (sweep.path / "index.md").read_text()
    head, *rows = [line for line in text.splitlines() if line.startswith(("| cell | seed", "| a |", "| b |"))]
    assert head.startswith("| cell | seed 1 | mean |") and all(row.count("|") == head.count("|") for row in rows)
    assert "| a seed=0 | fit pdiff: no luck |" in text
    told = json.loads((sweep.path / "results.json").read_text())
    assert [each["seeds"] for each in told] == [[1], [1]]
    assert told[1]["differences"]["soup"]["mean"] == pytest.approx(0.1)


def test_a_score_that_is_no_number_neither_wins_nor_hides_what_does(tmp_path: Path) -> None:
    means = {seed: [0.90, 0.80 + seed / 1000, math.nan, 0.90 + seed / 1000] for seed in range(3)}
    sweep, scores, outcomes = swept(tmp_path, {"a": means})
    group = page.groups(sweep, scores)[0]
    assert group.worse_than == ["noise"] and "soup" not in group.gains
    page.write(sweep, "T", scores, outcomes)
    assert json.loads((sweep.path / "results.json").read_text())[0]["means"]["soup"] == [None] * 3
