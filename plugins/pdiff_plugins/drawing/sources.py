"""Charts with one row per source: its networks as dots below a half violin. Imports matplotlib: import it lazily."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from pdiff_plugins.drawing.style import FAINT, INK, VERMILLION, Look, figure, scatter_offsets, violin


def label(source: str, count: int) -> str:
    return f"{source} ({count})" if count > 1 else source


def rows(values: Mapping[str, np.ndarray], looks: Mapping[str, Look], title: str, number: str) -> tuple[Figure, Axes]:
    """Return a figure with one row per source, the first on top; `number` is what `note` writes beside it."""
    chart = figure(0.95 + 0.46 * len(values))
    axes = chart.add_subplot()
    axes.set_yticks(range(len(values)), [label(source, len(seen)) for source, seen in values.items()])
    for text, source in zip(axes.get_yticklabels(), values, strict=True):
        text.set_fontweight("bold" if looks[source].colour == VERMILLION else "normal")
    axes.set_ylim(len(values) - 0.4, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(title)
    axes.text(1.015, 1.0, number, transform=axes.transAxes, color=FAINT, va="bottom", fontsize=8.5)
    return chart, axes


def cloud(
    axes: Axes, row: int, values: np.ndarray, look: Look, low: float, high: float, highest: float = np.inf
) -> None:
    """Draw a source: a half violin above its dots, a marker for a single network, an arrow where it is off the axis."""
    seen = values[(values >= low) & (values <= high)]
    if not len(seen):
        edge = 0.012 * (high - low)
        place, way = (low + edge, "<") if np.median(values) < low else (high - edge, ">")
        axes.plot(place, row, marker=way, color=look.colour, markersize=8, clip_on=False, zorder=5)
        return
    if len(values) == 1:
        axes.scatter(seen, [row], s=110, marker=look.marker, color=look.colour, edgecolors=INK, lw=0.9, zorder=5)
        return
    if shape := violin(values, highest):
        grid, height = shape
        axes.fill_between(grid, row - 0.04 - 0.4 * height, row - 0.04, color=look.colour, alpha=0.45, lw=0, zorder=2)
    heights = row + 0.14 + 0.2 * scatter_offsets(len(seen))
    axes.scatter(seen, heights, s=7, color=look.colour, alpha=0.55, linewidths=0, zorder=3)


def tick(axes: Axes, row: int, place: float, low: float, high: float, count: int) -> None:
    """Mark the middle of a source that has several networks, where it is on the axis."""
    if count > 1 and low <= place <= high:
        axes.plot([place, place], [row - 0.34, row + 0.26], color=INK, linewidth=1.8, zorder=5, solid_capstyle="butt")


def note(axes: Axes, row: int, text: str) -> None:
    """Write a number beside a row."""
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    axes.text(1.015, row, text, transform=beside, va="center_baseline", fontsize=9)
