"""Numbers in a CSV file, with a line of names at its top or without."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import torch
from torch import Tensor

from pdiff.errors import UserError

DELIMITERS = ",;\t"


def read(path: Path) -> tuple[list[int], Tensor]:
    """Return the line of each row, and the numbers, float32 `[E, F]`. Raises UserError that names line and column."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(DELIMITERS, key=first.count), strict=True)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if "".join(row).strip()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as CSV in UTF-8 ({error})") from None
    header = bool(rows) and any(_number(cell) is None for cell in rows[0][1] if cell)
    names = rows.pop(0)[1] if header else [str(column) for column in range(len(rows[0][1]))] if rows else []
    if not rows:
        raise UserError(f"{path}: has no rows of numbers")
    return [line for line, _ in rows], torch.tensor([_numbers(path, line, cells, names) for line, cells in rows])


def _numbers(path: Path, line: int, cells: list[str], names: list[str]) -> list[float]:
    if len(cells) != len(names):
        raise UserError(f"{path}, line {line}: has {len(cells)} cells for {len(names)} columns")
    numbers = []
    for name, cell in zip(names, cells, strict=True):
        number = _number(cell)
        if number is None or not math.isfinite(number):
            raise UserError(
                f"{path}, line {line}, column {name!r}: is {cell!r}, and must be a number; mend or leave it out"
            )
        numbers.append(number)
    return numbers


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
