"""The recipe reference: every table and option, from the components themselves.

`python -m pdiff.cli.reference` writes docs/recipes.md and the list in README.md; a test fails when they are old.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pdiff.components import KINDS, Component
from pdiff.plugins.describe import help_of, options
from pdiff.plugins.discovery import registry
from pdiff.recipe.tables import Expect, Recipe, RunSettings, Sample, Train

TABLES = {
    "dataset": "[dataset]", "task": "[task]", "architecture": "[architecture]", "selector": "[selector]",
    "collector": "[collect]", "transform": "[[zoo]], [[sample.step]]",
    "method": "[method], [[baseline]]", "codec": "[method.codec]", "denoiser": "[method.denoiser]",
    "evaluator": "[[evaluate]]", "report": "[[report]]",
}  # fmt: skip
assert set(TABLES) == set(KINDS)
PLAIN: dict[str, type[BaseModel]] = {
    "[train]": Train, "[sample]": Sample, "[[expect]]": Expect, "[run]": RunSettings,
}  # fmt: skip
BEGIN, END = "<!-- components: python -m pdiff.cli.reference -->", "<!-- end of components -->"
INTRO = """# Recipe reference

A recipe is one TOML file: `seed`, `protocol`, and the tables below. A table that asks for a component has a `name`;
its other keys are the component's options. `pdiff check RECIPE` prints a recipe with every option written out, and
`pdiff describe KIND NAME` says what stands here for one component, with its presets.

This page is written by `python -m pdiff.cli.reference` from the components themselves.
"""


def page() -> str:
    """Return docs/recipes.md."""
    return "\n".join([INTRO, *_top(), *(line for kind in TABLES for line in _kind(kind)), *_plain()]).rstrip() + "\n"


def overview() -> str:
    """Return the README's table: kind, recipe table, names."""
    rows = [f"| {kind} | `{table}` | {', '.join(_names(kind))} |" for kind, table in TABLES.items()]
    return "\n".join(["| kind | recipe table | names |", "|---|---|---|", *rows])


def _names(kind: str) -> list[str]:
    return sorted(f"`{name}`" for _, name, _, _ in registry().offers(kind))


def _top() -> Iterator[str]:
    yield "## Top level\n"
    rows = [row for row in options(Recipe) if row["name"] in ("seed", "protocol")]
    yield from _table(rows)


def _kind(kind: str) -> Iterator[str]:
    yield f"## {kind}: `{TABLES[kind]}`\n"
    found = {component for plugin in registry().plugins for component in plugin.components if component.kind == kind}
    for component in sorted(found, key=lambda component: component.name):
        yield from _component(component)


def _component(component: type[Component]) -> Iterator[str]:
    yield f"### {component.name}\n"
    yield help_of(component) + "\n"
    if component.source:
        yield f"Source: {component.source}\n"
    for preset, values in component.presets.items():
        yield f"- `{preset}`: {_inline(values)}"
    if component.presets:
        yield ""
    yield from _table(options(component))


def _plain() -> Iterator[str]:
    for table, model in PLAIN.items():
        yield f"## {table}\n"
        yield help_of(model) + "\n"  # type: ignore[arg-type]
        yield from _table(options(model))


def _table(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        yield "No options.\n"
        return
    yield "| option | type | default | |"
    yield "|---|---|---|---|"
    for row in rows:
        default = "required" if row["required"] else _default(row["default"])
        kind = row["type"].replace("|", "\\|")
        yield f"| `{row['name']}` | {kind} | {default} | {row['description']} |"
    yield ""


def _default(value: Any) -> str:
    return f"`{value['name']}`" if isinstance(value, dict) and "name" in value else f"`{json.dumps(value)}`"


def _inline(values: Any) -> str:
    return ", ".join(f"`{key} = {json.dumps(value)}`" for key, value in values.items())


def in_readme(text: str) -> str:
    """Return a README's text with the list of components brought up to date."""
    return re.sub(f"{BEGIN}.*{END}", f"{BEGIN}\n{overview()}\n{END}".replace("\\", r"\\"), text, flags=re.DOTALL)


def main(root: Path = Path()) -> None:
    """Write docs/recipes.md and bring README.md up to date."""
    (root / "docs").mkdir(exist_ok=True)
    (root / "docs" / "recipes.md").write_text(page(), encoding="utf-8")
    readme = root / "README.md"
    readme.write_text(in_readme(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
