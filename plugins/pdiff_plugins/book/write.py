"""Writes the recipes of the book: `python -m pdiff_plugins.book.write [--check] [FOLDER]`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomli_w

from pdiff_plugins.book.tables import cells, tables

FOLDER = Path("recipes/paper")
WIDTH = 110
BY = (
    "Written by `python -m pdiff_plugins.book.write`, which also says when the two disagree; change the book, not this."
)


def text_of(recipe: dict[str, Any], about: str) -> str:
    """Return a recipe as TOML, short lists on one line."""
    text = tomli_w.dumps(recipe)
    text = re.sub(r"\[\n((?:    .*,\n)+)\]", _joined, text)
    return "".join(f"# {line}\n" for line in about.splitlines()) + text


def _joined(match: re.Match[str]) -> str:
    short = f"[{' '.join(line.strip() for line in match[1].splitlines()).rstrip(',')}]"
    return short if len(short) <= WIDTH else match[0]


def files() -> Iterator[tuple[str, str]]:
    """Yield (path below the folder, text) of every recipe."""
    for name, table in tables().items():
        for cell in (cells()[tag] for tag in table.own_cells):
            about = f"{table.title} ({name} of Neural Network Diffusion, arXiv 2402.13144).\n{cell.about}.\n{BY}"
            yield f"{name}/{cell.name}.toml", text_of(cell.recipe, about)


def main(arguments: list[str]) -> int:
    """Write what differs and delete what is not the book's; with --check only tell. Returns the exit code."""
    check = "--check" in arguments
    folder = Path(next((word for word in arguments if not word.startswith("-")), FOLDER))
    wanted = {folder / path: text for path, text in files()}
    stale = [path for path in folder.glob("**/*.toml") if path not in wanted]
    wrong = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in [*wrong, *stale]:
        print(f"{path}: {'differs from the book' if check else 'deleted' if path in stale else 'written'}")
    if not check:
        for path in stale:
            path.unlink()
        for path in wrong:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8", newline="\n")
    return 1 if check and (wrong or stale) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
