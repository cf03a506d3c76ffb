"""What lies at a path, as inputs of a run's networks. E examples, C channels, H x W pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn

from pdiff.data import Inputs, each, leaves, require_finite
from pdiff.errors import UserError
from pdiff_plugins.predicting import arrays, images, rows
from pdiff_plugins.tables.arrays import Arrays
from pdiff_plugins.tables.csv_file import Csv

if TYPE_CHECKING:
    from pdiff.api import Run

TABLES = (".csv", ".tsv", ".txt")


class Examples(NamedTuple):
    """Examples of a path."""

    names: list[str]
    """Of each: its file, line, or number from 0."""
    batches: Callable[[int], Iterator[Inputs]]
    """So many at a time -> inputs, as the dataset's splits have them."""
    read: str
    """How they were read, in words."""


def examples_at(run: Run, path: Path, raw: bool | None = None, key: str = "") -> Examples:
    """Return the examples at a path. Raises UserError where there are none that the run's networks could take."""
    if not path.exists():
        raise UserError(
            f"{path}: there is no such file or folder; name a folder of images, an image, .npz, .npy or .csv"
        )
    suffix = path.suffix.lower()
    if key and suffix != ".npz":
        raise UserError(f"--key {key}: names an array of a .npz, and {path} is none; leave it out")
    if path.is_dir() or suffix in images.ENDINGS:
        if raw is False:
            raise UserError(f"--inputs: {path} holds images, which are raw; leave it out")
        return Examples(*images.images_at(run, path))
    if suffix in TABLES:
        return _of_rows(run, path, raw)
    if suffix in (".npz", ".npy"):
        return _of_arrays(run, path, raw, key)
    known = ", ".join((*images.ENDINGS, ".npz", ".npy", ".csv"))
    raise UserError(f"{path}: files of this kind are not read; give a folder of images, or one of {known}")


def _of_rows(run: Run, path: Path, raw: bool | None) -> Examples:
    dataset = run.recipe.dataset
    if isinstance(dataset, Csv) and raw is not False:
        lines, inputs = dataset.encoded(path, run.context("data"))
        return _ready(path, [f"line {line}" for line in lines], inputs, "rows as the run's own table has them")
    lines, values = rows.read(path)
    wide, shape = values.shape[1], run.pipeline.data.input_shape
    if not isinstance(shape, tuple) or not all(isinstance(side, int) for side in shape):
        raise UserError(f"{path}: the run's networks take several inputs ({shape}); give them in a .npz by their names")
    if wide != math.prod(shape):
        raise UserError(
            f"{path}: has {wide} column{'s' * (wide != 1)} of numbers, and the run's networks take {math.prod(shape)} "
            f"({list(shape)}); give those alone"
        )
    return _of_values(run, path, values.reshape(-1, *shape), raw, [f"line {line}" for line in lines])


def _of_arrays(run: Run, path: Path, raw: bool | None, key: str) -> Examples:
    example = run.pipeline.data.example()
    if isinstance(example, dict):
        named = arrays.named(path, list(example), key)
        if raw:
            raise UserError("--raw: the networks take several inputs, which nobody knows how to make; leave it out")
        lengths = {name: len(value) if value.ndim else 0 for name, value in named.items()}
        if len({*lengths.values()}) > 1:
            raise UserError(f"{path}: inputs have other numbers of examples: {lengths}; each row is one example in all")
        return _ready(path, None, named, "inputs by name, as the splits have them")
    if isinstance(example, tuple):
        raise UserError(
            "the networks take several inputs without names; predict from Python: run.ensemble().uncertainty"
        )
    dataset, values = run.recipe.dataset, arrays.read(path, key)
    if isinstance(dataset, Arrays) and raw is not False:
        return _ready(path, None, dataset.input(path, values), "an array as the run's own file has it")
    return _of_values(run, path, values, raw)


def _of_values(run: Run, path: Path, values: Tensor, raw: bool | None, names: list[str] | None = None) -> Examples:
    """Return examples of one tensor: raw ones, or inputs as the splits have them; guessed unless it is said."""
    preprocess, shape = run.preprocess, tuple(run.pipeline.data.input_shape)
    if raw and preprocess is None:
        raise UserError(
            f"--raw: dataset {run.recipe.dataset.name} does not say how inputs are made of raw examples; give inputs "
            "as its splits have them, with --inputs"
        )
    shaped = arrays.shaped(values, shape, pictures=preprocess is not None and raw is not False)
    if shaped is None:
        pictures = ", or raw images [E, C, H, W] or [E, H, W]" if preprocess is not None else ""
        raise UserError(
            f"{path}: has the shape {list(values.shape)}, and the run's networks take [E, "
            f"{', '.join(map(str, shape))}]{pictures}"
        )
    advice = "" if raw is not None else "; if they are not, say --inputs"
    if preprocess is not None and raw is not False:
        pixels, kind = arrays.pixels(shaped, path, sure=bool(raw) or shaped.shape[1:] != shape)
        if pixels is not None:
            return _ready(path, names, pixels, f"raw images, {kind}{advice}", preprocess)
    advice = "" if raw is not None or preprocess is None else "; if they are raw, say --raw"
    return _ready(path, names, shaped, f"inputs as the dataset's splits have them{advice}")


def _ready(
    path: Path, names: list[str] | None, inputs: Inputs, read: str, preprocess: nn.Module | None = None
) -> Examples:
    """Return examples that are in memory. Raises UserError where there are none, or one holds no number."""
    count = len(leaves(inputs)[0]) if leaves(inputs)[0].ndim else 0
    if not count:
        raise UserError(f"{path}: holds no examples")
    for value in leaves(inputs):
        require_finite(value, f"a value of {path}")

    def batches(size: int) -> Iterator[Inputs]:
        for start in range(0, count, size):
            batch = each(lambda value: value[start : start + size], inputs)  # noqa: B023
            yield batch if preprocess is None else preprocess(batch)

    return Examples(names or [str(number) for number in range(count)], batches, read)
