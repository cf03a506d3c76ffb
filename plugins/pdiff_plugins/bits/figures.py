"""The evaluator's figure. Imports matplotlib: import it lazily."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pdiff.results.scores import given_by, scored, unit_of
from pdiff.view import ORIGINAL
from pdiff_plugins.drawing.style import GREY, Drawing, Look, figure, plain_log

if TYPE_CHECKING:
    from pdiff.view import View

FAR = 8
"""How many times as far below the best as the method a source may score, to be drawn with the others."""
LEAST = 0.02
"""Of the best score, that is drawn below it at least."""


def score_against_bytes(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Draw each source's mean score against the bytes of a packed network."""
    given, means, unit = given_by(view.scores, "bits"), scored(view.scores), unit_of(view.scores)
    shown = [source for source in given if source in means]
    if len(shown) < 2:
        return None
    best = max(means[source]["mean"] for source in shown)
    bar = best - max(FAR * (best - means[view.method]["mean"]), LEAST * abs(best)) if view.method in means else best
    far = [source for source in shown if means[source]["mean"] < bar and source != ORIGINAL]
    shown = [source for source in shown if source not in far]
    chart = figure(4.4)
    axes = chart.add_subplot()
    for source in shown:
        look, mean, deviation = looks[source], unit.factor * means[source]["mean"], unit.factor * means[source]["std"]
        axes.errorbar(
            given[source]["bytes"], mean, deviation, color=look.colour, marker=look.marker, markersize=8, linestyle="",
            elinewidth=1, zorder=4 if source in (view.method, ORIGINAL) else 3,
            label=f"{source} ({given[source]['bits']:.2f} bits)",
        )  # fmt: skip
    dense, sizes = view.scores["bits"]["dense"], [given[source]["bytes"] for source in shown]
    low, high = min(sizes) / 1.25, max(dense, *sizes) * 1.25
    axes.axvline(dense, color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    plain_log(axes.xaxis, low, high)
    axes.set_xlabel("bytes of a packed network (logarithmic)")
    axes.set_ylabel(unit.axis(f"{view.scores['main']} on the test split"))
    chart.legend(loc="outside right center", labelspacing=0.6, title="source (per parameter)", title_fontsize=8.5)
    left = "".join(f" {source} ({unit.text(means[source]['mean'])})," for source in far)
    return chart, (
        "Mean score of each source's networks against the bytes that one takes when packed: codes, steps, masks and "
        "all floats, without the file's header. Bars are standard deviations over networks; the dashed line is a "
        "network in floats." + (f" Far below, and not shown:{left[:-1]}." if far else "")
    )
