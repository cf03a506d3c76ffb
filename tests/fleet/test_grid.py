"""The cells of a sweep: values, names, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdiff.errors import UserError
from pdiff_plugins.fleet.grid import by_group, grid, split
from tests.fleet.helpers import written
from tests.helpers import call, mistake

VALUE = st.one_of(
    st.integers(-5, 5).map(str), st.lists(st.integers(0, 9)).map(str), st.sampled_from(['"a,b"', "'c,d'"])
)


@given(st.lists(VALUE, min_size=1, max_size=5))
def test_values_are_told_apart_by_commas_outside_of_brackets_and_quotes(values: list[str]) -> None:
    assert split(",".join(values)) == values


def test_there_is_a_cell_for_each_combination_and_groups_differ_in_seeds_alone(tmp_path: Path) -> None:
    recipe = written(tmp_path)
    cells = grid([str(recipe)], ["seed=0,1", "method.lr=1e-4,3e-4", "sample.count=3"], {"run.out": "x"})
    assert [cell.name for cell in cells] == [
        "tiny method.lr=0.0001 seed=0", "tiny method.lr=0.0003 seed=0",
        "tiny method.lr=0.0001 seed=1", "tiny method.lr=0.0003 seed=1",
    ]  # fmt: skip
    assert cells[1].changes == {"run.out": "x", "seed": 0, "method.lr": 3e-4, "sample.count": 3}
    assert dict(by_group(cells)) == {"tiny method.lr=0.0001": [0, 2], "tiny method.lr=0.0003": [1, 3]}


def test_recipes_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        written(tmp_path / name)
    cells = grid([str(tmp_path / name / "tiny.toml") for name in ("a", "b")], [], {})
    assert [cell.name for cell in cells] == ["a/tiny", "b/tiny"]


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["seed=1", "seed=2"], "--set seed stands there twice"),
        (["seed=1,1"], "tiny seed=1 is asked for twice"),
        (["seed"], "write it as key=value"),
    ],
)
def test_what_is_no_grid_is_one_line(sets: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        grid([str(written(tmp_path))], sets, {})


def test_all_faults_of_all_recipes_are_told_before_anything_is_computed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    with pytest.raises(UserError) as told:
        call("sweep", "tiny.toml", "--set", "method.stepz=1", "--set", "sample.count=3,-1")
    lines = str(told.value).splitlines()
    assert len(lines) == 2 and "stepz" in lines[0] and "sample.count" in lines[1]
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_says_what_is_shared_and_cached_and_does_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    said = call("sweep", "tiny.toml", "--set", "method.steps=10,11", "--dry-run")
    assert [row.split()[:5] for row in said.splitlines()[1:6]] == [
        ["train", "2", "1", "0", "1"], ["collect", "2", "1", "0", "1"], ["fit", "10", "6", "0", "6"],
        ["sample", "10", "6", "0", "6"], ["evaluate", "6", "6", "0", "6"],
    ]  # fmt: skip
    assert "2 cells, 20 stages, 20 to do" in said and not (tmp_path / "runs").exists()


def test_an_engine_and_its_options_are_checked_first(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path)
    assert "did you mean 'local'" in mistake("sweep", "tiny.toml", "--engine", "lokal")
    said = mistake("sweep", "tiny.toml", "--engine", "submitit", "-o", "minutes=-3")
    assert said.startswith("-o minutes: ") and "options of submitit: cluster, partition, minutes" in said
