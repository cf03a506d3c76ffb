"""The evaluator's figure. Imports matplotlib: import it lazily."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pdiff.results.scores import given_by, scored, unit_of
from pdiff.view import ORIGINAL
from pdiff_plugins.drawing.style import GREY, Drawing, Look, figure, plain_log

if TYPE_CHECKING:
    from pdiff.view import View

FAR = 0.5
"""Share of the best score below which a source is not drawn with the others."""
APART, SAME = 1.05, 1.02
"""Times the bytes that sources of one size are drawn apart, and up to which they are of one size."""


def score_against_bytes(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Draw each source's mean score against the bytes of a packed network."""
    given, means, unit = given_by(view.scores, "bits"), scored(view.scores), unit_of(view.scores)
    shown = [source for source in given if source in means]
    if len(shown) < 2:
        return None
    bar = FAR * max(means[source]["mean"] for source in shown)
    far = [source for source in shown if means[source]["mean"] < bar]
    shown = [source for source in shown if source not in far]
    chart = figure(4.4)
    axes = chart.add_subplot()
    groups = _of_one_size({source: given[source]["bytes"] for source in shown})
    for source, place in (item for group in groups for item in _side_by_side(group).items()):
        look, mean, deviation = looks[source], unit.factor * means[source]["mean"], unit.factor * means[source]["std"]
        axes.errorbar(
            place, mean, deviation, color=look.colour, marker=look.marker, markersize=7, linestyle="",
            elinewidth=1, zorder=4 if source in (view.method, ORIGINAL) else 3,
            label=f"{source}: {unit.text(means[source]['mean'])}, {given[source]['bits']:.2f} bits",
        )  # fmt: skip
    dense, sizes = view.scores["bits"]["dense"], [given[source]["bytes"] for source in shown]
    low, high = min(sizes) / 1.35, max(dense, *sizes) * 1.35
    for size, places in ((max(group.values()), [*_side_by_side(group).values()]) for group in groups if len(group) > 1):
        axes.axvspan(places[0] / APART, places[-1] * APART, color=GREY, alpha=0.12, linewidth=0, zorder=0)
        axes.text(
            math.sqrt(places[0] * places[-1]), 0.02, f"{size:,.0f} bytes", ha="center", va="bottom", color=GREY,
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
    axes.axvline(dense, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    plain_log(axes.xaxis, low, high)
    axes.set_xlabel("bytes of a packed network (logarithmic)")
    axes.set_ylabel(unit.axis(f"{view.scores['main']} on the test split"))
    chart.legend(loc="outside right center", labelspacing=0.6)
    left = "".join(f" {source} ({unit.text(means[source]['mean'])})," for source in far)
    return chart, (
        "Mean score of each source's networks against the bytes that one takes when packed: codes, steps, masks and "
        "all floats, without the file's header. Bars are standard deviations over networks; the dashed line is a "
        "network in floats. Those of one size stand side by side, on grey with that size. Bits are per parameter."
        + (f" Far below, and not shown:{left[:-1]}." if far else "")
    )


def _of_one_size(sizes: Mapping[str, float]) -> list[dict[str, float]]:
    """Return sources in groups of one size, with it."""
    groups: list[dict[str, float]] = []
    for source in sorted(sizes, key=sizes.__getitem__):
        if groups and sizes[source] <= SAME * min(groups[-1].values()):
            groups[-1][source] = sizes[source]
        else:
            groups.append({source: sizes[source]})
    return groups


def _side_by_side(group: Mapping[str, float]) -> dict[str, float]:
    """Return where sources of one size are drawn: beside one another, around it."""
    middle = (len(group) - 1) / 2
    return {source: size * APART ** (number - middle) for number, (source, size) in enumerate(group.items())}
