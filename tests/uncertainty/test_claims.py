"""What is claimed: never against the table, never of answers that are no numbers, never of a chance among many."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from pdiff.testing.asserts import is_json
from pdiff_plugins.uncertainty import answers, rows, table
from pdiff_plugins.uncertainty.cost import Cost
from pdiff_plugins.uncertainty.evaluator import Uncertainty
from pdiff_plugins.uncertainty.findings import findings, notes, plain
from tests.uncertainty.helpers import CTX, sources, view

COUNTS = {"original": 8, "posterior": 16, "deep_ensemble": 16, "lone 2x": 1}
PRICES = {"original": 1.0, "posterior": 1.0, "deep_ensemble": 16.0, "lone 2x": 2.0}


def gain(mean: float, said: str = "") -> dict[str, Any]:
    reach = abs(mean) / 2 if said else abs(mean) * 0.9
    return {"mean": mean, "low": mean - reach, "high": mean + reach, "said": said, "networks": 2, "cost": 1.0}


def verdict(gains: dict[str, Any], lone: str) -> str:
    ours = {"members": 16, "calibrated_nll": 0.1, "cost": 1.0, "lone": gains[lone] | {"name": lone}}
    return plain({"gains": gains, "references": {}}, ours, "posterior")


def test_a_row_whose_name_is_within_the_lone_networks_is_not_kept_silent() -> None:
    gains = {"deep_ensemble": gain(-0.04, "worse"), "one of deep_ensemble": gain(0.02, "better")}
    assert "deep_ensemble does better (by 0.0400)" in verdict(gains, "one of deep_ensemble")


def test_what_is_ahead_by_chance_is_said_to_be_ahead_and_of_whom() -> None:
    gains = {"deep_ensemble": gain(-0.012), "lone 2x": gain(0.02), "soup": gain(0.03)}
    text = verdict(gains, "lone 2x")
    assert text.endswith("deep_ensemble is 0.0120 ahead, which may be chance where 3 rows are compared")
    del gains["deep_ensemble"], gains["soup"]
    assert verdict(gains, "lone 2x").endswith("(lone 2x) is 0.0200 behind, which may be chance")


def test_one_network_has_and_several_have() -> None:
    ours = {"members": 1, "calibrated_nll": 0.1, "equivalent_text": "1.2", "cost": 1.0}
    text = plain({"gains": {}, "references": {}}, ours, "soup")
    assert text.startswith("one network of soup has") and "; it is worth 1.2 networks" in text


def test_what_is_said_beside_a_lone_network_is_corrected_and_as_beside_every_other_row() -> None:
    """Of twenty rows that are like the lone network some seem better by chance: each at 5 %, one would be claimed."""
    noise_SE = torch.randn(21, 4000, generator=torch.Generator().manual_seed(1))
    noise_SE[1] += noise_SE[0].mean() - noise_SE[1].mean() + 0.05  # 2.2 standard errors
    score_SE = {f"row {number}": score_E[None] for number, score_E in enumerate(noise_SE[1:])} | {"lone": noise_SE[:1]}
    networks = {source: {"cost": 1.0} for source in score_SE}
    gains = {"lone": gain(0.1, "better")}
    found = table.besides(networks, {"lone": 1.0}, score_SE, gains, "row 3")  # type: ignore[arg-type]
    assert len(found) == 20 and min(alone["chance"] for alone in found.values()) < 0.05
    assert {source for source, alone in found.items() if alone["said"]} == {"row 3"}


def evaluated(monkeypatch: pytest.MonkeyPatch, **broken: int) -> dict[str, Any]:
    """Return the scores of a run of which some sources have a network that answers no numbers on an example."""
    known, targets = sources(COUNTS)
    for source, member in broken.items():
        known[source]["test"] = known[source]["test"].clone()
        known[source]["test"][member, 7] = math.nan
    monkeypatch.setattr(table, "costs", lambda view, members=None: {s: Cost(PRICES[s], "as told") for s in view.theta})
    scores = Uncertainty(members=8).evaluate(view(known, targets, names={"lone 2x": "lone"}), CTX)
    is_json(json.loads(json.dumps(scores)), "scores")
    networks = {source: {"uncertainty": row} for source, row in scores.pop("networks").items()}
    return {"method": "posterior", "networks": networks, "uncertainty": scores}


def test_of_answers_that_are_no_numbers_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that diverged made a row worth more than all networks that were trained one by one."""
    scores, whole = evaluated(monkeypatch, original=0), evaluated(monkeypatch)
    assert scores["uncertainty"]["broken"] == ["original"] and "original" not in scores["networks"]
    assert "broken" not in whole["uncertainty"]
    assert scores["networks"]["posterior"]["uncertainty"]["equivalent"] == pytest.approx(
        whole["networks"]["posterior"]["uncertainty"]["equivalent"]
    )
    first, *_ = findings(scores)
    assert "answers of original hold no numbers" in first.text and first.note and not first.headline


