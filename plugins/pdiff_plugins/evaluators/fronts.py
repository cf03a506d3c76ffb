"""Figures of the score against something else: overlap, temperature, progress. Imports matplotlib: do it lazily."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pdiff.results.scores import given_by, scored, unit_of
from pdiff.view import ORIGINAL
from pdiff_plugins.drawing.sources import label
from pdiff_plugins.drawing.style import GREY, INK, Drawing, Look, figure, finite, focus, left_out, shade
from pdiff_plugins.evaluators.findings import originals_on

if TYPE_CHECKING:
    from pdiff.view import View


def score_against_overlap(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Paper, Fig. 4a."""
    overlap, score, unit = given_by(view.scores, "similarity"), scored(view.scores), unit_of(view.scores)
    points = {
        source: (np.array(overlap[source]["max_values"], float), unit.factor * np.array(score[source]["values"], float))
        for source in overlap
        if source in score
    }
    if ORIGINAL not in points or view.method not in points:
        return None
    low, high, outside = focus({s: y for s, (_, y) in points.items()}, (ORIGINAL, view.method))
    chart = figure(4.9)
    axes = chart.add_subplot()
    order = sorted(points, key=lambda source: (len(points[source][0]) == 1, source == view.method, source == ORIGINAL))
    for source in order:
        x, y = points[source]
        if outside.get(source) == len(y):
            continue
        seen, look = (y >= low) & (y <= high), looks[source]
        if len(y) > 1:
            axes.scatter(
                x[seen], y[seen], s=look.size, marker=look.marker, color=look.colour, alpha=0.5, edgecolors="white",
                linewidths=0.3,
            )  # fmt: skip
        axes.scatter(
            x.mean(), y.mean(), s=140 if look.marker == "*" else 90, marker=look.marker, color=look.colour,
            edgecolors=INK, linewidths=1.1, zorder=5, label=label(source, len(y)),
        )  # fmt: skip
    axes.set_ylim(low, high)
    axes.set_xlabel("largest overlap (IoU) of wrong answers with any original")
    axes.set_ylabel(unit.axis(f"{view.scores['main']} on the test split"))
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    names = [label(s, len(points[s][1])) for s in points]
    shown = [name for name in names if name in handles]
    chart.legend([handles[name] for name in shown], shown, loc="outside right center", labelspacing=0.7)
    caption = (
        "Each small mark is one network, each large one a source's mean. To the right: it errs on the same examples as "
        "one of the originals; originals are compared with the other originals. A generator that is both good and new "
        "is high and to the left."
    )
    spec = ".2f" if unit.name == "%" else ".4g"
    return chart, f"{caption} {left_out(outside, {s: y for s, (_, y) in points.items()}, spec)}".strip()


def front(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Draw the method at several temperatures, and every source at its mean."""
    rows, score, unit = view.scores["front"]["front"], scored(view.scores), unit_of(view.scores)
    points = {
        source: (overlap["within"], unit.factor * score[source]["mean"])
        for source, overlap in given_by(view.scores, "similarity").items()
        if source in score and overlap["within"] is not None
    }
    if not rows or ORIGINAL not in points:
        return None
    chart = figure(4.4)
    axes = chart.add_subplot()
    x, y = [row["within"] for row in rows], [unit.factor * row["score"] for row in rows]
    look = looks[view.method]
    axes.plot(x, y, color=look.colour, marker="o", markersize=4, label=f"{view.method}, by temperature")
    for row, at in zip(rows, zip(x, y, strict=True), strict=True):
        axes.annotate(f"{row['temperature']:g}", at, xytext=(4, 4), textcoords="offset points", fontsize=8)
    shown = [*y, *(points[source][1] for source in (ORIGINAL, view.method))]
    margin = 0.15 * (max(shown) - min(shown) or 1.0)
    for source, (within, mean) in points.items():
        if mean >= min(shown) - margin:
            axes.scatter(within, mean, s=90, marker=looks[source].marker, color=looks[source].colour, label=source)
    axes.set_xlabel("overlap (IoU) of wrong answers among a source's networks")
    axes.set_ylabel(unit.axis(f"{view.scores['main']} on the test split"))
    chart.legend(loc="outside right center", labelspacing=0.7)
    return chart, (
        "A temperature multiplies how far each of the method's networks lies from the average checkpoint: 0 is the "
        "average itself, 1 the networks as they are. What lies on the line another temperature could give; a generator "
        "that is better is above it and to the left."
    )


def denoising_paths(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Paper, Fig. 5b."""
    path, unit = view.scores["denoising"], unit_of(view.scores)
    if not path["progress"]:
        return None
    chart = figure(3.9)
    axes = chart.add_subplot()
    count = len(path["scores"])
    for number, scores in enumerate(path["scores"]):
        name = f"{count} networks of {view.method}" if number == count // 2 else None
        colour = shade(looks[view.method].colour, number, count)
        axes.plot(path["progress"], unit.factor * np.array(scores), color=colour, lw=1.3, marker="o", ms=3, label=name)
    # The band must be of the split on which the path was scored.
    originals = unit.factor * finite(originals_on(view.scores, path["split"]))
    if len(originals):
        mean, std = originals.mean(), originals.std()
        axes.axhspan(mean - std, mean + std, color=GREY, alpha=0.2, linewidth=0)
        axes.axhline(mean, color=GREY, linewidth=1.2, label="originals (mean and standard deviation)")
    axes.set_xlabel("progress of denoising (0: noise, 1: network)")
    axes.set_ylabel(unit.axis(f"{view.scores['main']} on {path['split']}"))
    axes.set_xlim(-0.01, 1.01)
    chart.legend(loc="outside upper left", ncols=2)
    return chart, f"Networks decoded on their way from noise: {view.scores['main']} on the {path['split']} split."
