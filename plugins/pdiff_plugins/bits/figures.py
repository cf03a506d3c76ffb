"""The evaluator's figure. Imports matplotlib: import it lazily."""

from __future__ import annotations

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
    for source, place in _side_by_side({source: given[source]["bytes"] for source in shown}).items():
        look, mean, deviation = looks[source], unit.factor * means[source]["mean"], unit.factor * means[source]["std"]
        axes.errorbar(
            place, mean, deviation, color=look.colour, marker=look.marker, markersize=7, linestyle="",
            elinewidth=1, zorder=4 if source in (view.method, ORIGINAL) else 3,
            label=f"{source}: {unit.text(means[source]['mean'])}, {given[source]['bits']:.2f} bits",
        )  # fmt: skip
    dense, sizes = view.scores["bits"]["dense"], [given[source]["bytes"] for source in shown]
    low, high = min(sizes) / 1.35, max(dense, *sizes) * 1.35
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
        "network in floats. Those of one size stand side by side. Bits are per parameter."
        + (f" Far below, and not shown:{left[:-1]}." if far else "")
    )


def _side_by_side(sizes: Mapping[str, float]) -> dict[str, float]:
    """Return where each source is drawn: those of one size beside one another, around it."""
    groups: list[list[str]] = []
    for source in sorted(sizes, key=sizes.__getitem__):
        if groups and sizes[source] <= SAME * sizes[groups[-1][0]]:
            groups[-1].append(source)
        else:
            groups.append([source])
    return {
        source: sizes[source] * APART ** (number - (len(group) - 1) / 2)
        for group in groups
        for number, source in enumerate(group)
    }
