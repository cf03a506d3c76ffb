"""Quick ways to run many networks that share most of their parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdiff import hookimpl

if TYPE_CHECKING:
    from torch import nn

    from pdiff.way import Predicts
    from pdiff.zoo import Layout
    from pdiff_plugins.populations.chooser import Chooser


@hookimpl
def choose_ways(model: nn.Module, layout: Layout, task: Predicts, steady: bool) -> Chooser:
    from pdiff_plugins.populations.chooser import Chooser

    return Chooser(model, layout, task, steady)
