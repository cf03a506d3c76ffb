"""AUROC and the false positive rate against scikit-learn's, with ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from pdiff_plugins.uncertainty.foreign.detection import auroc, fpr


@pytest.mark.parametrize("levels", [3, 10, 10_000])
@pytest.mark.parametrize("sizes", [(1, 1), (7, 20), (50, 3), (200, 100)])
def test_the_area_and_the_rate_are_scikit_learns(levels, sizes):
    random = np.random.default_rng(levels)
    known, foreign = (random.integers(0, levels, size) + shift for size, shift in zip(sizes, (0, 1), strict=True))
    labels, scores = np.r_[np.zeros(sizes[0]), np.ones(sizes[1])], np.r_[known, foreign]
    sides = torch.from_numpy(known), torch.from_numpy(foreign)
    assert auroc(*sides) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    for at in (0.5, 0.8, 0.95, 1.0):
        assert fpr(*sides, at) == false[np.argmax(true >= at)]


def test_ties_count_half_and_extremes_are_exact():
    low, high = torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0, 4.0])
    assert (auroc(low, high), auroc(high, low), auroc(low, low)) == (1.0, 0.0, 0.5)
    assert (fpr(low, high), fpr(high, low)) == (0.0, 1.0)
    assert auroc(torch.tensor([1.0, 1.0, 2.0]), torch.tensor([1.0])) == 1 / 3
    assert auroc(torch.tensor([-math.inf]), torch.tensor([math.inf])) == 1.0


@pytest.mark.parametrize("known, foreign", [([], [1.0]), ([1.0], []), ([math.nan, 1.0], [1.0]), ([1.0], [math.nan])])
def test_nothing_is_said_where_a_side_is_empty_or_unknown(known, foreign):
    sides = torch.tensor(known), torch.tensor(foreign)
    assert math.isnan(auroc(*sides)) and math.isnan(fpr(*sides))
