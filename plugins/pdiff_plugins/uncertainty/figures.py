"""The evaluator's figures. Imports matplotlib: import it lazily."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pdiff.results.scores import given_by
from pdiff.view import ORIGINAL
from pdiff_plugins.drawing.style import FAINT, GREY, Drawing, Look, figure, plain_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pdiff.view import View

PANELS = 12
"""Of rows, in one figure."""
ACROSS = 4
LINES = 8
"""Rows that are drawn as lines in one picture."""
FAR = 4
"""How many times the best a row may be, to be drawn in one picture with it."""
FEW = 0.005
"""Share of answers of which less are no point."""


def _rows(view: View) -> dict[str, dict[str, Any]]:
    return given_by(view.scores, "uncertainty")


def chosen(view: View, most: int) -> list[str]:
    """Return the rows that matter most, in the table's order.

    The method, what it is measured by, what it learnt from, lone networks, and else those of the highest calibrated
    likelihood.
    """
    rows, whole = _rows(view), view.scores["uncertainty"]
    first = [view.method, *whole["references"].values(), ORIGINAL, *whole["lone"]]
    by_nll = sorted(rows, key=lambda source: rows[source]["calibrated_nll"])
    kept = list(dict.fromkeys(source for source in [*first, *by_nll] if source in rows))[:most]
    return [source for source in rows if source in kept]


def equivalent(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Draw the deep-ensemble equivalent of each row beside its cost: networks and trainings along one axis."""
    rows, whole = _rows(view), view.scores["uncertainty"]
    shown = {s: row for s, row in rows.items() if "equivalent" in row and row.get("cost") is not None}
    if not shown or "curve" not in whole:
        return None
    shown = dict(sorted(shown.items(), key=lambda pair: pair[1]["cost"]))
    most = whole["curve"][-1]["size"]
    low, high = (max(most, 2) ** power for power in (-0.15, 1.15))
    chart = figure(1.1 + 0.27 * len(shown))
    axes = chart.add_subplot()
    for place, (source, row) in enumerate(shown.items()):
        look, size = looks[source], row["equivalent"]
        cost, mark = (
            (row["cost"], "D") if low < row["cost"] < high else (high, ">") if row["cost"] >= high else (low, "<")
        )
        axes.plot(
            cost, place, color=GREY, marker=mark, markerfacecolor="none", markersize=6, linestyle="", clip_on=False
        )
        if "equivalent_low" in row:
            interval = row["equivalent_low"], row["equivalent_high"]
            axes.plot(interval, [place] * 2, color=look.colour, linewidth=1.6)
        if away := {"<": -1, ">": 1}.get(row["equivalent_text"][0]):
            arrow = {"arrowstyle": "<|-", "color": look.colour, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (size, place), (18 * away, 0), textcoords="offset points", arrowprops=arrow)
        axes.plot(
            size, place, color=look.colour, marker=look.marker, linestyle="", zorder=4,
            markersize=10 if look.marker == "*" or source == view.method else 7,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    plain_log(axes.xaxis, low, high)
    axes.set_yticks(range(len(shown)), [f"{source} ({_trainings(row['cost'])})" for source, row in shown.items()])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlabel("worth (networks trained one by one), and cost (trainings, open diamonds)")
    return chart, (
        "How many networks, trained one by one, have together the same calibrated likelihood as each row; bars are "
        "intervals of 95 %. The open diamond is what the row costs in trainings, which stands in brackets; a row to "
        f"the right of its diamond is worth more than a deep ensemble of its cost. Arrow right: more than {most}; "
        "left: less than 1. An open triangle: the cost lies beyond the axis."
    )


def _trainings(cost: float) -> str:
    return f"{cost:,.0f}" if cost >= 100 else f"{cost:.2f}"


def near(view: View, key: str, most: int) -> list[str]:
    """Return rows to be drawn as lines: the method, and of others those whose number is no `FAR` times the best."""
    rows = _rows(view)
    bar = FAR * min(row[key] for row in rows.values())
    return [source for source in chosen(view, most) if source == view.method or rows[source][key] <= bar]


def reliability(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Draw accuracy against probability, a panel for each row, raw and at the fitted temperature."""
    rows, sources = _rows(view), chosen(view, PANELS)
    across = min(ACROSS, len(sources))
    down = math.ceil(len(sources) / across)
    chart = figure(2.35 * down + 0.5)
    panels = chart.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, source in zip(panels, sources, strict=False):
        row = rows[source]
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, zorder=1)
        _bins(axes, row["reliability"], GREY, (0, (3, 2)))
        _bins(axes, row["calibrated_reliability"], looks[source].colour, "-")
        axes.set_title(source, fontsize=9)
        said = f"ECE {row['ece']:.3f}\nthen {row['calibrated_ece']:.3f}"
        axes.text(0.97, 0.04, said, va="bottom", ha="right", fontsize=8, transform=axes.transAxes)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
    for axes in panels[len(sources) :]:
        axes.set_axis_off()
    chart.supxlabel("largest probability", fontsize=9.5)
    chart.supylabel("accuracy", fontsize=9.5)
    return chart, (
        "Accuracy of answers by their probability, in 15 bins; points are as large as the share of answers in them, "
        "and bins of less than 0.5 % are left out. "
        "Broken: as the ensembles answer; whole: after one temperature. On the thin line probabilities are right."
        f"{_left(len(rows) - len(sources))}"
    )


def _bins(axes: Axes, bins: Sequence[Sequence[float]], colour: str, style: Any) -> None:
    some = [each for each in bins if each[0] >= FEW]
    share, sure, right = (list(column) for column in zip(*some, strict=True))
    axes.plot(sure, right, color=colour, linestyle=style, linewidth=1.2, zorder=2)
    axes.scatter(sure, right, s=[4 + 60 * size for size in share], color=colour, linewidths=0, zorder=3, clip_on=False)


def risk(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Draw the share of wrong answers where only the surest are given."""
    rows, sources = _rows(view), near(view, "risk_area", LINES)
    chart = figure(4.2)
    axes = chart.add_subplot()
    coverages = view.scores["uncertainty"]["coverages"]
    for source in sources:
        look, wide = looks[source], source == view.method
        axes.plot(
            [100 * share for share in coverages], [100 * share for share in rows[source]["risk"]], color=look.colour,
            linewidth=2.4 if wide else 1.3, label=f"{source} ({100 * rows[source]['risk_area']:.2f})",
            zorder=4 if wide else 3,
        )  # fmt: skip
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("answers given, the surest first (%)")
    axes.set_ylabel("wrong answers among them (%)")
    chart.legend(loc="outside right center", labelspacing=0.6, title="row (area, in %)", title_fontsize=8.5)
    return chart, (
        "Share of wrong answers where only the surest are given. In brackets: the area under the curve; less is better."
        f"{_left(len(rows) - len(sources))}"
    )


def corruptions(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Draw calibrated likelihood and accuracy against the strength of corruptions."""
    rows = {source: _rows(view)[source] for source in near(view, "calibrated_nll", LINES)}
    if not all("corrupted" in row for row in rows.values()):
        return None
    kinds = list(next(iter(rows.values()))["corrupted"])
    chart = figure(4.4)
    panels = chart.subplots(1, 2)
    for axes, key, title, factor in zip(
        panels, ("calibrated_nll", "accuracy"), ("calibrated NLL", "accuracy (%)"), (1, 100), strict=True
    ):
        for source, row in rows.items():
            look, wide = looks[source], source == view.method
            means = [
                sum(row["corrupted"][kind][place][key] for kind in kinds) / len(kinds)
                for place in range(len(row["corrupted"][kinds[0]]))
            ]
            values = [factor * value for value in (row[key], *means)]
            axes.plot(
                range(len(values)), values, color=look.colour, marker=look.marker, markersize=5,
                linewidth=2.4 if wide else 1.2, label=source, zorder=4 if wide else 3,
            )  # fmt: skip
        axes.set_xlabel("strength")
        axes.set_title(title)
    chart.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return chart, (
        f"Means over {', '.join(kinds)}; at strength 0 the test split as it is. Temperatures are the selection split's."
        f"{_left(len(_rows(view)) - len(rows))}"
    )


def _left(count: int) -> str:
    if not count:
        return ""
    rows = f"{count} rows of the table are" if count > 1 else "1 row of the table is"
    return f" {rows} left out; drawn are the method, what measures it, lone networks, and of the others the best."
