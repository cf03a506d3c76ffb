"""Nearest rows: the same numbers, to the last bit, as from measuring every pair."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pdiff_plugins.maths import neighbours as searching
from pdiff_plugins.maths.manifolds import distances
from pdiff_plugins.maths.neighbours import all_distances, neighbours

ROW = 5530


def of_all_pairs(a_MD: Tensor, b_ND: Tensor, leave_self_out: bool = False) -> tuple[Tensor, Tensor]:
    """The definition: differences in the rows' precision, squared and summed in float64, columns in blocks."""
    found = []
    for index, a_D in enumerate(a_MD):
        square_N = torch.zeros(len(b_ND), dtype=torch.float64)
        for b_NC, a_C in zip(b_ND.split(65_536, dim=1), a_D.split(65_536), strict=True):
            square_N += (b_NC - a_C).double().square().sum(dim=1)
        if leave_self_out:
            square_N[index] = torch.inf
        found.append(square_N.min(dim=0))
    return torch.stack([least.values for least in found]).sqrt(), torch.stack([least.indices for least in found])


def same(a_MD: Tensor, b_ND: Tensor, leave_self_out: bool = False) -> bool:
    """Whether distances and indices are equal; NaN equals NaN."""
    ours, theirs = (search(a_MD, b_ND, leave_self_out) for search in (neighbours, of_all_pairs))
    alike = [torch.equal(x.nan_to_num(-1, -2), y.nan_to_num(-1, -2)) for x, y in zip(ours, theirs, strict=True)]
    return all(alike)


def walk(step: float, count: int = 60, dim: int = ROW) -> Tensor:
    """A trajectory: consecutive checkpoints are so far apart, in units of their own length."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, dim, generator=generator) + step * torch.randn(count, dim, generator=generator).cumsum(0)


@pytest.mark.parametrize("step", [1e-1, 1e-4, 1e-6, 1e-7, 0])
def test_near_copies_are_told_apart_as_by_every_pair(step) -> None:
    zoo = walk(step)
    assert same(zoo, zoo, leave_self_out=True)
    assert same(zoo[::7] + step * torch.randn(9, ROW), zoo)
    assert same(zoo[:9] + 0.1 * torch.randn(9, ROW), zoo)  # all far, nearly at the same distance


def test_ties_go_to_the_first() -> None:
    zoo = walk(1e-3)
    zoo[[5, 7, 50]] = zoo[3].clone()
    assert same(zoo, zoo, leave_self_out=True) and same(zoo[:4], zoo)
    assert neighbours(zoo[5:6], zoo)[1].item() == 3
    grid = torch.randint(-2, 3, (80, 5)).float()
    assert same(grid, torch.randint(-2, 3, (70, 5)).float()) and same(grid, grid, leave_self_out=True)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38, 1e30, 1e-45])
@pytest.mark.parametrize("row", [0, 4])
def test_broken_networks_break_no_other(value, row) -> None:
    zoo = walk(1e-2, 12, 300)
    zoo[row, 7] = value
    assert same(zoo, zoo, leave_self_out=True)
    assert same(zoo[:3] + 0.01, zoo) and same(zoo, zoo[:3] + 0.01)


def test_a_difference_beyond_float32_is_infinite_as_it_was() -> None:
    a, b = torch.tensor([[-1e38, 0, 0, 0]]), torch.tensor([[3e38, 0, 0, 0], [2e38] * 4])
    assert same(a, b) and neighbours(a, b)[1].item() == 1  # though the first is nearer


finite = st.floats(-3, 3, width=32)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), count=st.integers(1, 9), others=st.integers(1, 9), dim=st.integers(1, 6))
def test_any_small_rows(data, count, others, dim) -> None:
    a, b = (
        torch.tensor(data.draw(st.lists(st.lists(finite, min_size=dim, max_size=dim), min_size=n, max_size=n)))
        for n in (count, others)
    )
    assert same(a, b) and same(a, a, leave_self_out=True) and same(a.double() * 1e-160, b.double() * 1e-160)


@pytest.mark.parametrize("threads", [1, 2])
def test_windows_blocks_and_threads_change_nothing(monkeypatch, threads) -> None:
    a, b = walk(1e-3, 7, 70_001), walk(1e-3, 5, 70_001)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = of_all_pairs(a, b)
    torch.set_num_threads(threads)
    try:
        for pairs, wide in ((10, 500), (2**22, 2**18)):
            monkeypatch.setattr(searching, "PAIRS", pairs)
            monkeypatch.setattr(searching, "WIDE", wide)
            for found in (searching._neighbours(a, b, False), searching._neighbours(a[:1], b, False)):
                assert all(x.equal(y[: len(x)]) for x, y in zip(found, expected, strict=True))
    finally:
        torch.set_num_threads(before)


def test_only_what_may_be_nearest_is_measured(monkeypatch) -> None:
    zoo, measured = walk(1e-4), []
    squares = searching._squares
    monkeypatch.setattr(searching, "_squares", lambda *given: measured.append(len(given[2])) or squares(*given))
    neighbours(zoo, zoo, leave_self_out=True)
    assert sum(measured) <= 1.1 * len(zoo)


def test_two_tensors_are_searched_once_while_they_live_unchanged(monkeypatch) -> None:
    zoo, searched = walk(1e-2, 8, 50), []
    search = searching._neighbours
    monkeypatch.setattr(searching, "_neighbours", lambda *given: searched.append(given[2]) or search(*given))
    first = neighbours(zoo, zoo, leave_self_out=True)
    first[0].zero_()
    assert neighbours(zoo, zoo, leave_self_out=True)[0].gt(0).all() and searched == [True]
    assert neighbours(zoo, zoo)[0].eq(0).all() and searched == [True, False]
    zoo[0] += 1
    assert same(zoo, zoo, leave_self_out=True) and searched == [True, False, True]
    gone = weakref.ref(zoo)
    del zoo
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("step", [1e-1, 1e-6, 0])
def test_all_distances_are_right_to_nine_digits(step) -> None:
    zoo = walk(step, 30)
    others = torch.cat([zoo[:9] + 0.1 * torch.randn(9, ROW), zoo[:2]])
    for a, b in ((zoo, zoo), (others, zoo)):
        ours, theirs = all_distances(a, b), distances(a, b)
        assert (ours - theirs).abs().le(1e-7 * theirs + 1e-30).all()  # differences of float32 rows are rounded, too
        assert ours[theirs == 0].eq(0).all()
    zoo[3, 5] = torch.nan
    assert all_distances(zoo, zoo).isnan().sum() == 59
