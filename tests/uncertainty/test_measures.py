"""What probabilities are worth: against scikit-learn and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss

from pdiff_plugins.audit.probabilities import calibration_error
from pdiff_plugins.uncertainty.answers import Answers, mixed
from pdiff_plugins.uncertainty.measures import agreement, brier, entropy, likelihoods, reliability, right, selective
from tests.uncertainty.helpers import answers


def test_likelihood_and_brier_are_those_of_scikit_learn() -> None:
    logp_REK, targets_E = answers(2, 150, 1)
    for logp_EK, nll_E, score in zip(
        logp_REK, -likelihoods(logp_REK, targets_E), brier(logp_REK, targets_E), strict=True
    ):
        p_EK = logp_EK.double().softmax(dim=1)
        assert float(nll_E.mean()) == pytest.approx(log_loss(targets_E, p_EK, labels=range(4)), rel=1e-6)
        one_hot_EK = torch.nn.functional.one_hot(targets_E, 4)
        by_class = [brier_score_loss(one_hot_EK[:, k], p_EK[:, k]) for k in range(4)]
        assert float(score) == pytest.approx(sum(by_class), rel=1e-6)


def test_reliability_adds_up_to_the_calibration_error() -> None:
    logp_REK, targets_E = answers(1, 300, 2)
    bins = torch.tensor(reliability(logp_REK, targets_E))
    share, sure, correct = bins.unbind(dim=1)
    assert float(share.sum()) == pytest.approx(1)
    assert float((share * (correct - sure).abs()).sum()) == pytest.approx(float(calibration_error(logp_REK, targets_E)))
    assert float((share * correct).sum()) == pytest.approx(float(right(logp_REK, targets_E).double().mean()))


def test_selective_accuracy_by_hand_and_with_ties() -> None:
    """Sure answers are right; of four equally unsure ones half are."""
    sure = torch.tensor([0.9, 0.9, 0.8, 0.6, 0.6, 0.6, 0.6])
    logp_1EK = torch.stack([sure, 1 - sure], dim=1).log()[None]
    targets_E = torch.tensor([0, 0, 0, 1, 0, 1, 0])
    found = selective(logp_1EK, targets_E, (2 / 7, 3 / 7, 5 / 7, 1.0))
    assert found.accuracy_C == pytest.approx([1, 1, 4 / 5, 5 / 7])
    risks = [0, 0, 0, 0.5 / 4, 1 / 5, 1.5 / 6, 2 / 7]
    assert found.area == pytest.approx(sum(risks) / 7)
    order = torch.tensor([6, 5, 4, 3, 2, 1, 0])
    assert selective(logp_1EK[:, order], targets_E[order], (2 / 7, 5 / 7)).accuracy_C == pytest.approx([1, 4 / 5])


def test_information_is_what_members_differ_by() -> None:
    """Two sure members that contradict each other: one bit; two that agree in doubt: none."""
    sure, doubt = torch.tensor([[1.0, 1e-30], [1e-30, 1.0]]), torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    logp_MEK = torch.stack([sure, doubt], dim=1).log()
    weight_RM = torch.full((1, 2), 0.5)
    known = Answers(mixed(logp_MEK, weight_RM), weight_RM.double() @ entropy(logp_MEK))
    assert known.information_RE[0].tolist() == pytest.approx([math.log(2), 0], abs=1e-6)
    assert entropy(known.logp_REK)[0].tolist() == pytest.approx([math.log(2)] * 2)


def test_agreement_by_hand() -> None:
    p_REK = torch.tensor([[[0.9, 0.1], [0.4, 0.6]], [[0.3, 0.7], [0.4, 0.6]]])
    reference_EK = torch.tensor([[0.8, 0.2], [0.4, 0.6]])
    found = agreement(p_REK.log(), reference_EK.log())
    assert found.top == pytest.approx(3 / 4) and found.variation == pytest.approx((0.1 + 0 + 0.5 + 0) / 4)
