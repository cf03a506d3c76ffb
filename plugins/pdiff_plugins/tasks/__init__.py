"""Tasks of rows, texts and whatever else has a number, a yes or no, or several labels."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.tasks.errors import Errors
from pdiff_plugins.tasks.labels import Binary, Multilabel
from pdiff_plugins.tasks.regression import Regression


@hookimpl
def register_tasks(register: Any) -> None:
    for task in (Binary, Multilabel, Regression):
        register(task)


@hookimpl
def register_evaluators(register: Any) -> None:
    register(Errors)
