"""Figures of the audit: score against diversity, and what is both novel and performant. Imports matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdiff.view import ORIGINAL
from pdiff_plugins.drawing.style import Look, figure
from pdiff_plugins.reports.findings import score_key

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pdiff.view import View


def front(view: View, own: dict[str, Look]) -> tuple[Figure, str] | None:
    """Draw the method at several temperatures, and every source at its mean."""
    key, rows = score_key(view.scores), view.scores.get("front", {}).get("front")
    points = {
        source: (scored["similarity"]["within"], 100 * scored[key]["mean"])
        for source, scored in view.scores["networks"].items()
        if key in scored and scored.get("similarity", {}).get("within") is not None
    }
    if not rows or ORIGINAL not in points:
        return None
    made = figure(4.4)
    axes = made.add_subplot()
    x, y = [row["within"] for row in rows], [100 * row["score"] for row in rows]
    look = own[view.method]
    axes.plot(x, y, color=look.colour, marker="o", markersize=4, label=f"{view.method}, by temperature")
    for row, at in zip(rows, zip(x, y, strict=True), strict=True):
        axes.annotate(f"{row['temperature']:g}", at, xytext=(4, 4), textcoords="offset points", fontsize=8)
    shown = [*y, *(points[source][1] for source in (ORIGINAL, view.method))]
    margin = 0.15 * (max(shown) - min(shown) or 1.0)
    for source, (within, score) in points.items():
        if score >= min(shown) - margin:
            axes.scatter(within, score, s=90, marker=own[source].marker, color=own[source].colour, label=source)
    axes.set_xlabel("overlap (IoU) of wrong answers among a source's networks")
    axes.set_ylabel(f"{view.scores['main']} on the test split (%)")
    made.legend(loc="outside right center", labelspacing=0.7)
    return made, (
        "A temperature multiplies how far each of the method's networks lies from the average checkpoint: 0 is the "
        "average itself, 1 the networks as they are. What lies on the line another temperature could give; a generator "
        "that is better is above it and to the left."
    )


def novel_and_performant(view: View, own: dict[str, Look]) -> tuple[Figure, str] | None:
    """Draw the share of networks above the bar that are further from all checkpoints than so many times their own."""
    networks, audit = view.scores["networks"], view.scores.get("audit", {})
    curves = {source: scored["audit"]["np"] for source, scored in networks.items() if scored.get("audit", {}).get("np")}
    if not curves:
        return None
    made = figure(4.2)
    axes = made.add_subplot()
    for source, shares in curves.items():
        look, wide = own[source], source == view.method
        axes.plot(
            audit["multiples"], [100 * share for share in shares], color=look.colour, marker=look.marker, markersize=6,
            linewidth=2.4 if wide else 1.2, label=source, zorder=4 if wide else 3, clip_on=False,
        )  # fmt: skip
    axes.set_ylim(0, 103)
    axes.set_xlabel("further from every checkpoint than so many times the checkpoints' own distance")
    axes.set_ylabel("share of networks (%)")
    made.legend(loc="outside right center", labelspacing=0.6)
    return made, (
        f"Share of networks that score at least {100 * audit['bar']:.2f} %, the originals' median, and lie that far "
        "from every checkpoint. Of a trajectory's checkpoints each has a neighbour one step away, so every average is "
        "far by this measure; it says more of independent runs. Distance alone can be bought: see the overlap, too."
    )
