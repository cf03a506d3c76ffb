"""The deep-ensemble equivalent: closed forms, and predictors whose equivalent is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pdiff_plugins.maths.tempering import tempered
from pdiff_plugins.uncertainty.answers import mixed
from pdiff_plugins.uncertainty.calibration import Calibration
from pdiff_plugins.uncertainty.crossing import pseudo
from pdiff_plugins.uncertainty.equivalent import NUMBERS, Curve, _crossing, curve, orders, sizes_up_to, sub_ensembles
from pdiff_plugins.uncertainty.measures import likelihoods
from tests.uncertainty.helpers import answers


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_sub_ensembles_are_balanced_nested_and_without_repetition() -> None:
    order_Sk = orders(7, 3, drawn())
    assert len(order_Sk) == 21
    sizes = {size: sub_ensembles(order_Sk, size) for size in range(1, 8)}
    assert [len(member_Sk) for member_Sk in sizes.values()] == [7, 21, 21, 21, 21, 7, 1]
    for size, member_Sk in sizes.items():
        assert (member_Sk.sum(dim=1) == size).all()
        assert torch.allclose(member_Sk.mean(dim=0), torch.tensor(size / 7))
    assert ((sizes[3] <= sizes[4]).all()) and sizes_up_to(30) == [*range(1, 17), 20, 25, 30]


def test_of_scores_that_add_up_every_network_is_found_again() -> None:
    """Where an ensemble scores the mean of its networks, pseudo-values are the networks' own scores."""
    own_kE = torch.randn(8, 5, generator=drawn(), dtype=torch.float64)
    found = curve(8, 1, drawn(1), lambda weight_Sk: weight_Sk.double() @ own_kE)
    assert torch.allclose(found.score_NE, own_kE.mean(dim=0).expand(8, -1))
    assert torch.allclose(found.pseudo_NkE, own_kE.expand(8, -1, -1))


def test_crossings_by_hand() -> None:
    assert _crossing([1, 2, 4], [3.0, 1.0, -1.0]) == (3.0, 0)
    assert _crossing([1, 2], [-0.1, -1.0]) == (1.0, -1)
    assert _crossing([1, 2, 4], [2.0, 1.0, 0.5]) == (4.0, 1)
    assert _crossing([1, 2, 3], [1.0, 0.0, -1.0]) == (2.0, 0)


def test_a_row_that_scores_as_three_networks_is_worth_three() -> None:
    values = torch.tensor([-1.0, -0.7, -0.6, -0.55], dtype=torch.float64)
    score_NE = values[:, None] + torch.tensor([0.3, -0.3, 0.1, -0.1], dtype=torch.float64)
    made = Curve([1, 2, 3, 4], score_NE, score_NE[:, None].repeat(1, 4, 1))
    assert made.equivalent(score_NE[2][None]) == (3, 3, 3, (0, 0, 0))
    assert made.equivalent(score_NE[1][None] + 0.05).size == pytest.approx(2.5)
    assert made.equivalent(score_NE[0][None] - 1).beyond == (-1, -1, -1)
    assert made.equivalent(score_NE[3][None] + 1).beyond == (1, 1, 1)


def worth(deep: int, members: int, seed: int, examples: int = 250) -> tuple[float, float, float]:
    """Return the equivalent, and its interval, of so many further networks of a deep ensemble's population."""
    splits = [answers(deep + members, examples, 7 * seed + place, of=2 * seed + place) for place in (0, 1)]
    (test_MEK, targets_E), (known_MEK, known_F) = splits
    calibration = Calibration(targets_E, known_F)

    def score(weight_SM: Tensor, part: slice) -> Tensor:
        logp_SEK, known_SFK = mixed(test_MEK[part], weight_SM), mixed(known_MEK[part], weight_SM)
        return likelihoods(tempered(logp_SEK, calibration.of(logp_SEK, known_SFK)), targets_E)

    found = curve(deep, NUMBERS // 20, drawn(seed), lambda weight_SM: score(weight_SM, slice(deep)))
    rest, eye = slice(deep, None), 1 - torch.eye(members)
    whole_1E = score(torch.full((1, members), 1 / members), rest)
    return found.equivalent(pseudo(whole_1E, score(eye / (members - 1), rest)))[:3]


def test_its_interval_covers_the_number_of_networks_that_a_row_is_made_of() -> None:
    known = [worth(10, 3, seed) for seed in range(24)]
    assert sum(low <= 3 <= high for _, low, high in known) >= 22
    assert sorted(size for size, _, _ in known)[12] == pytest.approx(3, abs=0.5)
    narrow = sum(low > 1 for _, low, _ in known) + sum(high < 10 for _, _, high in known)
    assert narrow > 24, "intervals that hold everything say nothing"
