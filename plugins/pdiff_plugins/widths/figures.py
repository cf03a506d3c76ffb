"""The figure of widths. Imports matplotlib: do it lazily."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pdiff.results.scores import Unit
from pdiff_plugins.drawing.style import FAINT, GREY, HUES, Drawing, Look, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pdiff.view import View

SHOWN = {"cut": ("v", HUES[0]), "split": ("^", HUES[2])}
"""Marker and colour of a control; after steps it is hollow."""
ROOM = 0.15
"""Of the span of what is shown for certain, how far the axis goes below; controls beneath it stand at the edge."""


def by_width(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Draw scores against widths: of networks trained there, of sources, and of controls at unseen widths."""
    scores = view.scores["widths"]
    unit, at = Unit(scores["unit"]), scores["at"]
    made = figure(4.4)
    axes = made.subplots()
    widths = [row["width"] for row in at]
    for row in at:
        if row["part"] != "learnt":
            axes.axvline(row["width"], color=FAINT, linewidth=6, alpha=0.25, zorder=0)
    _line(axes, widths, [row["trained"] for row in at], GREY, "o", "trained at this width", unit)
    for source in at[0]["sources"]:
        look = looks[source]
        _line(axes, widths, [row["sources"][source] for row in at], look.colour, look.marker, source, unit)
    low, high = axes.get_ylim()
    bottom = low - ROOM * (high - low)
    below = _controls(axes, at, scores["steps"], unit, bottom)
    axes.set_ylim(bottom, high)
    axes.set_xticks(widths)
    axes.set_xlabel("width: units of the widest layer")
    axes.set_ylabel(unit.axis(f"{view.recipe.task.metric} on the test split"))
    made.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=4)
    more = " Controls at the lower edge lie below it." if below else ""
    return made, (
        "Mean score over networks, bars being their standard deviation. Shaded widths were held out: no generator has "
        "seen a network of them. Cut and split are networks of the nearest learnt width, whose units that are read "
        f"least go, or become two, as they are and after {scores['steps']} steps of Adam.{more}"
    )


def _line(axes: Axes, x: list[int], rows: list[Any], colour: str, marker: str, label: str, unit: Unit) -> None:
    y, spread = ([unit.factor * row[key] for row in rows] for key in ("mean", "std"))
    axes.errorbar(
        x, y, spread, color=colour, marker=marker, markersize=4, linewidth=1.6, elinewidth=0.8, capsize=2, label=label
    )


def _controls(axes: Axes, at: list[Any], steps: int, unit: Unit, bottom: float) -> bool:
    """Draw the controls at unseen widths; return whether any lies below the axis."""
    below = False
    for name, (marker, colour) in SHOWN.items():
        for trained in (False, True):
            key, label = (f"{name}, trained", f"{name}, {steps} steps") if trained else (name, name)
            rows = [row for row in at if key in row["controls"]]
            values = [unit.factor * row["controls"][key]["mean"] for row in rows]
            below |= any(value < bottom for value in values)
            shift = 0.35 if trained else -0.35
            axes.scatter(
                [row["width"] + shift for row in rows], [max(value, bottom) for value in values], marker=marker, s=30,
                edgecolors=colour, facecolors="none" if trained else colour, label=label, zorder=4, clip_on=False,
            )  # fmt: skip
    return below
