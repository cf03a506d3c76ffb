"""What is said where one network for all tasks wins, where it needs more for that, and where it does not."""

from __future__ import annotations

from typing import Any

from pdiff.context import Context
from pdiff.results.shown import Showing
from pdiff.results.summary import shown, table
from pdiff_plugins.adapters.rivals.evaluator import Adapters
from pdiff_plugins.adapters.selector import Lora
from pdiff_plugins.conditions.evaluation.evaluator import Conditions
from pdiff_plugins.conditions.evaluation.judging import Judged
from pdiff_plugins.conditions.evaluation.verdict import plain
from tests.adapters.rivals.helpers import QUICK, view
from tests.conditions.evaluation.helpers import scored
from tests.conditions.evaluation.test_verdict import answers, case

ONE, ON = "one adapter, rank x 4", "one adapter, rank x 4, trained on"


def common(*selection: float, ended: bool = False) -> dict[str, Any]:
    times = 2.0 ** (len(selection) - 1)
    return {"examples": [], "selection": list(selection), "lr": 0.1, "times": times, "ended": ended}


def said(judged: dict[str, Judged], ended: bool = False) -> str:
    known = {ONE: common(0.5), ON: common(0.5, 0.52, 0.524 if ended else 0.54, ended=ended)}
    return plain(case(judged, ["hypernetwork"], common=known))


def test_it_wins_at_equal_examples() -> None:
    text = said({"hypernetwork": answers(2.0, 1), ONE: answers(2.6, 2), ON: answers(3.0, 3)})
    first = "one network for all tasks wins: at equal examples one adapter, rank x 4 does better by "
    assert first in text and f"with more examples {ON} (4 times as many) does better by " in text
    assert "is not at its end (its last doubling: +2.00 points)" in text and "no other control does as well" not in text


def test_it_wins_with_more_examples_alone() -> None:
    text = said({"hypernetwork": answers(2.6, 1), ONE: answers(2.0, 2), ON: answers(3.2, 3)}, ended=True)
    assert "one network for all tasks wins: at equal examples one adapter, rank x 4 does worse by " in text
    assert f"with more examples {ON} (4 times as many) does better by " in text and "at its end" not in text


def test_it_does_not_win() -> None:
    judged = {"hypernetwork": answers(3.2, 1), ONE: answers(2.0, 2), ON: answers(2.6, 3), "nearest": answers(1.0, 4)}
    text = said(judged)
    assert "one network for all tasks does not win: at equal examples one adapter, rank x 4 does worse by " in text
    assert "no control does as well" in text


def test_no_control_is_said_to_do_worse_that_does_better() -> None:
    text = said({"hypernetwork": answers(2.0, 1), ONE: answers(2.6, 2), "nearest": answers(-1.0, 4)})
    assert "no other control does as well" in text and "one network for all tasks wins" in text


def test_examples_are_called_equal_only_where_they_are() -> None:
    judged = {"hypernetwork": answers(2.0, 1), ONE: answers(2.6, 2)}
    for times, how in (
        (0.25, "with fewer examples {} (0.25 times as many)"),
        (None, "wins: {} (after 3,200 examples)"),
    ):
        text = plain(case(judged, ["hypernetwork"], common={ONE: common(0.5) | {"times": times, "examples": [3200]}}))
        assert f"{how.format(ONE)} does better by " in text and "equal" not in text


def test_table_page_notes_and_figures_have_the_rows() -> None:
    seen, options = view(Lora(rank=1)), Adapters(**QUICK)
    given = options.evaluate(seen, Context(seed=0, warn=lambda line: None))
    seen.scores = scored(seen, given, "adapters") | {"columns": {"adapters": [list(c) for c in options.columns]}}
    showing = Showing({"adapters": options}, print)
    headline, _ = showing.findings(seen.scores)
    assert "one network for all tasks" in headline
    assert any(note.startswith("training examples that rows have learnt from") for note in showing.notes(seen.scores))
    figures = showing.figures(seen)
    assert [figure.name for figure in figures] == ["adapters", "adapters_distance"] and not showing.faults
    (page,) = showing.pages(seen, figures)
    assert page.name == "adapters" and not showing.faults
    trained = page.sections["One network for all tasks"]
    assert "1,600" in trained and "3,200" in trained and ON in trained
    every = page.sections["Every row"]
    assert "inversion (by 80 examples of the task)" in every
    for said in (
        "no adapter</code>: the frozen",
        "told the condition</code>: ",
        "trained on</code>: ",
        "inversion</code>",
    ):
        assert said in every
    assert page.sections["Figures"].count("<img") == 2


def test_beside_the_evaluator_of_conditions_it_sums_the_run_up_and_fills_the_table() -> None:
    seen, both = view(Lora(rank=1)), {"conditions": Conditions(rival_steps=0, adapt=()), "adapters": Adapters(**QUICK)}
    seen.scores = {}
    for name, evaluator in both.items():
        told = scored(seen, evaluator.evaluate(seen, Context(seed=0, warn=lambda line: None)), name)
        for source, row in seen.scores.get("networks", {}).items():
            told["networks"][source] |= {"conditions": row["conditions"]}
        seen.scores |= told
    seen.scores |= {"columns": {name: [list(c) for c in each.columns] for name, each in both.items()}}
    seen.scores |= {"first": list(Adapters.first_columns)}
    headline, rest = Showing(both, print).findings(seen.scores)
    assert "one network for all tasks" in headline and any("gives networks for" in each for each in rest)
    head, rows = table(seen.scores)
    kept = shown(seen.scores, head, rows, 500)
    assert len({head[index] for index in kept}) == len(kept)
    assert all(row[index] for row in rows for index in kept if head[index] == "held out")
