"""Precision and recall in parameter space: cases that can be told by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pdiff_plugins.maths import manifolds
from pdiff_plugins.maths.manifolds import distances, precision_and_recall, reach


def on_a_line(*places: float) -> torch.Tensor:
    return torch.tensor(places)[:, None] * torch.tensor([[0.6, 0.0, 0.8]])


def test_balls_reach_to_the_kth_other() -> None:
    theta = on_a_line(0, 1, 3, 7)
    for k, expected in ((1, [1, 1, 2, 4]), (2, [3, 2, 3, 6]), (3, [7, 6, 4, 7])):
        assert reach(distances(theta, theta), k).tolist() == pytest.approx(expected, rel=1e-6)


def test_shares_on_a_line() -> None:
    holdout = on_a_line(0, 1, 2, 3)  # with k = 1 the balls reach from -1 to 4
    inside, outside = (-0.9, 1.5, 3.9), (-1.1, 4.1, 50)
    assert precision_and_recall(on_a_line(*inside, *outside), holdout, k=1)[0] == 0.5
    # Balls of the samples 0, 0.5 and 10, 12: [-0.5, 1] and [8, 14]: of the held-out ones 0 and 1 are inside.
    assert precision_and_recall(on_a_line(0, 0.45, 10, 12), on_a_line(0, 0.8, 2, 3), k=1)[1] == 0.5


def test_a_population_covers_itself_and_nothing_far() -> None:
    theta = torch.randn(12, 7, generator=torch.Generator().manual_seed(0))
    assert precision_and_recall(theta, theta) == (1, 1)
    assert precision_and_recall(theta, theta + 100) == (0, 0)


def test_one_mode_of_two_is_precise_and_recalls_half() -> None:
    two = on_a_line(*range(6), *range(100, 106))
    assert precision_and_recall(on_a_line(*(0.5 + i for i in range(5))), two) == (1, 0.5)
    assert precision_and_recall(two, two[:6]) == (0.5, 1)


def test_copies_of_one_network_are_precise_only_where_it_lies() -> None:
    theta = on_a_line(*range(6))
    assert precision_and_recall(theta[:1].expand(5, -1), theta) == (1, 1 / 6)
    assert precision_and_recall(theta[:1].expand(5, -1) + 50, theta) == (0, 0)


def test_few_networks_say_nothing() -> None:
    theta = torch.randn(5, 2)
    assert all(math.isnan(share) for share in precision_and_recall(theta[:3], theta))
    assert all(math.isnan(share) for share in precision_and_recall(theta, theta[:3]))


def test_distances_in_blocks_of_columns_do_not_cancel(monkeypatch) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = 1e4 + torch.randn(3, 10, generator=generator), 1e4 + torch.randn(4, 10, generator=generator)
    whole = (a[:, None].double() - b.double()).square().sum(dim=2).sqrt()
    monkeypatch.setattr(manifolds, "COLUMNS", 3)
    torch.testing.assert_close(distances(a, b), whole, rtol=1e-12, atol=0)
