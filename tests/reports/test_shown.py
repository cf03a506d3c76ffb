"""What evaluators show, gathered: order, headline, names that clash, what is no figure, what was added later."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import pdiff
from pdiff.components import Figure, Finding, Page
from pdiff.results.shown import Showing


def shows(name, figures=(), findings=(), page=None, gives_score=False):
    return SimpleNamespace(
        name=name, gives_score=gives_score, figures=lambda view: figures, findings=lambda scores: findings,
        page=lambda view, figures: page,
    )  # fmt: skip


def showing(*evaluators):
    said = []
    return Showing({own.name: own for own in evaluators}, said.append), said


def picture(name, order=50):
    return Figure(name, name, "", b"", order=order)


def test_figures_stand_by_their_order_and_equal_ones_as_in_the_recipe():
    both, _ = showing(shows("one", [picture("a"), picture("b", 30)]), shows("two", [picture("c"), picture("d", 10)]))
    assert [figure.name for figure in both.figures(None)] == ["d", "b", "a", "c"] and not both.faults


def test_a_name_that_is_taken_is_refused_and_the_rest_stays():
    first, second = shows("one", [picture("a")]), shows("two", [picture("b"), picture("a"), picture("c")])
    both, said = showing(first, second)
    assert [figure.name for figure in both.figures(None)] == ["a", "b"]
    assert (
        both.faults == said == ["evaluator two: figures() raised ValueError: the name 'a' is taken by another figure"]
    )
    assert [figure.name for figure in both.figures(None, taken=["b"])] == ["a"] and len(both.faults) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"figures": [Figure("a", "a", None, b"")]}, "Figure.caption is to be str, found None"),
        ({"findings": [Finding(3)]}, "Finding.text is to be str, found 3"),
        ({"page": Page("a", "a", "a", {"a": None})}, "Page.sections is to be Mapping[str, str], found {'a': None}"),
    ],
)
def test_what_could_not_be_written_is_refused(given, said):
    one, faults = showing(shows("one", **given))
    assert (one.figures(None), one.findings({}), one.pages(None, [])) == ([], ("", []), [])
    assert len(faults) == 1 and said in faults[0]


def test_the_headline_of_the_score_comes_last_and_is_not_repeated():
    score = shows("score", findings=[Finding("score", headline=True), Finding("more")], gives_score=True)
    shapes = shows("shapes", findings=[Finding("shapes", headline=True), Finding("read", note=True)])
    other = shows("other", findings=[Finding("other", headline=True)])
    both, _ = showing(score, shapes, other)
    assert both.findings({}) == ("shapes", ["more", "other"]) and both.notes({}) == ["read"]
    assert showing(score)[0].findings({}) == ("score", ["more"])
    assert showing(shows("none"))[0].findings({}) == ("", [])


def test_pages_are_counted_once_each():
    page = Page("mine", "Mine.", "about", {})
    both, said = showing(shows("one", page=page), shows("two", page=page), shows("three"))
    assert both.pages(None, []) == [page] and "evaluator two: page() raised" in said[0]


@pytest.mark.parametrize("name", ["../up", "", "Upper", "a b", "index.html"])
def test_a_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(ValueError, match="is not in lower_snake_case"):
        picture(name)
    with pytest.raises(ValueError, match="is not in lower_snake_case"):
        Page(name, "", "", {})


def test_a_figure_is_of_a_kind_that_pages_can_hold():
    with pytest.raises(ValueError, match="kind 'pdf' is none of png, gif, svg"):
        Figure("a", "a", "", b"", "pdf")
    assert Figure("a", "a", "", b"<svg/>", "svg").uri == "data:image/svg+xml;base64,PHN2Zy8+"


def test_an_evaluator_that_is_added_later_shows_its_figure_too(run):
    """The recipe's stages are the other tests' own; the report makes it another run."""
    folder = run.folder.parent
    reported = pdiff.run(
        folder.parent / "tiny.toml", quiet=True,
        set={"run.out": str(folder), "run.device": "cpu", "report": [{"name": "html"}]},
    )  # fmt: skip
    front = reported.folder / "figures" / "front.png"
    assert front not in reported.report()
    reported.evaluate(["front"])
    assert front in reported.report() and front.stat().st_size > 1000
    assert '<figure id="front">' in (reported.folder / "index.html").read_text(encoding="utf-8")
    assert front in pdiff.open_run(reported.folder.name, out=folder).report(again=True)
