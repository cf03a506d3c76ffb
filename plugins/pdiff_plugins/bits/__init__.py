"""Networks in few bits: on a grid, or with most weights cut away."""

from __future__ import annotations

from typing import Any

from pdiff import hookimpl
from pdiff_plugins.bits.baselines import Afterwards, Marginals
from pdiff_plugins.bits.codecs import Quantised, Sparse
from pdiff_plugins.bits.evaluator import Bits
from pdiff_plugins.bits.steps import Cut, Rounded


@hookimpl
def register_backbones(register: Any) -> None:
    for codec in (Quantised, Sparse):
        register(codec)


@hookimpl
def register_transforms(register: Any) -> None:
    for transform in (Rounded, Cut):
        register(transform)


@hookimpl
def register_methods(register: Any) -> None:
    for method in (Marginals, Afterwards):
        register(method)


@hookimpl
def register_evaluators(register: Any) -> None:
    register(Bits)


@hookimpl
def register_commands(app: Any) -> None:
    from pdiff_plugins.bits.command import pack

    app.command()(pack)