def test_without_numbers_of_the_method_the_verdict_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    (only,) = findings(evaluated(monkeypatch, posterior=3))
    assert only.headline and "answers of posterior hold no numbers" in only.text


def test_a_deep_ensemble_with_a_broken_network_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = evaluated(monkeypatch, deep_ensemble=5)
    assert scores["uncertainty"]["broken"] == ["deep_ensemble"] and "curve" not in scores["uncertainty"]
    assert not any("equivalent" in row["uncertainty"] for row in scores["networks"].values())
    assert scores["networks"]["posterior"]["uncertainty"]["lone"]["name"] == "lone 2x"


@pytest.mark.parametrize("selection", ["validation", "test"])
def test_where_memory_is_short_networks_are_drawn_all_the_same(monkeypatch: pytest.MonkeyPatch, selection: str) -> None:
    """A single ensemble of many classes passed for one network, and its interval left out what networks differ by."""
    known, targets = sources({"posterior": 8, "soup": 1})
    monkeypatch.setattr(table, "costs", lambda view, members=None: {})
    told = []
    for module, name, value in (
        (rows, "NUMBERS", rows.NUMBERS),
        (rows, "NUMBERS", 1),
        (answers, "AT_ONCE", 8 * 4 * 60),
    ):
        monkeypatch.setattr(module, name, value)
        told.append(Uncertainty(members=8).evaluate(view(known, targets, selection=selection), CTX)["gains"]["soup"])
    for each in told[1:]:
        assert each["error"] == pytest.approx(told[0]["error"], rel=1e-6) and each["mean"] == pytest.approx(
            told[0]["mean"]
        )


@pytest.mark.parametrize("margin", [10, 15, 40])
def test_where_no_error_tells_a_temperature_there_is_none(monkeypatch: pytest.MonkeyPatch, margin: float) -> None:
    """The best would be 0: what came was where the arithmetic gave out, and made test errors many times as dear."""
    known, targets = sources({"posterior": 8, "soup": 1})
    sure_MEK = known["soup"]["validation"].clone()
    sure_MEK[0, torch.arange(200), targets["validation"]] += 2 * margin
    known["soup"]["validation"] = sure_MEK.log_softmax(dim=2)
    monkeypatch.setattr(table, "costs", lambda view, members=None: {})
    scores = Uncertainty(members=8).evaluate(view(known, targets), CTX)
    assert scores["networks"]["soup"]["temperature"] == 1 != scores["networks"]["posterior"]["temperature"]
    assert scores["networks"]["soup"]["nll"] == pytest.approx(scores["networks"]["soup"]["calibrated_nll"], rel=1e-6)
    networks = {source: {"uncertainty": row} for source, row in scores.pop("networks").items()}
    (line,) = [line for line in notes({"networks": networks, "uncertainty": scores}) if "temperature" in line]
    assert line.startswith("ensembles of soup are right in all examples")
