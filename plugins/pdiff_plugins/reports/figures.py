"""Figures of scores: accuracy, overlap, distance, and the way from noise. Imports matplotlib: import it lazily."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from pdiff.view import ORIGINAL
from pdiff_plugins.drawing.style import (
    FAINT,
    GREY,
    INK,
    VERMILLION,
    Look,
    figure,
    finite,
    focus,
    left_out,
    looks,
    png,
    scatter_offsets,
    shade,
    styled,
    violin,
)
from pdiff_plugins.reports.findings import originals_on, score_key

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pdiff.view import View

Drawn = tuple[Figure | bytes, str] | None
"""A figure, or an animation as GIF, and its caption."""
Looks = dict[str, Look]


@dataclass(frozen=True)
class Picture:
    """A figure as a report shows it."""

    name: str
    title: str
    caption: str
    data: bytes
    kind: str = "png"


def pictures(view: View) -> Iterator[Picture]:
    """Draw every figure for which the run has numbers."""
    from pdiff_plugins.audit.figures import front, novel_and_performant
    from pdiff_plugins.fields import figures as fields
    from pdiff_plugins.generation.figures import generated_images
    from pdiff_plugins.gpt.prompts import figures as prompts
    from pdiff_plugins.reports.weights import heat_map, parameter_map, training_curves

    every: tuple[tuple[str, str, Callable[[View, Looks], Drawn]], ...] = (
        ("film", "From noise to shapes", fields.film),
        ("film_animated", "From noise to shapes, animated", fields.film_animated),
        ("shapes", "Generated shapes", fields.samples),
        ("resolutions", "One network at several sizes", fields.resolutions),
        ("between", "Between two networks", fields.between),
        ("prompts", "Asked for, and got", prompts.asked_and_got),
        ("prompts_gradients", "One update beside gradient descent", prompts.beside_gradients),
        ("prompts_plane", "Where prompts lead", prompts.plane),
        ("prompts_recursion", "One update after another", prompts.recursion),
        ("images", "Generated images", generated_images),
        ("score_similarity", "Score against overlap with the originals", score_against_overlap),
        ("front", "Score against diversity", front),
        ("novel_and_performant", "Novel and performant", novel_and_performant),
        ("score", "Scores of the networks", score_distributions),
        ("similarity", "Overlap of wrong answers", overlap_violins),
        ("distance", "Distance to the nearest checkpoint", distance_distributions),
        ("denoising", "From noise to networks", denoising_paths),
        ("parameters", "Parameters of originals and generated networks", heat_map),
        ("map", "Map of the parameter space", parameter_map),
        ("training", "Training curves", training_curves),
    )
    own = looks(list(view.scores["networks"]), view.method)
    for name, title, draw in every:
        with styled():
            if drawn := draw(view, own):
                made, caption = drawn
                animated = isinstance(made, bytes)
                yield Picture(name, title, caption, made if animated else png(made), "gif" if animated else "png")


def _values(view: View, evaluator: str, key: str) -> dict[str, np.ndarray]:
    """Return source -> finite values, one per network, for sources that have any."""
    networks = view.scores["networks"]
    found = {source: finite(own.get(evaluator, {}).get(key, ())) for source, own in networks.items()}
    return {source: values for source, values in found.items() if len(values)}


def _label(source: str, count: int) -> str:
    return f"{source} ({count})" if count > 1 else source


def score_against_overlap(view: View, own: Looks) -> Drawn:
    """Paper, Fig. 4a."""
    key, networks = score_key(view.scores), view.scores["networks"]
    points = {
        source: (np.array(scored["similarity"]["max_values"], float), 100 * np.array(scored[key]["values"], float))
        for source, scored in networks.items()
        if key in scored and "max_values" in scored.get("similarity", {})
    }
    if ORIGINAL not in points or view.method not in points:
        return None
    low, high, outside = focus({s: y for s, (_, y) in points.items()}, (ORIGINAL, view.method))
    made = figure(4.9)
    axes = made.add_subplot()
    order = sorted(points, key=lambda source: (len(points[source][0]) == 1, source == view.method, source == ORIGINAL))
    for source in order:
        x, y = points[source]
        if outside.get(source) == len(y):
            continue
        seen, look = (y >= low) & (y <= high), own[source]
        if len(y) > 1:
            axes.scatter(
                x[seen], y[seen], s=look.size, marker=look.marker, color=look.colour, alpha=0.5, edgecolors="white",
                linewidths=0.3,
            )  # fmt: skip
        axes.scatter(
            x.mean(), y.mean(), s=140 if look.marker == "*" else 90, marker=look.marker, color=look.colour,
            edgecolors=INK, linewidths=1.1, zorder=5, label=_label(source, len(y)),
        )  # fmt: skip
    axes.set_ylim(low, high)
    axes.set_xlabel("largest overlap (IoU) of wrong answers with any original")
    axes.set_ylabel(f"{view.scores['main']} on the test split (%)")
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    labels = [_label(s, len(points[s][1])) for s in points]
    shown = [label for label in labels if label in handles]
    made.legend([handles[label] for label in shown], shown, loc="outside right center", labelspacing=0.7)
    caption = (
        "Each small mark is one network, each large one a source's mean. To the right: it errs on the same examples as "
        "one of the originals; originals are compared with the other originals. A generator that is both good and new "
        "is high and to the left."
    )
    return made, f"{caption} {left_out(outside, {s: y for s, (_, y) in points.items()}, '.2f')}".strip()


def score_distributions(view: View, own: Looks) -> Drawn:
    key = score_key(view.scores)
    values = {source: 100 * own_values for source, own_values in (_values(view, key, "values") if key else {}).items()}
    if not values:
        return None
    low, high, outside = focus(values, (ORIGINAL, view.method))
    made, axes = _rows(values, own, f"{view.scores['main']} on the test split (%)", "mean")
    axes.set_xlim(low, high)
    for row, (source, seen) in enumerate(values.items()):
        _cloud(axes, row, seen, own[source], low, high, highest=100)
        mean, best = seen.mean(), 100 * view.scores["networks"][source][key]["best"]
        _note(axes, row, f"{mean:.2f}")
        _tick(axes, row, mean, low, high, len(seen))
        if len(seen) > 1 and low <= best <= high:
            axes.plot(best, row + 0.33, marker="v", color=INK, markersize=5, clip_on=False, zorder=6)
    axes.axvline(values[ORIGINAL].mean(), color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    caption = (
        "Each dot is one network, each bar a source's mean, each triangle the network that is best on the "
        f"{view.selection} split. The dashed line is the originals' mean."
    )
    return made, f"{caption} {left_out(outside, values, '.2f')}".strip()


def distance_distributions(view: View, own: Looks) -> Drawn:
    values = _values(view, "distance", "values")
    positive = np.concatenate([v[v > 0] for v in values.values()]) if values else np.array([])
    if not len(positive):
        return None
    floor = positive.min() / 1.5
    logs = {source: np.log10(np.maximum(seen, floor)) for source, seen in values.items()}
    made, axes = _rows(values, own, "L2 distance to the nearest checkpoint (logarithmic)", "median")
    low, high = np.log10(floor) - 0.1, np.log10(positive.max()) + 0.15
    for row, (source, seen) in enumerate(logs.items()):
        _cloud(axes, row, seen, own[source], low, high)
        _note(axes, row, f"{np.median(values[source]):.3g}")
        _tick(axes, row, np.median(seen), low, high, len(seen))
    axes.axvline(np.median(logs[ORIGINAL]), color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(_whole(low, high))
    axes.xaxis.set_major_formatter(lambda place, _: f"{10**place:g}")
    copies = sum(int((seen == 0).sum()) for seen in values.values())
    caption = (
        "Each dot is one network, each bar a source's median. Originals: distance to the nearest other original; the "
        "dashed line is their median. Left of it lie near-copies. Distance alone is no merit: noise has it too."
    )
    return made, caption + (f" {copies} exact copies (distance 0) stand at the left edge." if copies else "")


def _whole(low: float, high: float) -> Any:
    from matplotlib.ticker import FixedLocator, MaxNLocator

    whole = np.arange(np.ceil(low), np.floor(high) + 1)
    return FixedLocator(whole) if len(whole) > 1 else MaxNLocator(4)


def _rows(values: dict[str, np.ndarray], own: Looks, label: str, number: str) -> tuple[Figure, Axes]:
    """Return a figure with one row per source, the first on top."""
    made = figure(0.95 + 0.46 * len(values))
    axes = made.add_subplot()
    axes.set_yticks(range(len(values)), [_label(source, len(seen)) for source, seen in values.items()])
    for text, source in zip(axes.get_yticklabels(), values, strict=True):
        text.set_fontweight("bold" if own[source].colour == VERMILLION else "normal")
    axes.set_ylim(len(values) - 0.4, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(label)
    axes.text(1.015, 1.0, number, transform=axes.transAxes, color=FAINT, va="bottom", fontsize=8.5)
    return made, axes


def _cloud(
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
    rows = row + 0.14 + 0.2 * scatter_offsets(len(seen))
    axes.scatter(seen, rows, s=7, color=look.colour, alpha=0.55, linewidths=0, zorder=3)


def _tick(axes: Axes, row: int, place: float, low: float, high: float, count: int) -> None:
    if count > 1 and low <= place <= high:
        axes.plot([place, place], [row - 0.34, row + 0.26], color=INK, linewidth=1.8, zorder=5, solid_capstyle="butt")


def _note(axes: Axes, row: int, text: str) -> None:
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    axes.text(1.015, row, text, transform=beside, va="center_baseline", fontsize=9)


def overlap_violins(view: View, own: Looks) -> Drawn:
    """Paper, Fig. 5c."""
    networks = view.scores["networks"]
    wanted = (
        ("o-o", "originals among\nthemselves", ORIGINAL, "within_values"),
        ("g-g", "generated among\nthemselves", view.method, "within_values"),
        ("o-g", "generated against\nall originals", view.method, "mean_values"),
        ("o-o max", "originals, most\nsimilar other", ORIGINAL, "max_values"),
        ("o-g max", "generated, most\nsimilar original", view.method, "max_values"),
    )
    groups = []
    for short, long, source, key in wanted:
        values = finite(networks[source].get("similarity", {}).get(key, ()))
        if len(values) and not (key == "within_values" and len(values) == 1):
            groups.append((f"{short}\n{long}", values, own[source].colour))
    if not groups:
        return None
    made = figure(4.3)
    axes = made.add_subplot()
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
    return made, (
        f"Each dot is one network: its mean overlap with the networks named below, or its largest. Grey: originals; "
        f"orange: {view.method}. 1 means the same wrong answers; a high o-g max beside a lower o-o max means copies."
    )


def denoising_paths(view: View, own: Looks) -> Drawn:
    """Paper, Fig. 5b."""
    path = view.scores.get("denoising", {})
    if not path.get("progress"):
        return None
    made = figure(3.9)
    axes = made.add_subplot()
    count = len(path["scores"])
    for number, scores in enumerate(path["scores"]):
        label = f"{count} networks of {view.method}" if number == count // 2 else None
        colour = shade(own[view.method].colour, number, count)
        axes.plot(path["progress"], 100 * np.array(scores), color=colour, lw=1.3, marker="o", ms=3, label=label)
    # The band must be of the split on which the path was scored.
    originals = 100 * finite(originals_on(view.scores, path["split"]))
    if len(originals):
        mean, std = originals.mean(), originals.std()
        axes.axhspan(mean - std, mean + std, color=GREY, alpha=0.2, linewidth=0)
        axes.axhline(mean, color=GREY, linewidth=1.2, label="originals (mean and standard deviation)")
    axes.set_xlabel("progress of denoising (0: noise, 1: network)")
    axes.set_ylabel(f"{view.scores['main']} on {path['split']} (%)")
    axes.set_xlim(-0.01, 1.01)
    made.legend(loc="outside upper left", ncols=2)
    return made, f"Networks decoded on their way from noise: {view.scores['main']} on the {path['split']} split."
