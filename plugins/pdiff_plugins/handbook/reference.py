"""The recipe reference: every table and option, from the components themselves.

`python -m pdiff_plugins.handbook.reference` writes docs/recipes.md; a test fails when it is old.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from pdiff.components import KINDS, Component
from pdiff.plugins.discovery import registry
from pdiff.recipe.tables import Recipe
from pdiff_plugins.handbook.describe import help_of, options


def _model(table: str) -> type[BaseModel]:
    """Return what checks one of the recipe's tables."""
    annotation = Recipe.model_fields[table].annotation
    model = next((option for option in (annotation, *get_args(annotation)) if inspect.isclass(option)), None)
    assert model is not None and issubclass(model, BaseModel)
    return model


TABLES = {
    "dataset": "[dataset]", "task": "[task]", "architecture": "[architecture]", "selector": "[selector]",
    "collector": "[collect]", "encoder": "[encoder]", "transform": "[[zoo]], [[sample.step]], [[method.augment]]",
    "method": "[method], [[baseline]]", "codec": "[method.codec]",
    "denoiser": "[method.denoiser]", "evaluator": "[[evaluate]]", "reader": "[[evaluate.readers]]",
    "report": "[[report]]", "tracker": "[[run.track]]", "engine": "--engine NAME -o OPTION=VALUE",
}  # fmt: skip
assert set(TABLES) == set(KINDS)
PLAIN: dict[str, type[BaseModel]] = {
    "[train]": _model("train"), "[sample]": _model("sample"), "[[expect]]": _model("expect"), "[run]": _model("run"),
}  # fmt: skip
INTRO = """# Recipe reference

A recipe is one TOML file: `seed`, `protocol`, and the tables below. A table that asks for a component has a `name`;
its other keys are the component's options. `pdiff check RECIPE` prints a recipe with every option written out, and
`pdiff describe KIND NAME` says what stands here for one component, with its presets. Steps can also stand in one
table, in their order: `[zoo]` with `first = 50`, `align = true` and `permuted = { copies = 2 }` is three `[[zoo]]`.

This page is written by `python -m pdiff_plugins.handbook.reference` from the components themselves.

## Recipes that come with pdiff

`recipes/` holds `quickstart`, `vit_tiny_stl10` and `resnet18_cifar100` (two cells of the paper's Table 1),
`cifar10_resnet20` (start from your own weights), `efficientnet_lite0_imagenette` (a network of timm with its head, on a
folder of images), `bring_your_own_checkpoints` (a folder of files),
`coco_tiny_detection`, `coco_tiny_segmentation`, `digits_generation` (tasks beyond classification), `fields_digits` with
`fields_digits_independent` and `fields_digits_biases`, `fields_shapes3d`, `shapes3d_text` and
`hyperdiffusion_mesh_folder` (shapes in space), `radiance_scenes`, `radiance_text` and `radiance_classes` (scenes in
colour), `gpt_digits`, `gpt_digits_error`, `gpt_mnist`, `gpt_cifar10` and `gpt_cartpole` (networks on demand), two
generators beyond the soup in `recipes/best/`, whole networks of 0.3 to 11 million numbers in `recipes/scale/` (each at
a rate with something to learn and at one without), networks for tasks that are asked for in `recipes/conditions/`,
weights that are read, in few bits and of several widths in `recipes/weights/`, and the whole book in `recipes/paper/`.
"""


def page() -> str:
    """Return docs/recipes.md."""
    kinds = (line for kind in TABLES for line in _kind(kind))
    return "\n".join([INTRO, *_overview(), *_top(), *kinds, *_plain()]).rstrip() + "\n"


def _overview() -> Iterator[str]:
    """Yield a table of all names: kind, recipe table, names."""
    yield "## All names\n"
    yield "| kind | recipe table | names |"
    yield "|---|---|---|"
    for kind, table in TABLES.items():
        yield f"| {kind} | `{table}` | {', '.join(_names(kind))} |"
    yield ""


def _names(kind: str) -> list[str]:
    return sorted(f"`{name}`" for _, name, _, _ in registry().offers(kind))


def _top() -> Iterator[str]:
    yield "## Top level\n"
    rows = [row for row in options(Recipe) if row["name"] in ("seed", "protocol")]
    yield from _table(rows)


def _kind(kind: str) -> Iterator[str]:
    yield f"## {kind}: `{TABLES[kind]}`\n"
    provided = {component for plugin in registry().plugins for component in plugin.components}
    components = [component for component in provided if component.kind == kind]
    for component in sorted(components, key=lambda component: component.name):
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


def main(root: Path = Path()) -> None:
    """Write docs/recipes.md."""
    (root / "docs").mkdir(exist_ok=True)
    (root / "docs" / "recipes.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
