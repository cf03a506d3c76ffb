"""Tables in CSV files. E rows, F number columns, W word columns."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from pdiff.components import Ahead, Dataset
from pdiff.errors import UserError, did_you_mean
from pdiff.files import folder_below
from pdiff_plugins.tables.options import Predict, Test, Validation, check_classes, existing, parted, shape_of

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.data import DatasetSplits

MISSING = frozenset({"", "na", "nan", "n/a", "null", "none", "?"})
MOST_WORDS = 100
"""Different words of a column that become columns of their own."""
Rows = list[tuple[int, list[str]]]
"""Rows of cells, each with its line in the file."""


class Csv(Dataset):
    """Your own table as CSV: rows are examples, a column or some are predicted.

    A column is of numbers where every cell of it is one; all others are of words, and known words are those of the
    training rows. A cell that is empty, NA, NaN, null or ? is missing. Inputs are one row of numbers for each example;
    with words = "codes" they are `numbers` (float) and `words` (whole numbers, 0: unknown), for an embedding, by name.
    """

    name = "csv"
    source: ClassVar[str] = "RFC 4180, Common Format and MIME Type for Comma-Separated Values Files"
    path: str = Field(min_length=1, description="the file, with a line of names at its top; relative to run.data")
    target: str | int | tuple[str | int, ...] = Field(
        description="column to predict, or columns: names, or numbers from 0 (-1: the last)"
    )
    predict: Predict
    test_path: str = Field("", description="file of the same columns that is the test split; else a part is drawn")
    drop: tuple[str | int, ...] = Field((), description="columns that are left out, such as numbers of rows")
    delimiter: str = Field(",", min_length=1, max_length=1, description="between cells")
    header: bool = Field(True, description="whether the first line holds the columns' names; else they are numbered")
    standardise: bool = Field(True, description="number columns less their mean, by their deviation, of training rows")
    standardise_targets: bool = Field(False, description="the same of numbers to predict: errors are in deviations")
    words: Literal["one_hot", "codes"] = Field("one_hot", description="columns of words: 0 and 1 by word, or codes")
    missing: Literal["refuse", "drop"] = Field("refuse", description="rows with a missing cell: an error, or left out")
    test: Test = 0.2
    validation: Validation = 0.2

    def content(self, data_root: Path) -> str:
        """Return the digests of the files."""
        from pdiff.files import sha256_of

        paths = [folder_below(data_root, path) for path in (self.path, self.test_path) if path]
        return " ".join(sha256_of(existing(self.name, path)) for path in paths)

    def foresee(self, ahead: Ahead) -> None:
        """See `Component.foresee`: the files are read, which takes less than anything else."""
        self._chosen(self._files(ahead.data_root)[0])

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. Raises UserError that names the file, the line and the column."""
        import torch

        from pdiff.data import DatasetSplits, TensorSplit, each

        names, rows, more = self._files(ctx.data_root)
        kept, targets = self._chosen(names)
        parts = parted(self.name, len(rows), 0.0 if self.test_path else self.test, self.validation, ctx)
        if self.test_path:
            parts["test"] = torch.arange(len(rows), len(rows) + len(more))
            rows += more
        cells = {name: [row[column] for _, row in rows] for column, name in enumerate(names)}
        inputs = self._inputs({name: cells[name] for name in kept}, parts["train"])
        values, outputs, classes = self._targets({name: cells[name] for name in targets}, parts["train"])
        train, validation, test = (
            TensorSplit(each(lambda tensor, index=index: tensor[index], inputs), values[index])
            for index in parts.values()
        )
        return DatasetSplits(train, validation, test, shape_of(inputs), outputs, classes)

    def encoded(self, path: Path, ctx: Context) -> tuple[list[int], Any]:
        """Return the lines and inputs of another file, as `load` makes them of this one; it need not have the targets.

        `ctx`: as for `load`. Raises UserError that names the file, the line and the column.
        """
        from pdiff.data import each

        names, rows, more = self._files(ctx.data_root)
        kept, _ = self._chosen(names)
        own, others = self.model_copy(update={"path": str(path)})._read(path, kept)
        parts = parted(self.name, len(rows), 0.0 if self.test_path else self.test, self.validation, ctx)
        cells = {}
        for name in kept:
            known = [row[names.index(name)] for _, row in (*rows, *more)]
            new = {line: row[own.index(name)] for line, row in others}
            if _numbers(known) is not None:
                for line, cell in new.items():
                    number = _numbers([cell])
                    if number is None or not number.isfinite().all():
                        raise UserError(
                            f"dataset csv: {path}, line {line}, column {name!r} is {cell!r}, which is no number"
                        )
            cells[name] = [*known, *new.values()]
        inputs = self._inputs(cells, parts["train"])
        return [line for line, _ in others], each(lambda tensor: tensor[len(rows) + len(more) :], inputs)

    def _files(self, data_root: Path) -> tuple[list[str], Rows, Rows]:
        """Return (names of the columns, rows, those of `test_path`)."""
        names, rows = self._read(folder_below(data_root, self.path))
        if not self.test_path:
            return names, rows, []
        path = folder_below(data_root, self.test_path)
        others, more = self._read(path)
        if others != names:
            raise UserError(f"dataset csv: {path} has other columns than {self.path}; they must be the same, in order")
        return names, rows, more

    def _chosen(self, names: list[str]) -> tuple[list[str], list[str]]:
        """Return the names of the columns that are read, and of those to be predicted."""
        wanted = self.target if isinstance(self.target, tuple) else (self.target,)
        targets = [self._column(names, column) for column in wanted]
        left_out = {*targets, *(self._column(names, column) for column in self.drop)}
        kept = [column for column in range(len(names)) if column not in left_out]
        if not kept or not targets:
            raise UserError(f"dataset csv: {self.path} leaves no column to learn from, or none to predict")
        return [names[column] for column in kept], [names[column] for column in targets]

    def _read(self, path: Path, kept: Sequence[str] | None = None) -> tuple[list[str], Rows]:
        """Return (names of the columns, rows); `kept`: columns that are needed, no other is looked at."""
        try:
            with existing(self.name, path).open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, delimiter=self.delimiter, strict=True)
                rows = [
                    (reader.line_num, [cell.strip() for cell in row])
                    for row in reader
                    if "".join(row).strip() or len(row) > 1
                ]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"dataset csv: {path} cannot be read as CSV in UTF-8 ({error})") from None
        if len(rows) <= self.header:
            raise UserError(f"dataset csv: {path} has no rows below its header")
        names = rows.pop(0)[1] if self.header else [str(column) for column in range(len(rows[0][1]))]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UserError(f"dataset csv: {path} has two columns {twice!r}; each must have its own name")
        names = list(kept) if kept and not self.header and len(names) == len(kept) else names
        if absent := next((name for name in kept or () if name not in names), None):
            raise UserError(f"dataset csv: {path} has no column {absent!r}{did_you_mean(absent, names)}")
        left_out = {self._column(names, column) for column in self.drop} if kept is None else {
            column for column, name in enumerate(names) if name not in kept
        }  # fmt: skip
        whole = [row for row in rows if self._whole(path, names, left_out, *row)]
        if not whole:
            raise UserError(f"dataset csv: {path} has no row without a missing cell")
        return names, whole

    def _whole(self, path: Path, names: Sequence[str], left_out: set[int], line: int, cells: Sequence[str]) -> bool:
        if len(cells) != len(names):
            advice = f"; is its delimiter {self.delimiter!r}?" if len(names) == 1 or len(cells) == 1 else ""
            raise UserError(f"dataset csv: {path}, line {line} has {len(cells)} cells for {len(names)} columns{advice}")
        empty = [names[i] for i, cell in enumerate(cells) if i not in left_out and cell.lower() in MISSING]
        if empty and self.missing == "refuse":
            raise UserError(
                f"dataset csv: {path}, line {line}, column {empty[0]!r} is missing ({cells[names.index(empty[0])]!r}); "
                "fill it in, or leave such rows out with missing = 'drop'"
            )
        return not empty

    def _column(self, names: Sequence[str], column: str | int) -> int:
        if isinstance(column, int) and -len(names) <= column < len(names):
            return column % len(names)
        if isinstance(column, str) and column in names:
            return names.index(column)
        near = did_you_mean(column, names) if isinstance(column, str) else ""
        shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        hint = f"; is its delimiter {self.delimiter!r}?" if len(names) == 1 else ""
        if self.header and any(_numbers([name]) is not None for name in names):
            hint += "; where its first line holds no names set header = false"
        raise UserError(f"dataset csv: {self.path} has no column {column!r} ({shown}){near}{hint}")

    def _inputs(self, columns: dict[str, list[str]], train: Tensor) -> Any:
        """Return what networks read: `[E, F]`; with codes `[E, W]`, or a dict of both where there are both."""
        import torch

        numbers, words = [], []
        for name, cells in columns.items():
            values = _numbers(cells)
            if values is not None:
                self._check_size(name, values)
                numbers.append(_standard(values, train) if self.standardise else values)
            elif self.words == "codes":
                words.append(_codes(cells, train).codes)
            else:
                numbers += self._one_hot(name, cells, train)
        parts = {"numbers": torch.stack(numbers, dim=1).float()} if numbers else {}
        parts |= {"words": torch.stack(words, dim=1)} if words else {}
        return parts if len(parts) > 1 else next(iter(parts.values()))

    def _check_size(self, name: str, values: Tensor) -> None:
        """Raise UserError where a number is none of float32; of its column neither mean nor deviation would be one."""
        from torch import finfo, float32

        large = values.abs() > finfo(float32).max
        if large.any():
            raise UserError(
                f"dataset csv: column {name!r} of {self.path} holds {values[large][0]:g}, which is no number of "
                "float32; mend it, or drop the column"
            )

    def _one_hot(self, name: str, cells: list[str], train: Tensor) -> list[Tensor]:
        codes, known = _codes(cells, train)
        if len(known) > MOST_WORDS:
            raise UserError(
                f"dataset csv: column {name!r} of {self.path} holds {len(known):,} different words (the first: "
                f"{known[0]!r}); write it as numbers, drop it, or set words = 'codes'"
            )
        return [(codes == number + 1).double() for number in range(len(known))]

    def _targets(self, columns: dict[str, list[str]], train: Tensor) -> tuple[Tensor, int, tuple[str, ...]]:
        """Return (targets, outputs, names of classes or of what is predicted)."""
        import torch

        if self.predict == "classes":
            if len(columns) > 1:
                raise UserError("dataset.target: classes are those of one column; predict = 'numbers' takes several")
            ((name, cells),) = columns.items()
            read: Any = str if _numbers(cells) is None else float  # 1 and 1.0 are one class
            known = sorted({read(cell) for cell in cells})
            outputs = check_classes(self.name, f"column {name!r} of {self.path}", len(known))
            number = {value: place for place, value in enumerate(known)}
            named = {read(cell): cell for cell in reversed(cells)}
            return torch.tensor([number[read(cell)] for cell in cells]), outputs, tuple(named[value] for value in known)
        values = []
        for name, cells in columns.items():
            numbers = _numbers(cells)
            if numbers is None:
                word = next(cell for cell in cells if _numbers([cell]) is None)
                raise UserError(
                    f"dataset csv: column {name!r} of {self.path} holds {word!r}, which is no number; write predict = "
                    "'classes' where its words are classes"
                )
            self._check_size(name, numbers)
            values.append(_standard(numbers, train) if self.standardise_targets else numbers)
        stacked = torch.stack(values, dim=1).float()
        return (stacked[:, 0] if len(values) == 1 else stacked), len(values), tuple(columns)


class _Codes(NamedTuple):
    codes: Tensor
    """`[E]`: the place of each cell's word among the known ones, from 1; 0: not known."""
    known: list[str]


def _codes(cells: list[str], train: Tensor) -> _Codes:
    import torch

    known = sorted({cells[row] for row in train.tolist()})
    place = {word: number + 1 for number, word in enumerate(known)}
    return _Codes(torch.tensor([place.get(cell, 0) for cell in cells]), known)


def _numbers(cells: list[str]) -> Tensor | None:
    """Return a column of numbers, `[E]` in float64; None where a cell is none."""
    import torch

    try:
        return torch.tensor([float(cell) for cell in cells], dtype=torch.float64)
    except ValueError:
        return None


def _standard(values: Tensor, train: Tensor) -> Tensor:
    """Return the values less their mean, by their deviation, both of the training rows."""
    known = values[train]
    deviation = known.std(correction=0)
    return (values - known.mean()) / (deviation if deviation > 0 else 1.0)
