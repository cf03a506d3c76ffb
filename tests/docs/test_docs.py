"""What the documentation says is what the code has."""

from __future__ import annotations

import re
import sys
import textwrap
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import yaml

from pdiff import __version__
from pdiff.plugins.discovery import Registry
from pdiff.testing import check_component
from pdiff_plugins.handbook import reference
from tests.helpers import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
RECIPES = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
FIRST = "pip install -e . && pdiff run recipes/quickstart.toml"
SECOND = "pip install -e '.[test]' && pytest"


def test_the_recipe_reference_is_up_to_date() -> None:
    assert reference.page() == RECIPES, "write it again: python -m pdiff_plugins.handbook.reference"


def test_the_readme_is_short() -> None:
    assert len(README.encode()) <= 9000


def test_the_two_commands_are_the_readmes_and_ci_runs_the_second() -> None:
    assert FIRST in README
    assert SECOND in README and SECOND.replace("install", "install -q") in (ROOT / ".ci" / "run").read_text()


def test_the_recipes_named_are_those_that_come_with_pdiff() -> None:
    section = RECIPES[RECIPES.index("## Recipes that come with pdiff") : RECIPES.index("## All names")]
    named = re.findall(r"`(\w+)`", section)
    assert sorted(named) == sorted(path.stem for path in (ROOT / "recipes").glob("*.toml"))


def code_of(page: str, last: str) -> str:
    """Return the component that a page shows, from its file name to a line that ends so."""
    text = (ROOT / page).read_text(encoding="utf-8")
    code = re.search(rf"^ *# pdiff_acme\.py\n(?:.*\n)+?.*{re.escape(last)}\n", text, re.MULTILINE)
    assert code
    return textwrap.dedent(code[0])


def test_the_component_in_a_file_works(tmp_path: Path) -> None:
    file = tmp_path / "acme_alone.py"
    file.write_text(code_of("README.md", "nn.LazyLinear(outputs))"))
    registry = Registry([])
    registry.use_files([file])
    component, _ = registry.find("architecture", "tiny_mlp")
    check_component(component)


def test_the_plugin_shown_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = "docs/tutorials/own_plugin.md"
    text = (ROOT / page).read_text(encoding="utf-8")
    table = re.search(r"^ *\[project\.entry-points\.pdiff\]\n *acme = \"pdiff_acme\"$", text, re.MULTILINE)
    assert table
    (tmp_path / "pdiff_acme.py").write_text(code_of(page, "register(TinyMlp)"))
    monkeypatch.syspath_prepend(str(tmp_path))
    (name, module), *_ = tomllib.loads(textwrap.dedent(table[0]))["project"]["entry-points"]["pdiff"].items()
    registry = Registry([EntryPoint(name, module, "pdiff")])
    component, _ = registry.find("architecture", "tiny_mlp")
    check_component(component)
    sys.modules.pop("pdiff_acme")


def test_the_design_page_names_every_room() -> None:
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rooms = page[page.index("## Rooms") :]
    for base in (ROOT / "pdiff", ROOT / "plugins" / "pdiff_plugins"):
        folders = [path.parent.name for path in base.glob("*/__init__.py")]
        assert folders
        for folder in folders:
            assert f"`{folder}`" in rooms, f"docs/design.md: the room {base.name}/{folder} is not named under Rooms"


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["title"] == "pdiff" and citation["version"] == __version__
    assert citation["authors"] == [{"name": "The pdiff authors"}]
    (paper,) = citation["references"]
    assert paper["identifiers"][0]["value"] == "arXiv:2402.13144"


def test_contributing_is_short() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 60
