"""What an ensemble said of examples: as rows of a table, and in files. E examples, K classes, labels or outputs."""

from __future__ import annotations

import csv
import io
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdiff.errors import UserError
from pdiff.files import write_json, write_text
from pdiff.results.export import new_files

DIGITS = 6
"""Significant digits of numbers in files."""
GIVEN = 0.5
"""Probability above which a label counts as given."""
SURENESS = ("entropy", "mutual_information")
WIDEST = 9
"""Columns of the table for people."""


def paths_in(folder: Path, path: Path) -> list[Path]:
    """Return the two files of what is said of a path."""
    name = path.resolve().name if path.is_dir() else path.name
    return [folder / f"predictions-{name}{suffix}" for suffix in (".csv", ".json")]


@dataclass(frozen=True)
class Told:
    """What an ensemble said of examples."""

    names: list[str]
    """Of the examples."""
    values: Mapping[str, Tensor]
    """What `pdiff.exporting.ensemble.uncertainty` gave, `[E]` or `[E, K]` each."""
    classes: Sequence[str]
    """Names of classes or labels; none: they are numbered."""
    about: Mapping[str, Any]
    """Of the run and the ensemble, as JSON."""
    said: list[str]
    """Lines for whoever asked."""
    top: int = 0
    """Likeliest classes that are written of each; 0: all."""

    @property
    def kind(self) -> str:
        """`classes`, `labels` or `outputs`."""
        if "mean" in self.values:
            return "outputs"
        return "classes" if self.values["entropy"].ndim == 1 else "labels"

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield of each example what is said of it, as JSON has it."""
        for number, name in enumerate(self.names):
            yield {"example": name} | self._row({key: value[number] for key, value in self.values.items()})

    def _row(self, own: Mapping[str, Tensor]) -> dict[str, Any]:
        if self.kind == "outputs":
            return {key: _plain(value) for key, value in own.items()}
        probability_K = own["probabilities"]
        order = probability_K.argsort(descending=True, stable=True).tolist()
        likely = {self._class(k): _plain(probability_K[k]) for k in (order[: self.top] if self.top else sorted(order))}
        sure = {key: _plain(own[key]) for key in SURENESS}
        if self.kind == "labels":
            return {"labels": [self._class(k) for k in sorted(order) if probability_K[k] > GIVEN], **sure,
                    "probabilities": likely}  # fmt: skip
        best = {"class": self._class(order[0]), "probability": _plain(probability_K[order[0]])}
        return {**best, **sure, "probabilities": likely}

    @cached_property
    def _names(self) -> list[str]:
        """Of classes, each its own: names that several bear stand with their numbers."""
        seen = Counter(self.classes)
        return [name if seen[name] == 1 else f"{name} ({number})" for number, name in enumerate(self.classes)]

    def _class(self, number: int) -> str:
        return self._names[number] if number < len(self._names) else str(number)

    def flat(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a row in cells, as CSV has it. Of labels entropy and mutual information are sums over them."""
        cells: dict[str, Any] = {}
        for key, value in row.items():
            if key == "probabilities" and self.top and self.kind == "classes":
                for place, (name, probability) in enumerate([*value.items()][1:], 2):
                    cells |= {f"class {place}": name, f"probability {place}": probability}
            elif key == "probabilities":
                cells |= {f"p {name}": probability for name, probability in value.items()}
            elif key == "labels":
                cells[key] = "; ".join(value)
            elif key in SURENESS and isinstance(value, list):
                cells[key] = _plain(torch.tensor(value).sum())
            else:
                several = value if isinstance(value, list) else []
                cells |= {f"{key} {self._class(k)}": each for k, each in enumerate(several)} or {key: value}
        return cells

    def table(self, most: int) -> tuple[list[str], list[list[str]]]:
        """Return the head of a table for people, and its first rows."""
        rows = [self.flat(row) for row in itertools.islice(self.rows(), most)]
        head = [key for key in rows[0] if not key.startswith("p ") or self.kind == "labels"][:WIDEST]
        return [key.replace("_", " ") for key in head], [[_text(row.get(key, "")) for key in head] for row in rows]

    def write(self, folder: Path, overwrite: bool = False) -> list[Path]:
        """Write both files, or none, and return their paths. Raises UserError where they are there already."""
        paths = paths_in(folder, Path(self.about["path"]))
        new_files(paths, overwrite)
        rows, text = list(self.rows()), io.StringIO()
        cells = [self.flat(row) for row in rows]
        head = dict.fromkeys(key for row in cells for key in row)  # with `top`, labels are others in each row
        writer = csv.DictWriter(text, [*head], restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(cells)
        before = {path for path in paths if path.exists()}
        try:
            write_text(paths[0], text.getvalue())
            write_json(
                paths[1], {**self.about, "classes": list(self.classes) or None, "unit": "nats", "examples": rows}
            )
        except UserError:
            for path in {*paths} - before:
                path.unlink(missing_ok=True)
            raise
        return paths


def _plain(value: Tensor) -> Any:
    """Return a number, or a list of such."""
    if value.ndim:
        return [_plain(part) for part in value]
    return float(f"{value.item():.{DIGITS}g}")


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
