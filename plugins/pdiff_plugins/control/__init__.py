"""Policies that keep a pole upright."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.control.data import Cartpole
from pdiff_plugins.control.task import Control


@hookimpl
def register_datasets(register: Any) -> None:
    register(Cartpole)


@hookimpl
def register_tasks(register: Any) -> None:
    register(Control)
