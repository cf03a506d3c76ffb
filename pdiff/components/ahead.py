"""Ahead: what components say of a run before anything is fetched, trained or computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

if TYPE_CHECKING:
    from pdiff.components.base import Component


@dataclass(frozen=True)
class Ahead:
    """What is known of a run, and takes down what one component says of it."""

    recipe: Any
    """See `pdiff.view.Setup`."""
    key: str
    """Where the component stands in the recipe: `method.codec`."""
    data_root: Path
    download: bool
    """Whether a dataset that is not there may be fetched."""
    checkpoints: int | None
    """How many there will be, None where nobody can know."""
    said: list[tuple[Literal["lacks", "fetches", "notes"], str]] = field(default_factory=list)

    def lacks(self, line: object) -> None:
        """Say what keeps the run from its end, in one line: where, what, and what to do."""
        self.said.append(("lacks", str(line)))

    def fetches(self, line: str) -> None:
        """Say what is fetched first, with its size where that is known."""
        self.said.append(("fetches", line))

    def note(self, line: str) -> None:
        """Say what will be other than the recipe has it."""
        self.said.append(("notes", line))

    def what(self, kind: str) -> list[str]:
        """Return the lines of a kind, each once: `lacks`, `fetches` or `notes`."""
        return list(dict.fromkeys(line for of_kind, line in self.said if of_kind == kind))

    def of(self, option: str) -> Ahead:
        """Return the same of the component in an option."""
        return replace(self, key=f"{self.key}.{option}" if self.key else option)


def parts(table: BaseModel) -> Iterator[tuple[str, Component]]:
    """Yield (option, component) for the components in a table's options; of several in one, `option[0]`."""
    for option in type(table).model_fields:
        value: Any = getattr(table, option)
        listed = isinstance(value, tuple)
        for number, item in enumerate(value if listed else [value]):
            if hasattr(item, "foresee"):
                yield f"{option}[{number}]" if listed else option, item
