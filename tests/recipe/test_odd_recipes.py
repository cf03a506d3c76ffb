"""Recipes that no one should write: each is valid, or refused in short lines that name the place."""

from __future__ import annotations

import pytest
import tomli_w

from pdiff.engine.plan import Plan
from pdiff.errors import FAULTS, LINE, Faults, UserError, did_you_mean, short
from pdiff.recipe.loading import load_recipe, parse_override
from tests.campaign import recipes
from tests.campaign.options import Options
from tests.helpers import TINY


def refused(tiny, text: str) -> list[str]:
    tiny.write_text(text)
    with pytest.raises(UserError) as caught:
        load_recipe(tiny)
    return str(caught.value).splitlines()


def test_recipes_by_chance(tmp_path):
    tally = recipes.run(Options(count=140, work=tmp_path))
    assert {kind: count.failures for kind, count in tally.counts.items() if count.failed} == {}
    assert tally.counts["resolved has the same keys"].passed > 5 and tally.tried > 100


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("brackets", "not valid TOML: brackets are nested too deeply"),
        ("digits", "not valid TOML: an integer has thousands of digits"),
        ("dotted", "nested more than 30 deep"),
        ("64 bits", "collect.count: an integer of 100 bits; at most 64 are read"),
        ("NUL", "run.out = 'a\\x00b': holds a NUL character"),
        ("home", "~nosuch/x: there is no user of that name"),
    ],
)
def test_what_no_option_can_be_is_named(tiny, name, told):
    if name == "home":
        tiny.write_text(recipes.DIRECTED[name])
        with pytest.raises(UserError, match=told):
            Plan(load_recipe(tiny))
    else:
        (line,) = refused(tiny, recipes.DIRECTED[name])
        assert told in line and line.startswith(str(tiny)) and len(line) <= LINE


def test_long_and_many_faults_are_cut(tiny):
    (line,) = refused(tiny, recipes.DIRECTED["long value"])
    assert "train.epochs = 'xxx" in line and "valid integer" in line and len(line) <= LINE
    (line,) = refused(tiny, recipes.DIRECTED["control"])
    assert "no architecture 'a\\nb\\x1b[31mc'" in line and line.isprintable()
    lines = refused(tiny, recipes.DIRECTED["many faults"])
    assert len(lines) == FAULTS + 1 and lines[-1] == "... and 2900 more of the kind; mend these first"


def test_a_short_text_keeps_both_ends():
    text = short("begin " + "x" * 10_000 + " end")
    assert len(text) == LINE and text.startswith("begin x") and text.endswith("x end") and " ... " in text
    assert len(short("\0" * 499)) <= LINE and short("as it is") == "as it is"
    assert Faults(["a\nb"]).lines == ["a\\nb"] and did_you_mean("y" * 10**6, ["x" * 100]) == ""


def test_an_override_of_too_many_digits_is_a_mistake():
    with pytest.raises(UserError, match=r"^--set a\.b: an integer has thousands of digits"):
        parse_override("a.b=" + "9" * 5000)


def test_thousands_of_labels_are_numbered_as_a_few_are(tiny):
    text = TINY + '[[baseline]]\nname = "soup"\n' * 1500
    tiny.write_text(text)
    labels = list(Plan(load_recipe(tiny)).methods)
    assert [label for label in labels if label.startswith("soup")] == ["soup"] + [f"soup #{n}" for n in range(2, 1502)]


def test_numbers_that_are_right_stay(tiny):
    tables = load_recipe(tiny).table()
    tiny.write_text(tomli_w.dumps(tables | {"seed": 2**31 - 1}))
    assert load_recipe(tiny).seed == 2**31 - 1
