"""What the documentation says is what the code has."""

from __future__ import annotations

import re
import sys
import textwrap
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

from pdiff.cli import reference
from pdiff.plugins.discovery import Registry
from pdiff.testing import check_component
from tests.helpers import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_recipe_reference_is_up_to_date() -> None:
    say = "write it again: python -m pdiff_plugins.handbook.reference"
    assert (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8") == reference.page(), say
    assert reference.in_readme(README) == README, say


def test_the_readmes_plugin_works(tmp_path: Path, monkeypatch) -> None:
    code = textwrap.dedent(README[README.index("    # pdiff_acme.py") : README.index("and in its pyproject.toml")])
    table = tomllib.loads(re.search(r"\[project\.entry-points\.pdiff\]\s+acme = \"pdiff_acme\"", README)[0])
    (tmp_path / "pdiff_acme.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    (name, module), *_ = table["project"]["entry-points"]["pdiff"].items()
    registry = Registry([EntryPoint(name, module, "pdiff")])
    component, _ = registry.find("architecture", "tiny_mlp")
    check_component(component)
    sys.modules.pop("pdiff_acme")


def test_every_file_that_the_readme_names_is_there() -> None:
    named = set(re.findall(r"\]\(((?!https?:)[^)]+)\)", README)) | set(re.findall(r"recipes/\w+\.toml", README))
    assert named and all((ROOT / name).exists() for name in named)
    recipes = README[README.index("## Recipes") : README.index("Results lie in")]
    for recipe in re.findall(r"`((?:vit|resnet18|cifar10|bring)\w+)`", recipes):
        assert (ROOT / "recipes" / f"{recipe}.toml").is_file(), recipe


def test_the_two_commands_are_the_readmes_and_ci_runs_the_second() -> None:
    assert "pip install -e . && pdiff run recipes/quickstart.toml" in README
    second = "pip install -e '.[test]' && pytest"
    assert second in README and second.replace("install", "install -q") in (ROOT / ".ci" / "run").read_text()
