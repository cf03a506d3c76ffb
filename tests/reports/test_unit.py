"""How scores are written: shares in per cent, everything else as the plain number that it is."""

from __future__ import annotations

import pytest

from pdiff.results.scores import Unit, nothing, unit_of
from pdiff.results.summary import SCORE, cell, headline, table


@pytest.mark.parametrize(
    ("values", "named", "unit"),
    [
        ([0.1, 1.0], None, "%"),
        ([-3.5, -0.2], None, ""),
        ([12.0], None, ""),
        ([0.5], "km", "km"),
        ([-0.1, 0.9], "%", "%"),
    ],
)
def test_a_task_names_its_unit_or_its_scores_show_that_they_are_no_shares(values, named, unit) -> None:
    assert Unit.of(values, named).name == unit


def test_shares_are_written_in_per_cent_and_differ_by_points() -> None:
    share = Unit("%")
    assert (share.text(0.93641), share.difference(0.0036, "+"), share.axis("accuracy")) == (
        "93.64%", "+0.36 points", "accuracy (%)"
    )  # fmt: skip


def test_other_scores_are_plain_numbers() -> None:
    km, bare = Unit("km"), Unit("")
    assert (km.text(-3.51171), km.difference(-0.0123, "+"), km.axis("minus RMSE")) == (
        "-3.5117 km", "-0.0123 km", "minus RMSE (km)"
    )  # fmt: skip
    assert (bare.text(-3.51171), bare.difference(0.2), bare.axis("PSNR")) == ("-3.5117", "0.2", "PSNR")


def test_a_column_of_scores_follows_the_runs_unit() -> None:
    def scores(values: list[float]) -> dict:
        own = {"best": values[0], "values": values}
        return {
            "scored_by": "accuracy", "columns": {"accuracy": [["best", "best", SCORE], ["n", "best", ".3f"]]},
            "networks": {"original": {"count": 2, "accuracy": own}}, "accuracy": {},
        }  # fmt: skip

    assert table(scores([0.5, 0.25]))[1] == [["original", "2", "50.00%", "0.500"]]
    assert table(scores([-2.0, 0.25]))[1] == [["original", "2", "-2", "-2.000"]]
    assert unit_of(scores([-2.0])).factor == 1 and unit_of(scores([0.5])).factor == 100
    assert cell(None, SCORE, Unit()) == ""


def test_reasons_of_all_evaluators_make_the_headline() -> None:
    scores = {
        "accuracy": {"nothing": ["this"]},
        "mine": {"nothing": ["that"]},
        "networks": {"nothing": {}},
        "main": "x",
    }
    assert nothing(scores) == ["this", "that"]
    assert headline(scores) == "this run can tell nothing about a generator: this; that"
    assert headline({"accuracy": {"nothing": []}}) == ""
