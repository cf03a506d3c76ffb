"""The verdict: better than every baseline or not, worse than any, in the task's own unit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pdiff.results.scores import Unit
from pdiff_plugins.audit.comparison import gains, per_example
from pdiff_plugins.audit.verdict import verdict
from pdiff_plugins.images.classification import Classification

EXAMPLES = 400


class MinusError:
    """Regression, scored by minus the root mean squared error: no mean over examples, and no share."""

    metric, unit = "minus RMSE", "km"

    def score(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return -(predictions - targets).square().mean(dim=1).sqrt().double()

    def wrong(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return (predictions - targets).abs() > 1


def view(predictions: dict[str, Tensor], task: Any = None, selection: str = "validation") -> Any:
    """Return a view of given predictions; the targets are zeros."""
    targets = torch.zeros(EXAMPLES, dtype=torch.float32 if task else torch.int64)
    return SimpleNamespace(
        recipe=SimpleNamespace(task=task or Classification()), selection=selection, method="pdiff",
        theta={source: torch.zeros(len(own), 3) for source, own in predictions.items()},
        predictions=lambda source, split: predictions[source], targets=lambda split: targets,
    )  # fmt: skip


def answers(networks: int, right: float, seed: int) -> Tensor:
    """Draw classes: 0 is right."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(networks, EXAMPLES, generator=generator) > right).to(torch.int16)


def said(seen: Any, unit: str = "%") -> dict[str, Any]:
    return verdict(seen, torch.ones(5), Unit(unit))


ORIGINAL = {"original": answers(20, 0.8, 0)}


def test_better_is_better_than_every_baseline() -> None:
    method = {"pdiff": answers(30, 0.9, 1)}
    poor = {f"poor{i}": answers(30, 0.8, 2 + i) for i in range(3)}
    judged = said(view(ORIGINAL | method | poor))
    assert all(gain["low"] > 0 and not gain["worse"] for gain in judged["gains"].values())
    assert judged["verdict"][0].startswith("pdiff is better than every baseline; the nearest is poor")
    level = said(view(ORIGINAL | method | poor | {"equal": answers(30, 0.9, 9)}))
    assert level["rival"] == "equal" and "not better than every baseline" in level["verdict"][0]
    assert "not distinguishable from equal (" in level["verdict"][0]


def test_worse_is_worse_than_any_and_one_network_is_called_so() -> None:
    judged = said(
        view(ORIGINAL | {"pdiff": answers(30, 0.8, 1), "soup": answers(1, 0.99, 2), "bad": answers(9, 0.5, 3)})
    )
    assert judged["rival"] == "soup" and judged["gain"]["worse"] and not judged["gains"]["bad"]["worse"]
    assert judged["verdict"][0].startswith("pdiff is worse than soup, one network (-")
    assert "points, 95 % interval -" in judged["verdict"][0] and "bad" not in judged["verdict"][0]


def test_one_of_many_equal_baselines_is_not_worse_by_chance() -> None:
    """With forty equal baselines some interval lies beside zero in most draws; Holm's correction lets none count."""
    alone, corrected = 0, 0
    for seed in range(40):
        equal = {f"equal{i}": answers(10, 0.8, 100 * seed + i + 2) for i in range(40)}
        gained = gains(view(ORIGINAL | {"pdiff": answers(10, 0.8, 100 * seed + 1)} | equal))
        alone += any(gain["high"] < 0 for gain in gained.values())
        corrected += any(gain["worse"] for gain in gained.values())
    assert alone >= 8 and corrected <= 3


def test_what_was_selected_on_the_test_split_is_no_claim() -> None:
    seen = view(ORIGINAL | {"pdiff": answers(30, 0.9, 1), "poor": answers(30, 0.8, 2)}, selection="test")
    assert "no claim about new data" in said(seen)["verdict"][0]


def test_a_method_of_one_network_is_that_network() -> None:
    seen = view(ORIGINAL | {"pdiff": answers(1, 0.9, 1), "poor": answers(30, 0.6, 2)})
    assert said(seen)["verdict"][0].startswith("pdiff, which is one network, is better than the baseline; the nearest")


def test_averages_are_told_where_checkpoints_nearly_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    wrong_E = torch.rand(EXAMPLES, generator=generator) < 0.5
    nearly = wrong_E ^ (torch.rand(20, EXAMPLES, generator=generator) < 0.003)
    same = wrong_E.expand(20, -1)
    judged = said(view({"original": nearly.to(torch.int16), "pdiff": same.to(torch.int16)}))
    assert judged["kind"] == "averages" and "1.000 among its networks, 0.98" in judged["verdict"][0]
    assert said(view({"original": nearly.to(torch.int16), "pdiff": nearly.to(torch.int16)}))["kind"] != "averages"


