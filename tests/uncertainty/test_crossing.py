"""Draws of networks: the jackknife of ensembles, and intervals that keep their word."""

from __future__ import annotations

import pytest
import torch

from pdiff_plugins.maths.crossed import difference
from pdiff_plugins.uncertainty.answers import mixed
from pdiff_plugins.uncertainty.crossing import gains, grouped, pseudo
from pdiff_plugins.uncertainty.measures import likelihoods
from tests.uncertainty.helpers import answers


def without_one(logp_MEK: torch.Tensor, targets_E: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return likelihoods of the ensemble `[1, E]`, and of it without each of its members `[M, E]`."""
    count = len(logp_MEK)
    weights = torch.full((1, count), 1 / count), (1 - torch.eye(count)) / (count - 1)
    whole, parts = (likelihoods(mixed(logp_MEK, weight), targets_E) for weight in weights)
    return whole, parts


def test_pseudo_values_have_the_ensembles_mean_and_the_jackknifes_error() -> None:
    logp_MEK, targets_E = answers(8, 40, 0)
    whole_RE, parts_ME = without_one(logp_MEK, targets_E)
    score_ME = pseudo(whole_RE, parts_ME)
    assert torch.allclose(score_ME.mean(dim=0), whole_RE[0])
    means_M = parts_ME.mean(dim=1)
    jackknife = 7 / 8 * float((means_M - means_M.mean()).square().sum())
    assert float(score_ME.mean(dim=1).var()) / 8 == pytest.approx(jackknife)
    both_ME = pseudo(whole_RE.repeat(2, 1), parts_ME.repeat(2, 1))
    assert torch.allclose(both_ME[:8], score_ME) and len(both_ME) == 16


def test_groups_have_the_mean_of_examples() -> None:
    score_E = torch.randn(257, generator=torch.Generator().manual_seed(0))
    assert len(grouped(score_E)) == 100 and sum(grouped(score_E)) / 100 == pytest.approx(float(score_E.mean()))
    assert grouped(score_E[:7]) == pytest.approx(score_E[:7].tolist())


def test_intervals_of_single_ensembles_hold_the_truth() -> None:
    """Two ensembles of one population, drawn again each time with their examples, differ by nothing."""
    inside = 0
    for seed in range(100):
        pair = []
        for side in (0, 1):
            logp_MEK, targets_E = answers(6, 60, 5000 + 2 * seed + side, of=seed, apart=1.5)
            pair.append(pseudo(*without_one(logp_MEK, targets_E)))
        low, high = difference(*pair).interval()
        inside += low <= 0 <= high
    assert inside >= 90


def test_better_and_worse_are_said_with_holms_correction() -> None:
    generator = torch.Generator().manual_seed(0)
    base_E = torch.randn(400, generator=generator)
    rows = {"ours": base_E, "poor": base_E - 1, "equal": base_E, "good": base_E + 1}
    score_SE = {name: mean_E + 0.1 * torch.randn(6, 400, generator=generator) for name, mean_E in rows.items()}
    found = gains(score_SE, "ours", {"good": 6})
    assert {name: gain["said"] for name, gain in found.items()} == {"good": "worse", "equal": "", "poor": "better"}
    assert list(found) == ["good", "equal", "poor"] and found["good"]["networks"] == 6
