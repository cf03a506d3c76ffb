"""The pages of the site: their links, the files and commands that they name, and what is generated of the API."""

from __future__ import annotations

import functools
import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from pdiff.cli import build
from pdiff.recipe.loading import find_recipe, load_recipe, parse_override
from tests.helpers import ROOT

DOCS = ROOT / "docs"
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES = [ROOT / name for name in TOP] + sorted(DOCS.glob("*.md")) + sorted(DOCS.glob("tutorials/*.md"))
COMMAND = re.compile(r"^ {4,}(?:pip install .* && )?pdiff ([^#\n]*)|`pdiff ([^`]+ [^`]+)`", re.MULTILINE)
FILE = re.compile(r"\b(?:recipes|docs|benchmarks|pdiff|plugins|tests)/[\w/]+\.(?:toml|md|py|svg|png)\b")
READERS_OWN = {"RECIPE", "RUN", "mine", "mine.toml"}
"""What stands in the pages for a recipe that is the reader's."""

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@functools.cache
def script(name: str) -> ModuleType:
    """Return a script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def generated() -> dict[Path, str]:
    pages = script("api_pages")
    return {DOCS / "api" / name: text for name, text in pages.pages(pages.PUBLIC).items()}


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as the site makes them."""
    headings = [line.lstrip("#") for line in text.splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@by_page
def test_every_link_resolves(page: Path) -> None:
    for link in re.findall(r"\]\(((?!https?:)[^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists() or target in generated(), f"links to {link}, which is not there"
        text = generated().get(target) or target.read_text(encoding="utf-8") if anchor else ""
        assert not anchor or anchor in anchors(text), f"{link} has no such heading"


@by_page
def test_every_file_named_is_there(page: Path) -> None:
    for name in FILE.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / name).is_file(), f"names {name}, which is not there"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    for page in PAGES[len(TOP) :]:
        assert f'"{page.relative_to(DOCS)}"' in navigation


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_every_command_shown_is_one(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for match in COMMAND.finditer(page.read_text(encoding="utf-8")):
        words = shlex.split(match[1] or match[2])
        if not words[0].startswith("-"):
            check_command(words)


@functools.cache
def program() -> Any:
    return typer.main.get_command(build())


def check_command(words: list[str]) -> None:
    """Let the program read a command line, and what it says of a recipe, without running it."""
    assert words[0] in program().commands, f"pdiff {words[0]} is no command"
    values = program().commands[words[0]].make_context(words[0], words[1:]).params
    name = values.get("recipe") or values.get("run")
    of_a_run = "run" in values and any(path.stem == name for path in (ROOT / "recipes").rglob("*.toml"))
    if name in READERS_OWN or name is None or of_a_run:
        return
    recipe = find_recipe(name)
    overrides = dict(parse_override(text) for text in values.get("set") or [])
    if words[0] in ("run", "check") and overrides.get("architecture.name") != "acme":
        load_recipe(recipe, overrides)


def test_every_public_module_has_a_page() -> None:
    pages = script("api_pages")
    index = generated()[DOCS / "api" / "index.md"]
    assert pages.PUBLIC
    for module, names in pages.PUBLIC.items():
        text = index if module == "pdiff" else generated()[DOCS / "api" / f"{module.removeprefix('pdiff.')}.md"]
        assert f"::: {module}\n" in text and f"`{module}`" in index
        assert all(f"        - {name}\n" in text for name in names)


def test_the_examples_of_hooks_are_shown_as_code() -> None:
    griffe = pytest.importorskip("griffe", reason="pip install -e '.[docs]'")
    extensions = griffe.load_extensions(DOCS / "examples.py")
    hooks = griffe.load("pdiff.hookspecs", search_paths=[ROOT], extensions=extensions)
    shown = [hook.docstring.value for name, hook in hooks.functions.items() if name != "hookspec"]
    assert len(shown) > 10
    for text in shown:
        (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        assert "@hookimpl" in code
        compile(code, "example", "exec")