def test_other_scores_are_compared_in_their_own_unit() -> None:
    generator = torch.Generator().manual_seed(0)
    errors = {name: scale * torch.randn(25, EXAMPLES, generator=generator)
              for name, scale in (("original", 3.0), ("pdiff", 3.0), ("wide", 4.0))}  # fmt: skip
    judged = said(view(errors, MinusError()), "km")
    line = judged["verdict"][0]
    assert line.startswith("pdiff is better than the baseline; the nearest is wide (+") and "km, 95 % interval" in line
    assert "points" not in line and "%)" not in line and line.endswith("(in minus RMSE)")
    gain = judged["gains"]["wide"]
    assert gain["mean"] == pytest.approx(1.0, abs=0.05) and 0 < gain["low"] < gain["mean"] < gain["high"]


def test_pseudo_values_give_the_score_and_its_known_error() -> None:
    """The standard error of a root mean square of normal errors is scale / sqrt(2 E)."""
    ratios = []
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        predictions = {"pdiff": 3 * torch.randn(50, EXAMPLES, generator=generator)}
        values_MG = per_example(view(predictions, MinusError()), "pdiff")
        assert values_MG.mean().item() == pytest.approx(-3, abs=0.05)
        ratios.append(float((values_MG.var(dim=1) / values_MG.shape[1]).mean().sqrt()) * (2 * EXAMPLES) ** 0.5 / 3)
    assert sum(ratios) / len(ratios) == pytest.approx(1, abs=0.05)


def test_a_broken_generator_does_not_average() -> None:
    """Networks that err nine times of ten agree by 0.8 without having anything in common."""
    judged = said(view({"original": answers(20, 0.8, 0), "pdiff": answers(20, 0.1, 1), "soup": answers(1, 0.8, 2)}))
    assert judged["kind"] == "agrees with itself, being worse than the checkpoints"


def test_what_no_correction_calls_worse_is_named_among_what_is_level() -> None:
    """One baseline a little better among eight that are equal: its interval alone lies beside zero."""
    for seed in range(60):
        equal = {f"equal{i}": answers(20, 0.8, 1000 + i) for i in range(8)}
        seen = view(ORIGINAL | {"pdiff": answers(20, 0.8, seed), "near": answers(20, 0.812, 500 + seed)} | equal)
        judged = said(seen)
        if judged["gains"]["near"]["high"] < 0 and not judged["gains"]["near"]["worse"]:
            assert "not distinguishable from near (-" in judged["verdict"][0]
            return
    raise AssertionError("no such case among 60")


def test_a_score_that_is_no_number_takes_no_part() -> None:
    generator = torch.Generator().manual_seed(0)
    errors = {name: torch.randn(12, EXAMPLES, generator=generator) for name in ("original", "pdiff", "odd", "equal")}
    errors["odd"][0, 0] = float("nan")
    judged = said(view(errors, MinusError()), "km")
    assert list(judged["gains"]) == ["equal"] and "nan" not in judged["verdict"][0]


def test_groups_give_the_difference_that_the_table_shows() -> None:
    generator = torch.Generator().manual_seed(0)
    errors = {name: (scale * torch.randn(9, EXAMPLES, generator=generator)).exp()
              for name, scale in (("original", 1.0), ("pdiff", 1.0), ("wide", 1.5))}  # fmt: skip
    seen, task = view(errors, MinusError()), MinusError()
    shown = [float(task.score(errors[name], seen.targets("test")).mean()) for name in ("pdiff", "wide")]
    assert said(seen, "km")["gain"]["mean"] == pytest.approx(shown[0] - shown[1], rel=1e-6)


@pytest.mark.parametrize(
    ("right", "baselines", "words"),
    [
        (
            0.9,
            {"poor": 0.7},
            ("better than the checkpoints it learnt from (mean accuracy 9", "no baseline does as well"),
        ),
        (0.7, {"good": 0.9, "fine": 0.85}, ("worse than the checkpoints", "good does better, as 1 more (by 2")),
        (0.8, {"poor": 0.5, "level": 0.8}, (" as good as the checkpoints", ", which may be chance")),
    ],
)
def test_in_short_it_says_how_good_and_what_does_better(right, baselines, words) -> None:
    others = {name: answers(30, share, 2 + i) for i, (name, share) in enumerate(baselines.items())}
    text = said(view(ORIGINAL | {"pdiff": answers(30, right, 1)} | others))["plain"]
    assert text.startswith("pdiff gives networks ") and all(word in text for word in words)


def test_in_short_it_says_whether_networks_are_new() -> None:
    seen = view(ORIGINAL | {"pdiff": answers(30, 0.8, 1), "soup": answers(1, 0.8, 2)})
    assert verdict(seen, torch.ones(5), Unit("%"))["plain"].endswith("as unlike each other as checkpoints are")
    assert verdict(seen, torch.zeros(5), Unit("%"))["plain"].endswith("they are copies of checkpoints, or nearly")
