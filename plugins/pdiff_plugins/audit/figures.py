"""The figure of the audit: what is both novel and performant. Imports matplotlib: import it lazily."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pdiff.results.scores import given_by, unit_of
from pdiff_plugins.drawing.style import GREY, Drawing, Look, figure

if TYPE_CHECKING:
    from pdiff.view import View


def novel_and_performant(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Draw the share of networks above the bar that are further from all checkpoints than so many times their own."""
    audit = view.scores["audit"]
    curves = {source: scores["np"] for source, scores in given_by(view.scores, "audit").items() if scores.get("np")}
    if not curves:
        return None
    chart = figure(4.2)
    axes = chart.add_subplot()
    for source, shares in curves.items():
        look, wide = looks[source], source == view.method
        axes.plot(
            audit["multiples"], [100 * share for share in shares], color=look.colour, marker=look.marker, markersize=6,
            linewidth=2.4 if wide else 1.2, label=source, zorder=4 if wide else 3, clip_on=False,
        )  # fmt: skip
    if passed := audit.get("np_noise"):
        shares = [100 * share for share in passed]
        axes.plot(audit["multiples"], shares, color=GREY, linestyle=(0, (4, 3)), label="noise, so far away")
    axes.set_ylim(0, 103)
    axes.set_xlabel("further from every checkpoint than so many times the checkpoints' own distance")
    axes.set_ylabel("share of networks (%)")
    chart.legend(loc="outside right center", labelspacing=0.6)
    bar = unit_of(view.scores).text(audit["bar"])
    return chart, (
        f"Share of networks that score at least {bar}, the originals' median, and lie that far from every checkpoint. "
        "Of a trajectory's checkpoints each has a neighbour one step away, so every average is far by this measure; it "
        "says more of independent runs. Distance alone can be bought: see the overlap, and what plain noise passes."
    )
