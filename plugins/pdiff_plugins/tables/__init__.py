"""Data of your own in one file: a table as CSV, and arrays as NumPy saves them."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.tables.arrays import Arrays
from pdiff_plugins.tables.csv_file import Csv


@hookimpl
def register_datasets(register: Any) -> None:
    for dataset in (Arrays, Csv):
        register(dataset)
