"""Figures of one score of each network: the task's, its overlap, its distance. Imports matplotlib: import it lazily."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import FixedLocator

from pdiff.results.scores import given_by, unit_of
from pdiff.view import ORIGINAL
from pdiff_plugins.drawing.sources import cloud, note, rows, tick
from pdiff_plugins.drawing.style import (
    GREY,
    INK,
    Drawing,
    Look,
    figure,
    finite,
    focus,
    left_out,
    scatter_offsets,
    steps_between,
    violin,
)

if TYPE_CHECKING:
    from pdiff.view import View


def _values(view: View, evaluator: str, key: str) -> dict[str, np.ndarray]:
    """Return source -> finite values, one per network, for sources that have any."""
    every = {source: finite(scores.get(key, ())) for source, scores in given_by(view.scores, evaluator).items()}
    return {source: values for source, values in every.items() if len(values)}


def score_distributions(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Draw the task's score of every network, as the evaluator `accuracy` gives it."""
    scores, unit = given_by(view.scores, "accuracy"), unit_of(view.scores)
    values = {source: unit.factor * scored for source, scored in _values(view, "accuracy", "values").items()}
    if not values:
        return None
    low, high, outside = focus(values, (ORIGINAL, view.method))
    spec = ".2f" if unit.name == "%" else ".4g"
    chart, axes = rows(values, looks, unit.axis(f"{view.scores['main']} on the test split"), "mean")
    axes.set_xlim(low, high)
    for row, (source, seen) in enumerate(values.items()):
        cloud(axes, row, seen, looks[source], low, high, highest=100 if unit.name == "%" else np.inf)
        mean, best = seen.mean(), unit.factor * scores[source]["best"]
        note(axes, row, format(mean, spec))
        tick(axes, row, mean, low, high, len(seen))
        if len(seen) > 1 and low <= best <= high:
            axes.plot(best, row + 0.33, marker="v", color=INK, markersize=5, clip_on=False, zorder=6)
    axes.axvline(values[ORIGINAL].mean(), color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    caption = (
        "Each dot is one network, each bar a source's mean, each triangle the network that is best on the "
        f"{view.selection} split. The dashed line is the originals' mean."
    )
    return chart, f"{caption} {left_out(outside, values, spec)}".strip()


def distance_distributions(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Draw the distance of every network to the nearest checkpoint."""
    values = _values(view, "distance", "values")
    positive = np.concatenate([v[v > 0] for v in values.values()]) if values else np.array([])
    if not len(positive):
        return None
    floor = positive.min() / 1.5
    logs = {source: np.log10(np.maximum(seen, floor)) for source, seen in values.items()}
    chart, axes = rows(values, looks, "L2 distance to the nearest checkpoint (logarithmic)", "median")
    low, high = np.log10(floor) - 0.1, np.log10(positive.max()) + 0.15
    for row, (source, seen) in enumerate(logs.items()):
        cloud(axes, row, seen, looks[source], low, high)
        note(axes, row, f"{np.median(values[source]):.3g}")
        tick(axes, row, np.median(seen), low, high, len(seen))
    axes.axvline(np.median(logs[ORIGINAL]), color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(_places(low, high)))
    axes.xaxis.set_major_formatter(lambda place, _: f"{10**place:g}")
    copies = sum(int((seen == 0).sum()) for seen in values.values())
    caption = (
        "Each dot is one network, each bar a source's median. Originals: distance to the nearest other original; the "
        "dashed line is their median. Left of it lie near-copies. Distance alone is no merit: noise has it too."
    )
    return chart, caption + (f" {copies} exact copies (distance 0) stand at the left edge." if copies else "")


def _places(low: float, high: float) -> list[float]:
    """Return the decimal logarithms of the numbers that stand on an axis of logarithms."""
    decades = np.arange(np.floor(low), np.ceil(high) + 1)
    places = decades[:, None] + np.log10(steps_between(10**low, 10**high))
    return [place for place in places.ravel().tolist() if low <= place <= high]


def overlap_violins(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Paper, Fig. 5c."""
    given = given_by(view.scores, "similarity")
    wanted = (
        ("o-o", "originals among\nthemselves", ORIGINAL, "within_values"),
        ("g-g", "generated among\nthemselves", view.method, "within_values"),
        ("o-g", "generated against\nall originals", view.method, "mean_values"),
        ("o-o max", "originals, most\nsimilar other", ORIGINAL, "max_values"),
        ("o-g max", "generated, most\nsimilar original", view.method, "max_values"),
    )
    groups = []
    for short, long, source, key in wanted:
        values = finite(given.get(source, {}).get(key, ()))
        if len(values) and not (key == "within_values" and len(values) == 1):
            groups.append((f"{short}\n{long}", values, looks[source].colour))
    if not groups:
        return None
    chart = figure(4.3)
    axes = chart.add_subplot()
    for place, (_, values, colour) in enumerate(groups):
        if shape := violin(values, highest=1):
            grid, height = shape
            axes.fill_betweenx(grid, place - 0.36 * height, place + 0.36 * height, color=colour, alpha=0.3, linewidth=0)
        axes.scatter(place + 0.16 * scatter_offsets(len(values)), values, s=6, color=colour, alpha=0.5, linewidths=0)
        axes.plot([place - 0.2, place + 0.2], [values.mean()] * 2, color=INK, linewidth=1.8, zorder=5)
        axes.annotate(
            f"{values.mean():.3f}", (place + 0.2, values.mean()), xytext=(4, 0), textcoords="offset points", va="center"
        )
    axes.set_xticks(range(len(groups)), [label for label, _, _ in groups])
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    axes.set_xlim(-0.6, len(groups) - 0.3)
    axes.set_ylim(top=min(axes.get_ylim()[1], 1.02))
    axes.set_ylabel("overlap (IoU) of wrong answers")
    return chart, (
        f"Each dot is one network: its mean overlap with the networks named below, or its largest. Grey: originals; "
        f"orange: {view.method}. 1 means the same wrong answers; a high o-g max beside a lower o-o max means copies."
    )
