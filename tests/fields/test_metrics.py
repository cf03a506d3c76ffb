"""Metrics of sets of shapes."""

from __future__ import annotations

import pytest
import torch

from pdiff_plugins.fields.evaluation import metrics as field_metrics


def test_metrics_of_sets_that_are_alike_and_of_one_far_away():
    generator = torch.Generator().manual_seed(0)
    real, other = (torch.rand(80, 4, generator=generator) for _ in range(2))
    alike, far = field_metrics.metrics(other, real), field_metrics.metrics(other + 9, real)
    assert 0.35 < alike["one_nna"] < 0.65 and alike["precision"] > 0.7 and alike["recall"] > 0.7
    assert far["one_nna"] == 1 and far["precision"] == far["recall"] == 0 and far["mmd"] > 8
    same = field_metrics.metrics(real, real)
    assert same["mmd"] == pytest.approx(0, abs=1e-6)
    assert same["coverage"] == same["precision"] == same["recall"] == 1
    assert field_metrics.metrics(real[:2], real)["one_nna"] is None


def test_ties_count_half():
    twins = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    own = field_metrics.apart(twins, twins)
    assert field_metrics.one_nearest_neighbour(own, own, own) == pytest.approx(0.5)


def test_nearest_training_shape():
    distance, index = field_metrics.nearest(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [1.0, 1.0]]))
    assert index.tolist() == [1] and distance.tolist() == pytest.approx([1.0])
