"""The contract of evaluators: scores are as their TypedDicts say, and what shows them is fit for a report."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

import pytest

from pdiff.components import Evaluator, Figure, Finding
from pdiff.errors import UserError
from pdiff.results.scores import TaskScore, keys
from pdiff.testing import check_component
from pdiff.testing.showing import fits
from pdiff_plugins.handbook.scores import scores as described
from pdiff_plugins.handbook.scores import words


class Row(TypedDict):
    """A row."""

    value: Annotated[float | None, "a value"]


class OfSource(TypedDict):
    """Of a source."""

    count: Annotated[int, "networks"]
    rows: NotRequired[Annotated[list[Row], "rows"]]


class OfRun(TypedDict):
    """Of the run."""

    total: Annotated[int, "networks of all sources"]


class Good(Evaluator):
    """Counts networks."""

    name = "good"
    source_scores = OfSource
    run_scores = OfRun

    def evaluate(self, view, ctx):
        networks = {source: {"count": len(theta_MD)} for source, theta_MD in view.theta.items()}
        return {"networks": networks, "total": sum(own["count"] for own in networks.values())}

    def figures(self, view):
        yield Figure("good", "Good", f"{view.scores['good']['total']} networks.", b"")

    def findings(self, scores):
        yield Finding(f"There are {scores['good']['total']} networks")


def test_a_good_evaluator_passes():
    check_component(Good, strict=True)


def evaluator(**members: Any):
    return type("Broken", (Good,), {"__doc__": "Counts.", "__module__": __name__, "name": "good"} | members)


def also(**more: Any):
    return lambda self, view, ctx: Good.evaluate(self, view, ctx) | more


class Undescribed(TypedDict):
    """Of the run."""

    total: int


BROKEN = {
    "unknown key": ({"evaluate": also(extra=1)}, "'extra' is no key of OfRun"),
    "missing key": ({"evaluate": lambda self, view, ctx: {"networks": {}}}, "'total' is missing"),
    "type": ({"evaluate": also(total=1.5)}, r"'total' is to be <class 'int'>, found 1\.5"),
    "of a source": ({"source_scores": OfRun}, "'count' is no key of OfRun, of original"),
    "nothing declared": ({"source_scores": None, "run_scores": None}, "declares no scores"),
    "not described": ({"run_scores": Undescribed}, "the score 'total' is not described"),
    "no score": ({"gives_score": True}, "source_scores lacks 'best'"),
    "full stop": ({"findings": lambda self, scores: [Finding("It is so.")]}, "a report ends the sentence itself"),
    "raises": ({"figures": lambda self, view: [1 / 0]}, r"figures\(\) raised ZeroDivisionError"),
    "no figure": ({"figures": lambda self, view: ["a"]}, "it gives a str where a Figure was expected"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_evaluator_is_found(fault):
    members, said = BROKEN[fault]
    with pytest.raises(AssertionError, match=said):
        check_component(evaluator(**members), strict=True)


def test_scores_that_are_not_declared_are_not_checked_unless_strictly():
    check_component(evaluator(source_scores=None, run_scores=None, evaluate=also(extra=1)))


def test_keys_know_their_type_their_text_and_whether_they_must_be_there():
    assert [tuple(key) for key in keys(OfSource)] == [
        ("count", int, True, "networks"), ("rows", list[Row], False, "rows"),
    ]  # fmt: skip
    assert {key.name for key in keys(TaskScore)} >= {"mean", "std", "best", "values"}
    local = TypedDict("local", {"a": "Missing"})  # noqa: F821, UP013 - as of a class whose types are not imported
    with pytest.raises(UserError, match="'Missing' is not defined; import it outside of TYPE_CHECKING"):
        keys(local)


@pytest.mark.parametrize(
    ("value", "hint", "good", "said"),
    [
        (1, float, True, "number"), (True, float, False, "number"), (1.0, int, False, "integer"),
        (None, float | None, True, "number or none"), ([1, None], list[float], False, "list of number"),
        ({"a": {"value": 1}}, dict[str, Row], True, "table of table"), ({"value": "x"}, Row, False, "table"),
        ({"a": 1}, dict[str, Any], True, "table"), ("x", str, True, "string"),
    ],
)  # fmt: skip
def test_types_in_values_and_in_words(value, hint, good, said):
    assert fits(value, hint) is good and words(hint) == said


def test_describe_lists_scores_and_those_within_them():
    rows = described(Good)["of each source"]
    assert [(row["name"], row["required"]) for row in rows] == [("count", True), ("rows", False), ("rows.value", True)]
