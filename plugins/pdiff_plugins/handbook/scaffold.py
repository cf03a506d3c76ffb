"""`pdiff new-plugin`: the files of a package that registers one architecture."""

from __future__ import annotations

import importlib.util
import keyword
import re
from pathlib import Path

from pdiff.errors import UserError

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "DISTRIBUTION"
version = "0.1.0"
description = "A plugin of pdiff: the architecture NAME."
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

MODULE = '''\
"""A plugin of pdiff: the architecture NAME."""

from pdiff import hookimpl
from pdiff.components import Architecture
from pydantic import Field


class CLASS(Architecture):
    """Perceptron with one hidden layer."""

    name = "NAME"
    width: int = Field(16, gt=0, description="width of the hidden layer")

    def build(self, *, input_shape, outputs):
        from torch import nn  # here, so that `pdiff --help` stays quick

        return nn.Sequential(nn.Flatten(), nn.LazyLinear(self.width), nn.ReLU(), nn.LazyLinear(outputs))


@hookimpl
def register_architectures(register):
    register(CLASS)
'''

TEST = """\
from MODULE import CLASS
from pdiff.testing import check_component


def test_NAME():
    check_component(CLASS, input_shape=(3, 32, 32), outputs=10)
"""

README = """\
# DISTRIBUTION

A plugin of pdiff. It registers the architecture `NAME`, which a recipe then asks for:

    [architecture]
    name = "NAME"
    width = 16

Install it, test it, and see that pdiff found it:

    pip install -e '.[test]'
    pytest
    pdiff list-plugins

`MODULE/__init__.py` is all there is. What else a plugin can register, with an example of each, is in the docstrings
of `pdiff.hookspecs`; `pdiff describe architecture NAME` shows the options.
"""


def new_plugin(name: str, to: Path) -> Path:
    """Write the package `pdiff-NAME` below the folder `to` and return its folder. Raises UserError."""
    class_name = "".join(word.capitalize() for word in name.split("_"))
    _check(name, class_name)
    distribution, module = f"pdiff-{name.replace('_', '-')}", f"pdiff_{name}"
    words = {"DISTRIBUTION": distribution, "MODULE": module, "CLASS": class_name, "NAME": name}
    folder = to / distribution
    if folder.exists():
        raise UserError(f"{folder}: is there already; choose another name, or another folder with --to")
    files = {
        "pyproject.toml": PYPROJECT, "README.md": README, f"{module}/__init__.py": MODULE, f"tests/test_{name}.py": TEST
    }  # fmt: skip
    try:
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(re.sub("|".join(words), lambda match: words[match[0]], text), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); choose another folder with --to") from None
    return folder


def _check(name: str, class_name: str) -> None:
    """Raise UserError for a name that cannot be one, or that is taken."""
    from pdiff.plugins.discovery import registry

    if not NAME.fullmatch(name) or keyword.iskeyword(class_name):
        raise UserError(f"new-plugin {name!r}: not a name for a plugin; write lower_snake_case, for example tiny_mlp")
    taken = [plugin.distribution for plugin in registry().plugins if plugin.name == name]
    if taken or importlib.util.find_spec(f"pdiff_{name}"):
        owner = taken[0] if taken else f"the module pdiff_{name}"
        raise UserError(f"new-plugin {name!r}: the name is taken by {owner}, which is installed; choose another")
    if any(offer[1] == name for offer in registry().offers("architecture")):
        raise UserError(f"new-plugin {name!r}: there is an architecture of that name; choose another")
