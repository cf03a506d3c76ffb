"""What is shown of conditions: table, notes, figures, page and declared scores."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pdiff.components import PARTS
from pdiff.context import Context
from pdiff.results.scores import compared
from pdiff.results.shown import Showing
from pdiff.results.summary import ours_for, table
from pdiff.testing import check_definition
from pdiff.testing.showing import _check_declared
from pdiff_plugins.conditions.evaluation.curve import curve
from pdiff_plugins.conditions.evaluation.evaluator import Conditions
from tests.conditions.evaluation.helpers import Given, One, network, scored, view, wrong_in


@pytest.fixture(scope="module")
def seen() -> Any:
    shown = view({"pdiff": Given(wrong_in(1), 1.5), "kernel": Given(network, leave_one_out=0.4), "soup": One()})
    options = Conditions(rival_steps=0, adapt=())
    given = json.loads(json.dumps(options.evaluate(shown, Context(seed=0))))
    _check_declared(options, given["networks"], {key: value for key, value in given.items() if key != "networks"})
    shown.scores = scored(shown, given) | {"columns": {"conditions": [list(column) for column in options.columns]}}
    return shown


def test_one_table_has_every_source_and_what_stands_beside_them(seen: Any) -> None:
    head, rows = table(seen.scores)
    assert head == ["networks", "n", "learnt", "held out", "worst", "hard", "shuffled", "gate"]
    by_name = {row[0]: row[1:] for row in rows}
    assert list(by_name) == [
        "original",
        "pdiff",
        "kernel",
        "soup",
        "larger class",
        "mean of all networks",
        "yes to the first class",
    ]
    assert by_name["original"][:3] == ["20", "100.00%", "100.00%"] and by_name["larger class"][0] == ""
    assert set(compared(seen.scores)) == set(by_name)
    assert ours_for(seen.scores, "kernel", "mean") == 100 and ours_for(seen.scores, "larger class", "mean") > 50


def test_a_curve_by_distance_begins_with_learnt_tasks(seen: Any) -> None:
    bins = curve(seen.scores)
    assert bins[0].name == "learnt" and bins[0].count == 20 and [each.name for each in bins[1:]] == ["1"]
    assert bins[1].count == 10 and bins[1].scores["kernel"] == 1.0 and bins[0].scores["original"] == 1.0


def test_distances_that_rounding_parts_are_one_place_of_the_curve(seen: Any) -> None:
    ours = seen.scores["conditions"]
    parts = {part: [0.76536686 + 1e-8 * number for number in range(len(ours["distances"][part]))] for part in PARTS[1:]}
    distances = {**ours["distances"], **parts}
    bins = curve({**seen.scores, "conditions": {**ours, "distances": distances}})
    assert [(each.name, each.count) for each in bins] == [("learnt", 20), ("0.765", 10)]


def test_findings_figures_and_page_say_it(seen: Any) -> None:
    showing = Showing({"conditions": Conditions()}, print)
    headline, sentences = showing.findings(seen.scores)
    assert (
        headline.startswith("pdiff gives networks for unseen tasks that are right in ")
        and "kernel does better" in headline
    )
    said = "; ".join(sentences)
    assert "the span of all learnt networks leaves 100.00%" in said and "kernel 0.40" in said and "one sample" in said
    assert any(note.startswith("tasks: 20 learnt, 8 held out, 2 hard") for note in showing.notes(seen.scores))
    figures = showing.figures(seen)
    assert [figure.name for figure in figures] == ["conditions", "conditions_distance"] and not showing.faults
    (page,) = showing.pages(seen, figures)
    assert not showing.faults
    body = "".join(page.sections.values())
    assert "mean of all networks" in body and "larger class" in body
    assert all(
        page.sections[heading] for heading in ("Verdict", "Every row", "Beside every control", "Several samples")
    )


def test_it_is_well_defined() -> None:
    check_definition(Conditions())
