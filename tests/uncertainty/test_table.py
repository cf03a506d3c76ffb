"""The table: what is said of sources whose networks are known, and of runs that lack something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pdiff_plugins.uncertainty import table
from pdiff_plugins.uncertainty.cost import Cost
from pdiff_plugins.uncertainty.evaluator import Uncertainty
from pdiff_plugins.uncertainty.findings import findings, notes
from tests.uncertainty.helpers import CTX, sources, view

COUNTS = {"original": 8, "posterior": 16, "deep_ensemble": 8, "lone 1x": 1, "lone 2x": 1, "lone 4x": 1}
NAMES = {source: "lone" for source in COUNTS if source.startswith("lone")}
PRICES = {"original": 1.0, "posterior": 1.5, "deep_ensemble": 8.0, "lone 1x": 1.0, "lone 2x": 2.0, "lone 4x": 4.0}


def priced(prices: dict[str, Any], base: float = 0.0) -> Callable[..., dict[str, Cost]]:
    """Return what gives these costs; one network of the deep ensemble costs one training, and what it begins at."""

    def costs(view: Any, members: dict[str, int]) -> dict[str, Cost]:
        alone = {"deep_ensemble": base + 1.0} if members == {"deep_ensemble": 1} else {}
        return {source: Cost((prices | alone).get(source), "as told") for source in view.theta}

    return costs


def evaluated(
    monkeypatch: pytest.MonkeyPatch, counts: dict[str, int] = COUNTS, prices: dict[str, Any] = PRICES,
    selection: str = "validation", **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """Return the scores of sources of one population, which cost so much."""
    monkeypatch.setattr(table, "costs", priced(prices))
    run = view(*sources(counts), selection=selection, names=NAMES)
    return Uncertainty(members=8, **options).evaluate(run, CTX)


def test_each_row_stands_beside_the_cheapest_lone_network_that_costs_no_less(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = evaluated(monkeypatch, prices=PRICES | {"original": 5.0})
    rows = scores["networks"]
    assert rows["posterior"]["lone"]["name"] == "lone 2x" and rows["posterior"]["lone"]["cost"] == 2
    assert rows["posterior"]["lone"]["said"] == "better" and rows["posterior"]["ensembles"] == 2
    assert "lone" not in rows["original"] and "lone" not in rows["lone 4x"]
    assert scores["no_lone"] == ["original", "deep_ensemble"]
    assert scores["lone"] == ["one of deep_ensemble", "lone 1x", "lone 2x", "lone 4x"]


def test_without_lone_one_of_the_deep_ensembles_networks_stands_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {source: COUNTS[source] for source in ("posterior", "deep_ensemble")}
    scores = evaluated(monkeypatch, counts, PRICES | {"posterior": 1.0})
    assert scores["networks"]["posterior"]["lone"]["name"] == "one of deep_ensemble"
    assert scores["beside"]["one of deep_ensemble"]["cost"] == 1
    monkeypatch.setattr(table, "costs", priced(PRICES | {"posterior": 2.0}, base=1.0))
    begun = Uncertainty(members=8).evaluate(view(*sources(counts), names=NAMES), CTX)
    assert begun["networks"]["posterior"]["lone"]["cost"] == begun["beside"]["one of deep_ensemble"]["cost"] == 2
    single = -scores["curve"][0]["calibrated_nll"]
    assert scores["beside"]["one of deep_ensemble"]["calibrated_nll"] == pytest.approx(-single)
    assert sum(scores["groups"]["one of deep_ensemble"]) / 100 == pytest.approx(single)


def test_rows_of_one_population_are_worth_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = evaluated(monkeypatch)
    rows = scores["networks"]
    assert rows["deep_ensemble"]["equivalent_text"] == "8" and not rows["deep_ensemble"]["equivalent_interval"]
    assert rows["posterior"]["equivalent_low"] > 2 and rows["posterior"]["equivalent_high"] == 8
    assert rows["lone 1x"]["equivalent_high"] < 4
    nll = [each["calibrated_nll"] for each in scores["curve"]]
    assert nll == sorted(nll, reverse=True)
    assert nll[-1] == pytest.approx(rows["deep_ensemble"]["calibrated_nll"], rel=1e-5)


def test_groups_and_gains_are_of_calibrated_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = evaluated(monkeypatch)
    for source, row in scores["networks"].items():
        assert sum(scores["groups"][source]) / 100 == pytest.approx(-row["calibrated_nll"], rel=1e-5)
        if source != "posterior":
            gain = row["calibrated_nll"] - scores["networks"]["posterior"]["calibrated_nll"]
            assert scores["gains"][source]["mean"] == pytest.approx(gain, abs=1e-6)
    assert scores["gains"]["lone 1x"]["said"] == "better" and scores["gains"]["original"]["said"] == ""


def test_without_baselines_it_says_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = evaluated(monkeypatch, {"original": 8, "posterior": 16}, {})
    assert not {"curve", "beside"} & set(scores) and scores["lone"] == []
    assert not {"equivalent", "cost", "lone", "agreement", "foreign"} & set(scores["networks"]["posterior"])


def test_temperatures_are_of_the_selection_split_or_of_the_other_half(monkeypatch: pytest.MonkeyPatch) -> None:
    apart = evaluated(monkeypatch, {"posterior": 8}, {})
    halves = evaluated(monkeypatch, {"posterior": 8}, {}, selection="test")
    assert halves["halves"] and not apart["halves"]
    ours, theirs = (each["networks"]["posterior"] for each in (apart, halves))
    assert ours["nll"] == theirs["nll"] and ours["calibrated_nll"] != theirs["calibrated_nll"]
    assert ours["calibrated_nll"] == pytest.approx(theirs["calibrated_nll"], rel=0.1)


def test_agreement_is_with_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = evaluated(monkeypatch, reference="original")["networks"]
    assert "agreement" not in rows["original"]
    assert rows["posterior"]["variation"] < rows["lone 1x"]["variation"]


def said(monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[str]:
    scores = evaluated(monkeypatch, **options)
    networks = {source: {"uncertainty": row} for source, row in scores.pop("networks").items()}
    whole = {"method": "posterior", "networks": networks, "uncertainty": scores}
    return [finding.text for finding in findings(whole)]


def test_sentences_say_who_wins_what_it_is_worth_and_what_a_lone_network_does(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = said(monkeypatch)
    assert lines[0].startswith("8 networks of posterior have a calibrated NLL of 0.")
    assert "at the cost of 1.5 trainings" in lines[0] and "(lone 2x) does worse by 0." in lines[0]
    text = "\n".join(lines)
    assert "posterior is better than lone" in text and "not told apart from" in text and "of 2 trainings" in text
    networks = evaluated(monkeypatch, reference="original")
    told = {
        "hmc": {"rhat": {"largest": 1.3}},
        "original": {"rhat": {"largest": 1.01}, "rhat_log_posterior": 1.2},
        "laplace": {"worse": "no better"},
    }
    given = {source: {"uncertainty": row} for source, row in networks.pop("networks").items()}
    noted = [*notes({"networks": given, "uncertainty": networks, "facts": told})]
    assert "no better" in noted and any("the reference original has not converged (R-hat 1.20" in n for n in noted)
    dear = "\n".join(said(monkeypatch, prices=PRICES | {"posterior": 9.0}))
    assert "posterior is worth" in dear and "no lone network was trained for as much as posterior cost" in dear


def test_a_lone_network_that_wins_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"posterior": 8, "lone 2x": 1}
    known, targets = sources(counts)
    for split, logp_MEK in known["lone 2x"].items():
        sure_MEK = logp_MEK.clone()
        sure_MEK[0, torch.arange(200), targets[split]] += 4
        known["lone 2x"][split] = sure_MEK.log_softmax(dim=2)
    monkeypatch.setattr(table, "costs", priced(PRICES))
    run = view(known, targets, names=NAMES)
    scores = Uncertainty(members=8).evaluate(run, CTX)
    networks = {source: {"uncertainty": row} for source, row in scores.pop("networks").items()}
    lines = [f.text for f in findings({"method": "posterior", "networks": networks, "uncertainty": scores})]
    assert "(lone 2x) does better by" in lines[0] and "worse than lone 2x (one network, -" in lines[1]
