"""The figure of readings: what was told of networks against what they do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pdiff.results.scores import Unit
from pdiff_plugins.drawing.style import FAINT, GREY, VERMILLION, Drawing, Look, figure

if TYPE_CHECKING:
    from pdiff.view import View

NAME = "predict_property"
ACROSS = 3
"""Panels in a row."""


def read_and_true(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Draw a panel for each reader and for each control, the reader of the table first."""
    found = view.scores[NAME]
    unit, readers, controls = Unit.of(found["true"]), found["readers"], found["controls"]
    names = sorted(readers, key=lambda name: name != found["best"]) + [name for name in controls if name != "constant"]
    if not names:
        return None
    rows = -(-len(names) // ACROSS)
    chart = figure(3.1 * rows + 0.2)
    panels = chart.subplots(rows, min(ACROSS, len(names)), sharex=True, sharey=True, squeeze=False)
    true_N = unit.factor * np.asarray(found["true"])
    for axes, name in zip(panels.flat, names, strict=False):
        told, read_N = (readers | controls)[name], unit.factor * np.asarray(found["read"][name])
        axes.plot([true_N.min(), true_N.max()], [true_N.min(), true_N.max()], color=FAINT, linewidth=1)
        axes.scatter(true_N, read_N, s=7, alpha=0.5, linewidths=0, color=VERMILLION if name in readers else GREY)
        numbers = [f"{short} {told[key]:.3f}" for short, key in (("R2", "r2"), ("tau", "tau")) if told[key] is not None]
        axes.set_title(name)
        axes.annotate("\n".join(numbers), (0.04, 0.96), xycoords="axes fraction", va="top")
    for axes in panels.flat[len(names) :]:
        axes.set_visible(False)
    for axes in panels[-1]:
        axes.set_xlabel(unit.axis(found["property"].replace("_", " ")))
    for axes in panels[:, 0]:
        axes.set_ylabel(unit.axis("read"))
    return chart, (
        f"Each point is one of {found['judged']} networks that were not learnt. Coloured: what their weights tell; "
        "grey: controls that see no weights."
    )
