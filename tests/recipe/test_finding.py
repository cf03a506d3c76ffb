"""Recipes are found by path and by name: the user's own before those that come with pdiff, from any folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from pdiff.errors import UserError
from pdiff.recipe.loading import find_recipe, shipped_recipes
from tests.helpers import ROOT

TABLE1 = "paper/table1/cifar100_resnet18"


@pytest.mark.parametrize("name", ["quickstart", "quickstart.toml", TABLE1, f"{TABLE1}.toml"])
def test_what_comes_with_pdiff_is_found_from_an_empty_folder(here: Path, name: str) -> None:
    path = find_recipe(name)
    assert path == (shipped_recipes() / name).with_suffix(".toml") and path.is_absolute()
    assert path.read_text() == (ROOT / "recipes" / name).with_suffix(".toml").read_text()


def test_a_file_comes_first_then_the_users_own_then_what_is_shipped(here: Path) -> None:
    (here / "recipes").mkdir()
    (here / "recipes" / "quickstart.toml").write_text("")
    assert find_recipe("quickstart") == Path("recipes/quickstart.toml")
    assert find_recipe("gpt_digits") == shipped_recipes() / "gpt_digits.toml"
    (here / "quickstart").write_text("")
    assert find_recipe("quickstart") == Path("quickstart")


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("quikstart", "quickstart"),
        ("recipes/quickstart.toml", "quickstart"),
        ("cifar100_resnet18", TABLE1),
        ("recipes/paper/table1/cifar100_resnet18.toml", TABLE1),
        ("best/mnist_seed", "best/mnist_seeds"),
        ("my_own_recip", "mine/my_own_recipe"),
    ],
)
def test_no_such_recipe_says_where_it_looked_and_what_would_be_found(here: Path, wrong: str, meant: str) -> None:
    (here / "recipes" / "mine").mkdir(parents=True)
    (here / "recipes" / "mine" / "my_own_recipe.toml").write_text("")
    with pytest.raises(UserError) as caught:
        find_recipe(wrong)
    places = f"here, in ./recipes or in {shipped_recipes()}"
    assert str(caught.value) == f"{wrong}: no such recipe {places}; did you mean {meant!r}?"
    assert find_recipe(meant).is_file()


@pytest.mark.parametrize("name", ["", ".", "..", "zzzz", "/", ".toml", "a/../b"])
def test_a_name_like_no_other_suggests_nothing(here: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"no such recipe here, in \./recipes or in \S+$"):
        find_recipe(name)
