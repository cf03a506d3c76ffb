"""Numbers: how near what was read is to what is true, and what an order saves. N networks judged, M ranked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdiff_plugins.maths.crossed import Gain, gain_of, holm, paired

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pdiff_plugins.reading.scores import Nearness, Saving


def nearness(read_N: Tensor, true_N: Tensor) -> Nearness:
    """Return how near what was read is to what is true."""
    residual, spread = (read_N - true_N).square().sum(), (true_N - true_N.mean()).square().sum()
    return {
        "r2": 1 - float(residual / spread) if spread else None,
        "tau": tau(read_N, true_N), "error": float((read_N - true_N).abs().mean()),
    }  # fmt: skip


def tau(a_N: Tensor, b_N: Tensor) -> float | None:
    """Return Kendall's tau-b; None where all of one are equal."""
    from scipy.stats import kendalltau

    if len(a_N) < 2:
        return None
    found = float(kendalltau(a_N.numpy(), b_N.numpy()).statistic)
    return None if math.isnan(found) else found


def saving(read_M: Tensor, true_M: Tensor, lower: bool = False) -> Saving:
    """Return what the order saves; `lower`: the best value is the lowest. Networks that read alike stay in order."""
    sign = -1 if lower else 1
    ordered_M = true_M[(-sign * read_M).argsort(stable=True)]
    best = (sign * true_M).max() * sign
    alike = int((true_M == best).sum())
    return {
        "tried": int((ordered_M == best).nonzero()[0, 0]) + 1, "chance": (len(true_M) + 1) / (alike + 1),
        "first": float(ordered_M[0]), "mean": float(true_M.mean()), "best": float(best),
    }  # fmt: skip


def gains(ours_N: Tensor, others: Mapping[str, Tensor], true_N: Tensor, runs: Sequence[object]) -> dict[str, Gain]:
    """Return by control what a reader's mean squared error is less than its, runs being what is drawn anew.

    Holm's correction is over all of them.
    """
    number = {run: place for place, run in enumerate(dict.fromkeys(runs))}
    run_N = torch.tensor([number[run] for run in runs])
    count_T = torch.bincount(run_N)
    ours_N = (ours_N - true_N).square()
    found = {}
    for name, theirs_N in others.items():
        less_N = (theirs_N - true_N).square() - ours_N
        less_T = torch.zeros(len(count_T), dtype=torch.float64).index_add_(0, run_N, less_N) / count_T
        found[name] = paired(less_T[:, None])
    told = holm([gain.chance if gain.error == gain.error else 1.0 for gain in found.values()])
    known = zip(found.items(), told, strict=True)
    return {name: gain_of(gain, fell) for (name, gain), fell in known if gain.error == gain.error}
