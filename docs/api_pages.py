"""Write the API pages: one for each public module, from the list of public names.

`python docs/api_pages.py` writes docs/api/, which is not kept in the repository; the site's build reads the docstrings.
"""

from __future__ import annotations

import ast
import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from pdiff.public import PUBLIC

ROOT = Path(__file__).resolve().parent.parent
INTRO = """# API

What a plugin or a program may import. Anything else may change without notice.

"""


def pages(names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return file name -> text: a page for each module, and an index that begins with `pdiff` itself."""
    others = [module for module in names if module != "pdiff"]
    rows = [f"| [`{module}`]({_file(module)}) | {_first_line(module)} |" for module in others]
    listing = "\n".join(["| module | |", "|---|---|", *rows])
    index = f"{INTRO}{listing}\n\n## `pdiff`\n\n{_directive('pdiff', names['pdiff'], 3)}"
    return {"index.md": index} | {
        _file(module): f"# `{module}`\n\n{_directive(module, names[module], 2)}" for module in others
    }


def _file(module: str) -> str:
    return f"{module.removeprefix('pdiff.')}.md"


def _directive(module: str, names: Sequence[str], level: int) -> str:
    """Return what mkdocstrings replaces by the module's docstrings."""
    members = ["      members:", *(f"        - {name}" for name in names)] if names else []
    options = [f"      heading_level: {level}", *members]
    return "\n".join([f"::: {module}", "    options:", *options]) + "\n"


def _first_line(module: str) -> str:
    """Return the first line of a module's docstring, without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise SystemExit(f"pdiff.public names {module!r}, and there is no such module")
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].replace("|", "\\|")


def write(folder: Path) -> None:
    """Write the pages into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, text in pages(PUBLIC).items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(ROOT / "docs" / "api")
