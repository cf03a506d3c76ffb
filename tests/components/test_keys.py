"""Keys: how an option counts is what its field says, never, where it is set, by the content of its files, or always."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from pdiff.components import CONTENT, IF_SET, NEVER, Collector, Selector, identity

DEFAULT = 5
NUMBERS = st.integers(0, 7)


class Keyed(Selector):
    """Selects nothing; its options count in every way there is."""

    name = "keyed"
    always: int = 1
    never: int = Field(1, json_schema_extra=NEVER)
    later: int = Field(DEFAULT, json_schema_extra=IF_SET)
    files: str = Field("", json_schema_extra=CONTENT)

    def select(self, model):
        return []


OPTIONS = st.fixed_dictionaries({
    "always": NUMBERS, "never": NUMBERS, "later": NUMBERS, "files": st.sampled_from(["", "pretrained", "init:3"]),
})  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(ours=OPTIONS, theirs=OPTIONS)
def test_two_components_have_one_identity_exactly_where_all_that_counts_is_equal(ours, theirs) -> None:
    counts = [{key: value for key, value in options.items() if key != "never"} for options in (ours, theirs)]
    assert (identity(Keyed(**ours)) == identity(Keyed(**theirs))) == (counts[0] == counts[1])


@given(options=OPTIONS)
@settings(max_examples=50, deadline=None)
def test_an_option_that_came_later_leaves_older_keys_as_they_were(options) -> None:
    older = {"always": options["always"], "files": options["files"]}
    counted = {key for key in identity(Keyed(**options)) if key not in ("component", "version")}
    assert counted == set(older) | ({"later"} if options["later"] != DEFAULT else set())
    assert identity(Keyed(**older)) == identity(Keyed(**older, later=DEFAULT)) != identity(Keyed(**older, later=6))


def test_a_file_counts_by_what_it_holds(tmp_path: Path) -> None:
    first, second = tmp_path / "a.bin", tmp_path / "b.bin"
    first.write_bytes(b"one")
    before = identity(Keyed(files=str(first)))
    assert str(tmp_path) not in str(before)
    shutil.move(first, second)
    assert identity(Keyed(files=str(second))) == before
    second.write_bytes(b"two")
    assert identity(Keyed(files=str(second))) != before
    second.write_bytes(b"one")
    assert identity(Keyed(files=str(second))) == before


def test_a_component_inside_another_counts_by_its_own_fields(tmp_path: Path) -> None:
    assert identity({"inner": [Keyed(never=1)]}) == identity({"inner": [Keyed(never=2)]})
    assert identity({"inner": [Keyed(later=1)]}) != identity({"inner": [Keyed(later=2)]})


@pytest.mark.parametrize("group", [1, 64])
def test_how_many_are_trained_together_is_in_no_key(group: int) -> None:
    runs = {"name": "seeds", "count": 3, "steps": 5, "lr": 0.1}
    alike = Collector.model_validate(runs), Collector.model_validate(runs | {"group": group})
    assert identity(alike[0]) == identity(alike[1])
