"""Temperatures: against a closed form and scipy's search, and by halves."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import minimize_scalar

from pdiff_plugins.maths import tempering
from pdiff_plugins.maths.tempering import LEAST, temperatures, tempered
from pdiff_plugins.uncertainty.calibration import Calibration
from pdiff_plugins.uncertainty.measures import likelihoods
from tests.uncertainty.helpers import answers


def test_two_classes_with_one_logit_have_a_closed_form() -> None:
    """All answers are sure by the same logit, and three in four are right: the best logit is log 3."""
    logp_1EK = torch.tensor([4.0, 0.0]).log_softmax(dim=0).expand(1, 400, 2)
    targets_E = (torch.arange(400) % 4 == 0).long()
    assert float(temperatures(logp_1EK, targets_E)) == pytest.approx(4 / math.log(3), rel=1e-6)


def test_it_is_what_a_search_finds_for_each_ensemble() -> None:
    logp_REK, targets_E = answers(5, 300, 3)
    logp_REK = (logp_REK * torch.tensor([0.3, 0.7, 1.0, 2.0, 8.0])[:, None, None]).log_softmax(dim=2)
    for logp_EK, found in zip(logp_REK, temperatures(logp_REK, targets_E), strict=True):

        def loss(inverse: float, logp_EK: torch.Tensor = logp_EK) -> float:
            scaled = (logp_EK.double() * inverse).log_softmax(dim=1)
            return torch.nn.functional.nll_loss(scaled, targets_E).item()

        best = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-10})
        assert float(found) == pytest.approx(1 / best.x, rel=1e-4)


def test_many_are_found_as_each_by_itself_in_a_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were there left again for the middle of their interval, until the slowest came, forty steps later."""
    logp_REK, targets_E = answers(60, 200, 5)
    alone = torch.cat([temperatures(logp_1EK, targets_E) for logp_1EK in logp_REK.split(1)])
    monkeypatch.setattr(tempering, "STEPS", 10)
    assert torch.allclose(temperatures(logp_REK, targets_E), alone, rtol=1e-12)


def test_what_is_always_right_has_no_temperature_and_what_is_hardly_wrong_stays_within_bounds() -> None:
    logp_1EK, targets_E = torch.tensor([1.0, 0.0]).log_softmax(dim=0).expand(1, 50, 2), torch.zeros(50).long()
    assert float(temperatures(logp_1EK, targets_E)) == 1
    assert temperatures(torch.zeros(2, 0, 3), torch.zeros(0)).tolist() == [1, 1]  # a half of one example
    tied_1EK = torch.cat([logp_1EK, torch.tensor([0.0, 0.001]).log_softmax(dim=0).expand(1, 1, 2)], dim=1)
    assert LEAST <= float(temperatures(tied_1EK, torch.zeros(51).long())) < 0.1
    assert tempered(logp_1EK, torch.tensor([[LEAST]])).isfinite().all()


def test_a_half_is_scored_at_the_temperature_of_the_other() -> None:
    logp_REK, targets_E = answers(3, 200, 1)
    half_E = torch.arange(200) % 2 == 0
    temperature_RE = Calibration(targets_E, targets_E, half_E).of(logp_REK, logp_REK)
    for half in (half_E, ~half_E):
        expected_R = temperatures(logp_REK[:, ~half], targets_E[~half])
        assert torch.allclose(temperature_RE[:, half], expected_R[:, None].expand(-1, 100))
    nll_R = -likelihoods(tempered(logp_REK, temperature_RE), targets_E).mean(dim=1)
    assert (nll_R < -likelihoods(logp_REK, targets_E).mean(dim=1)).all()
