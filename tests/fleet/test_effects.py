"""Differences over seeds: against the analysis of variance, in simulated null cases, and with one seed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pdiff.files import save_tensors
from pdiff_plugins.fleet.effects import TARGETS, interval, over


def kept(folder: Path, gains_SE: np.ndarray, digests: list[int] | None = None) -> list[Path]:
    """Write what seeds would keep of a method that scores `gains_SE` and of a source that scores nothing."""
    paths = []
    for seed, gain_E in enumerate(gains_SE):
        path = folder / f"{seed}.safetensors"
        score_E = torch.from_numpy(gain_E.copy())
        digest = torch.tensor([digests[seed] if digests else 7], dtype=torch.uint8)
        alone = torch.tensor([0.25, 0.5, 12.0], dtype=torch.float64)
        of = {"of m": score_E, "of s": torch.zeros_like(score_E), "over s": alone, TARGETS: digest}
        save_tensors(path, of)
        paths.append(path)
    return paths


def test_it_is_the_two_way_analysis_of_variance(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    seeds, examples = 4, 50
    gain_SE = rng.normal(size=(seeds, 1)) + rng.normal(size=(1, examples)) + 0.3 * rng.normal(size=(seeds, examples))
    found = over(kept(tmp_path, gain_SE), [(float(row.mean()), 0.0) for row in gain_SE], "m", "s")
    left_SE = gain_SE - gain_SE.mean(1, keepdims=True) - gain_SE.mean(0) + gain_SE.mean()
    of_seeds = examples * gain_SE.mean(1).var(ddof=1)
    of_examples = seeds * gain_SE.mean(0).var(ddof=1)
    of_rest = (left_SE**2).sum() / ((seeds - 1) * (examples - 1))
    assert found.mean == pytest.approx(gain_SE.mean())
    assert found.error == pytest.approx(math.sqrt((of_seeds + of_examples - of_rest) / (seeds * examples)))


def test_its_interval_holds_the_truth_in_95_of_100_null_cases(tmp_path: Path) -> None:
    rng, inside = np.random.default_rng(1), 0
    for _ in range(120):
        gain_SE = 0.1 * rng.normal(size=(3, 1)) + 0.2 * rng.normal(size=(1, 40)) + 0.5 * rng.normal(size=(3, 40))
        low, high = over(kept(tmp_path, gain_SE), [(float(row.mean()), 0.0) for row in gain_SE], "m", "s").interval()
        inside += low <= 0 <= high
    assert 0.9 <= inside / 120 <= 1.0


def test_where_seeds_have_other_examples_seeds_alone_are_drawn_anew(tmp_path: Path) -> None:
    gain_SE = np.random.default_rng(2).normal(size=(3, 20))
    means = [(float(row.mean()), 0.0) for row in gain_SE]
    found = over(kept(tmp_path, gain_SE, [1, 2, 3]), means, "m", "s")
    values = [mean for mean, _ in means]
    assert found.freedom == pytest.approx(2)
    assert found.error == pytest.approx(np.std(values, ddof=1) / math.sqrt(3))
    assert found.interval() == pytest.approx(interval(values))


def test_one_seed_says_what_its_run_says_and_nothing_of_seeds(tmp_path: Path) -> None:
    found = over(kept(tmp_path, np.ones((1, 5))), [(1.0, 0.0)], "m", "s")
    assert (found.mean, found.error, found.freedom) == (0.25, 0.5, 12.0)
    assert interval([1.0]) is None
    assert over([tmp_path / "none"], [(1.0, 0.0)], "m", "s") is None
