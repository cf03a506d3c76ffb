"""`pdiff new-plugin`: the files of a package that registers one component.

The component is the example of its hook in `pdiff.hookspecs`, under the package's name.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import keyword
import re
import textwrap
from pathlib import Path
from typing import Any

from pdiff.components import KINDS
from pdiff.errors import UserError
from pdiff.plugins.discovery import registry
from pdiff.plugins.listing import check_kind

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "DISTRIBUTION"
version = "0.1.0"
description = "A plugin of pdiff: the KIND NAME."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["neural-pdiff"]

[project.optional-dependencies]
test = ["pytest"]

[project.entry-points.pdiff]
NAME = "MODULE"

[tool.hatch.build.targets.wheel]
packages = ["MODULE"]
"""

TEST = """\
from MODULE import CLASS
from pdiff.testing import check_component


def test_NAME():
    check_component(CLASS)
"""

README = """\
# DISTRIBUTION

A plugin of pdiff. It registers the KIND `NAME`, which a recipe then asks for by `name = "NAME"`;
`pdiff describe KIND NAME` shows the table and its options.

Install it, test it, and see that pdiff found it:

    pip install -e '.[test]'
    pytest
    pdiff list-plugins

`MODULE/__init__.py` is all there is. What else a plugin can register, with an example of each, is in the docstrings
of `pdiff.hookspecs`.
"""


def new_plugin(name: str, to: Path, kind: str = "architecture") -> Path:
    """Write the package `pdiff-NAME` below the folder `to` and return its folder. Raises UserError."""
    class_name = "".join(word.capitalize() for word in name.split("_"))
    _check(name, class_name, check_kind(kind))
    distribution, module = f"pdiff-{name.replace('_', '-')}", f"pdiff_{name}"
    words = {"DISTRIBUTION": distribution, "MODULE": module, "CLASS": class_name, "NAME": name, "KIND": kind}
    folder = to / distribution
    if folder.exists():
        raise UserError(f"{folder}: is there already; choose another name, or another folder with --to")
    texts = {"pyproject.toml": PYPROJECT, "README.md": README, f"tests/test_{name}.py": TEST}
    files = {
        path: re.sub("|".join(words), lambda match: words[match[0]], text) for path, text in texts.items()
    } | {f"{module}/__init__.py": _module(name, class_name, kind)}  # fmt: skip
    try:
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another folder with --to") from None
    return folder


def _module(name: str, class_name: str, kind: str) -> str:
    """Return the example of a kind's hook, with another name, and without what it registers of other kinds."""
    hooks: Any = registry().manager.hook
    hook = getattr(hooks, f"register_{kind}s", None) or hooks.register_backbones
    _, _, example = inspect.cleandoc(hook.spec.function.__doc__).partition("Example:\n")
    code, base = textwrap.dedent(example) + "\n", KINDS[kind].__name__
    classes = [node for node in ast.parse(code).body if isinstance(node, ast.ClassDef)]
    bases = {node.name: getattr(node.bases[0], "id", "") for node in classes if node.bases}
    (example_name,) = (each for each, of in bases.items() if of == base)
    for other, of in bases.items():
        if of in {other_kind.__name__ for other_kind in KINDS.values()} - {base}:
            code = re.sub(rf"class {other}\(.*?(?=^\S)", "", code, flags=re.DOTALL | re.MULTILINE)
            code = re.sub(rf".*\b(register\({other}\)|import {of})\n", "", code)
    code = re.sub(rf"\b{example_name}\b", class_name, code).replace("'''", '"""')
    code = re.sub(rf'(class {class_name}\(.*?    name = )"\w+"', rf'\1"{name}"', code, count=1, flags=re.DOTALL)
    code = re.sub(r"\n+(?=class |@hookimpl)", "\n\n\n", code)
    code = re.sub(r'"""\n(?=    name = )', '"""\n\n', code)
    return f'"""A plugin of pdiff: the {kind} {name}."""\n\n{code.strip()}\n'


def _check(name: str, class_name: str, kind: str) -> None:
    """Raise UserError for a name that cannot be one, or that is taken."""
    if not NAME.fullmatch(name) or keyword.iskeyword(class_name):
        raise UserError(f"new-plugin {name!r}: not a name for a plugin; write lower_snake_case, for example tiny_mlp")
    taken = [plugin.distribution for plugin in registry().plugins if plugin.name == name]
    if taken or importlib.util.find_spec(f"pdiff_{name}"):
        owner = taken[0] if taken else f"the module pdiff_{name}"
        raise UserError(f"new-plugin {name!r}: the name is taken by {owner}, which is installed; choose another")
    if any(offer[1] == name for offer in registry().offers(kind)):
        raise UserError(f"new-plugin {name!r}: there is a component of that name and kind, {kind}; choose another")
