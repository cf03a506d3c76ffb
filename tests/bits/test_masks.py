"""Masks: how many weights are kept, which, and what naming them costs."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdiff.zoo import Entry, Layout
from pdiff_plugins.bits import masks

LAYOUT = Layout((Entry("w", (4, 6), 0), Entry("b", (4,), 24), Entry("c", (3, 2, 2), 28)))
MATRICES = [*range(24), *range(28, 40)]


def theta(seed: int, count: int = 3) -> torch.Tensor:
    return torch.randn(count, LAYOUT.dim, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 2**31), st.floats(0.01, 1))
@settings(deadline=None, max_examples=40)
def test_a_share_is_kept_exactly_and_it_is_the_largest(seed: int, keep: float) -> None:
    own = theta(seed)
    mask_MD = masks.largest(own.abs(), LAYOUT, keep)
    few = masks.cut(own, mask_MD)
    keeps = max(round(keep * 36), 1)
    assert (few[:, MATRICES] != 0).sum(dim=1).tolist() == [keeps] * 3
    assert few[:, 24:28].equal(own[:, 24:28]), "biases are not cut"
    for row, left in zip(own, few, strict=True):
        by_size = sorted(MATRICES, key=lambda column: -abs(float(row[column])))
        assert set(left[MATRICES].nonzero()[:, 0].tolist()) == {MATRICES.index(column) for column in by_size[:keeps]}
    assert masks.kept(few, LAYOUT).equal(mask_MD)
    assert masks.share(few, LAYOUT).tolist() == pytest.approx([keeps / 36] * 3)


def test_a_share_of_each_matrix() -> None:
    mask_MD = masks.largest(theta(0).abs(), LAYOUT, 0.5, each=True)
    assert mask_MD[:, :24].sum(dim=1).tolist() == [12] * 3 and mask_MD[:, 28:].sum(dim=1).tolist() == [6] * 3


def test_cutting_further_keeps_some_of_what_was_kept() -> None:
    few = masks.cut(theta(1), masks.largest(theta(1).abs(), LAYOUT, 0.5))
    fewer = masks.largest(few.abs(), LAYOUT, 0.25)
    assert (masks.kept(few, LAYOUT) | ~fewer).all()


@given(st.integers(0, 200), st.data())
def test_naming_a_mask_costs_the_logarithm_of_their_number(count: int, data: st.DataObject) -> None:
    keeps = data.draw(st.integers(0, count))
    assert masks.bits(count, keeps) == pytest.approx(math.log2(math.comb(count, keeps)), abs=1e-9, rel=1e-9)


def test_what_two_masks_share() -> None:
    one, other = torch.ones(2, 1, 40, dtype=torch.bool)
    one[0, 0:6], other[0, 3:12] = False, False
    assert masks.overlap(one, other, LAYOUT).tolist() == pytest.approx([24 / 33])
    assert masks.overlap(one, one, LAYOUT).tolist() == [1]
