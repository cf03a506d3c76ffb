"""What an ensemble's probabilities are worth. R ensembles, E examples, K classes, C coverages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pdiff_plugins.audit.probabilities import BINS


def likelihoods(logp_REK: Tensor, targets_E: Tensor) -> Tensor:
    """Return the log-likelihood of each example, `[R, E]` in float64."""
    return logp_REK.gather(2, targets_E.long().expand(len(logp_REK), -1)[..., None])[..., 0].double()


def brier(logp_REK: Tensor, targets_E: Tensor) -> Tensor:
    """Return Brier's score, `[R]`: the squared distance of probabilities from what is so, 0 to 2."""
    square_RE = logp_REK.double().exp().square().sum(dim=2)
    return (square_RE - 2 * likelihoods(logp_REK, targets_E).exp() + 1).mean(dim=1)


def right(logp_REK: Tensor, targets_E: Tensor) -> Tensor:
    """Return whether the likeliest class is the target, `[R, E]`."""
    return logp_REK.argmax(dim=2) == targets_E


def entropy(logp_REK: Tensor) -> Tensor:
    """Return the entropy in nats, `[R, E]` in float64."""
    p_REK = logp_REK.double().exp()
    return torch.special.entr(p_REK).sum(dim=2)


class Selective(NamedTuple):
    """Accuracy where only the surest answers are given, mean over ensembles."""

    accuracy_C: list[float]
    area: float
    """Under the curve of the share of wrong answers against coverage, mean over 1 to E answers given."""


def selective(logp_REK: Tensor, targets_E: Tensor, coverages: Sequence[float]) -> Selective:
    """Return accuracies at coverages, answers in the order of their probability; equal ones count as their mean.

    Geifman & El-Yaniv 2017, Selective Classification for Deep Neural Networks, arXiv 1705.08500.
    """
    right_RE, sure_RE = right(logp_REK, targets_E).double(), logp_REK.amax(dim=2)
    given_E = torch.arange(1, sure_RE.shape[1] + 1, dtype=torch.float64)
    index_C = [max(1, round(coverage * len(given_E))) - 1 for coverage in coverages]
    accuracies, areas = [], []
    for sure_E, right_E in zip(sure_RE, right_RE, strict=True):
        order_E = sure_E.argsort(descending=True)
        _, group_E, count_G = sure_E[order_E].unique_consecutive(return_inverse=True, return_counts=True)
        sum_G = torch.zeros(len(count_G), dtype=torch.float64).index_add_(0, group_E, right_E[order_E])
        accuracy_E = (sum_G / count_G)[group_E].cumsum(dim=0) / given_E
        accuracies.append(accuracy_E[index_C])
        areas.append(float(1 - accuracy_E.mean()))
    return Selective(torch.stack(accuracies).mean(dim=0).tolist(), sum(areas) / len(areas))


def reliability(logp_REK: Tensor, targets_E: Tensor) -> list[list[float]]:
    """Return of each of 15 bins of equal width the share of answers, their mean probability and their accuracy."""
    sure_RE, class_RE = logp_REK.double().exp().max(dim=2)
    sure, correct = sure_RE.flatten(), (class_RE == targets_E).double().flatten()
    bin_ = (sure * BINS).ceil().long().clamp(1, BINS) - 1
    count, mean, share = (
        torch.zeros(BINS, dtype=torch.float64).index_add_(0, bin_, values)
        for values in (torch.ones_like(sure), sure, correct)
    )
    some = count.clamp_min(1)
    return torch.stack([count / len(sure), mean / some, share / some], dim=1).tolist()


class Agreement(NamedTuple):
    """How near answers are to those of a reference."""

    top: float
    """Share of examples with the same likeliest class."""
    variation: float
    """Mean total variation distance of the two distributions."""


def agreement(logp_REK: Tensor, reference_EK: Tensor) -> Agreement:
    """Return the agreement with a reference, mean over ensembles.

    Izmailov et al. 2021, What Are Bayesian Neural Network Posteriors Really Like?, arXiv 2104.14421, section 5.
    """
    same = (logp_REK.argmax(dim=2) == reference_EK.argmax(dim=1)).double().mean()
    apart = (logp_REK.double().exp() - reference_EK.double().exp()).abs().sum(dim=2).mean() / 2
    return Agreement(float(same), float(apart))
