"""Figures of parameters and of training. Imports matplotlib: import it lazily."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pdiff.mapped import rows as rows_of
from pdiff.results.scores import unit_of
from pdiff.view import ORIGINAL
from pdiff_plugins.drawing.style import FAINT, GREY, INK, Drawing, Look, figure, focus, left_out, plain_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

    from pdiff.view import View

COLUMNS, NETWORKS, MAP_COLUMNS, MAP_DOTS = 300, 24, 20_000, 2_000
LABEL = 9
"""Rows of the heat map beside which a source's name finds room; fewer are drawn taller."""


def _spread(count: int, most: int) -> np.ndarray:
    """Return up to `most` evenly spaced indices."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _picked(theta_MD: Tensor, columns: np.ndarray, most: int = 0) -> np.ndarray:
    """Return some columns of all rows, or of up to `most` evenly spaced ones; few are held at a time."""
    wanted = set(_spread(len(theta_MD), most or len(theta_MD)).tolist())
    return np.stack([row[columns].double().numpy() for number, row in enumerate(rows_of(theta_MD)) if number in wanted])


def heat_map(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Paper, Fig. 1."""
    columns = _spread(view.zoo.layout.dim, COLUMNS)
    picked = {s: _picked(view.theta[s], columns) for s in (ORIGINAL, view.method)}
    mean, std = picked[ORIGINAL].mean(axis=0), picked[ORIGINAL].std(axis=0)
    blocks = [(v[_spread(len(v), NETWORKS)] - mean) / np.where(std > 0, std, 1) for v in picked.values()]
    shares = [max(len(block), LABEL) for block in blocks]
    chart = figure(1.1 + 0.095 * sum(shares))
    parts = chart.subplots(2, 1, sharex=True, height_ratios=shares)
    for axes, block, source in zip(parts, blocks, picked, strict=True):
        image = axes.imshow(block, aspect="auto", cmap="RdBu_r", vmin=-3, vmax=3, interpolation="nearest")
        axes.set_yticks([])
        axes.tick_params(bottom=False, labelbottom=axes is parts[1])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        label = f"{source}\n({len(block)} of {len(picked[source])})"
        axes.set_ylabel(label, color=looks[source].colour, fontweight="bold")
    _tensor_names(parts[1], view, columns)
    bar = chart.colorbar(image, ax=parts, shrink=0.7, pad=0.015, aspect=28)
    bar.set_label("standard deviations\nfrom the originals' mean", fontsize=8.5)
    bar.outline.set_visible(False)
    return chart, (
        f"Rows are networks (originals in the order in which they were collected), columns {len(columns)} of the "
        f"{view.zoo.layout.dim:,} parameters, evenly spaced, each in units of the originals' standard deviation around "
        "their mean. Generated rows that repeat a handful of patterns, or none at all, give a weak generator away."
    )


def _tensor_names(axes: Axes, view: View, columns: np.ndarray) -> None:
    """Name the tensors below the columns that are theirs, where there is room."""
    places = []
    for entry in view.zoo.layout.entries:
        mine = np.flatnonzero((columns >= entry.start) & (columns < entry.stop))
        if len(mine):
            places.append((mine[0], mine[-1], entry.key))
    wide = [place for place in places if place[1] - place[0] >= 0.03 * len(columns)]
    if not 0 < len(wide) <= 14:
        axes.set_xticks([])
        axes.set_xlabel(f"parameters, in the order of the state dict ({len(view.zoo.layout.entries)} tensors)")
        return
    for first, _, _ in places[1:]:
        axes.axvline(first - 0.5, ymin=-0.03, ymax=0, color=FAINT, linewidth=0.8, clip_on=False)
    centres, names = [(first + last) / 2 for first, last, _ in wide], [key for _, _, key in wide]
    axes.set_xticks(centres, names, rotation=25, ha="right", fontsize=8)


def parameter_map(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Draw originals and generated networks on the originals' first two principal components."""
    shown = [s for s in view.theta if s == view.method or (s != ORIGINAL and len(view.theta[s]) == 1)]
    places, shares = _principal(view, (ORIGINAL, *shown))
    if not places:
        return None
    limits, outside = [], dict[str, int]()
    for axis in (0, 1):
        values = {s: at[:, axis] for s, at in places.items()}
        low, high, out = focus(values, (ORIGINAL, view.method), reach=0.4)
        limits.append((low, high))
        outside |= {s: max(count, outside.get(s, 0)) for s, count in out.items()}
    chart = figure(4.6)
    axes = chart.add_subplot()
    at, (order, what) = places[ORIGINAL], _order(view)
    colours = np.array(order)[_spread(len(order), MAP_DOTS)]
    dots = axes.scatter(
        at[:, 0], at[:, 1], c=colours, cmap="cividis", s=22, linewidths=0, label=f"{ORIGINAL} ({len(order)})", zorder=2
    )
    for source in (s for s in shown if outside.get(s) != len(places[s])):
        at, look, single = places[source], looks[source], len(places[source]) == 1
        fill = (look.colour, INK) if single else ("none", look.colour)
        axes.scatter(
            at[:, 0], at[:, 1], s=130 if single else 26, marker=look.marker, linewidths=1.0, zorder=5 if single else 3,
            alpha=1 if single else 0.75, label=source if single else f"{source} ({len(at)})",
            facecolors=fill[0], edgecolors=fill[1],
        )  # fmt: skip
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])
    axes.set_xlabel(f"first principal component ({shares[0]:.0%} of the originals' variance)")
    axes.set_ylabel(f"second ({shares[1]:.0%})")
    chart.colorbar(dots, ax=axes, pad=0.02, aspect=30).set_label(what)
    axes.legend(loc="best", framealpha=0.85, frameon=True, edgecolor="none")
    caption = "Originals and generated networks, projected on the two directions in which the originals vary most."
    if view.zoo.layout.dim > MAP_COLUMNS:
        caption += f" Computed from {MAP_COLUMNS:,} evenly spaced parameters."
    if len(order) > MAP_DOTS:
        caption += f" Of the originals {MAP_DOTS:,} are taken."
    return chart, f"{caption} {_off(outside, places)}".strip()


def _off(outside: dict[str, int], places: dict[str, np.ndarray]) -> str:
    whole = [source for source, count in outside.items() if len(places[source]) == 1]
    rest = {source: count for source, count in outside.items() if source not in whole}
    said = f"Far outside: {', '.join(whole)}. " if whole else ""
    return (said + left_out(rest, {s: at[:, 0] for s, at in places.items()}, ".3g")).strip()


def _principal(view: View, sources: tuple[str, ...]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return each source's coordinates `[M, 2]` and the two shares of variance; nothing where originals do not vary.

    Of at most `MAP_DOTS` networks each.
    """
    columns = _spread(view.zoo.layout.dim, MAP_COLUMNS)
    theta = {s: _picked(view.theta[s], columns, MAP_DOTS) for s in sources}
    mean = theta[ORIGINAL].mean(axis=0)
    x = theta[ORIGINAL] - mean
    variance, vectors = np.linalg.eigh(x @ x.T)
    if len(variance) < 2 or variance[-2] <= 1e-12 * max(variance[-1], 1e-300):
        return {}, np.zeros(2)
    directions = vectors[:, [-1, -2]].T @ x / np.sqrt(variance[[-1, -2], None])
    # An eigenvector's sign is arbitrary: the largest coordinate is made positive.
    largest = np.abs(directions).argmax(axis=1)
    directions *= np.sign(directions[[0, 1], largest])[:, None]
    return {s: (theta_MD - mean) @ directions.T for s, theta_MD in theta.items()}, variance[[-1, -2]] / variance.sum()


def _order(view: View) -> tuple[list[int], str]:
    steps = [row.get("step", 0) for row in view.zoo.rows]
    if len(set(steps)) == len(steps):
        return steps, "training step of the original"
    return list(range(len(steps))), "number of the original"


def training_curves(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Draw the base network's training and every generator's."""
    panels = _panels(view)
    if not panels:
        return None
    across = min(len(panels), 3)
    down = -(-len(panels) // across)
    chart = figure(2.9 * down)
    grid = chart.subplots(down, across, squeeze=False).ravel()
    for axes, (title, unit, source, steps, values) in zip(grid, panels, strict=False):
        colour = looks[source].colour if source in looks else GREY
        noisy = len(steps) > 60
        axes.plot(steps, values, color=colour, lw=1.2, alpha=0.35 if noisy else 1, marker="" if noisy else "o", ms=3)
        if noisy:
            axes.plot(steps, _smooth(values), color=colour, linewidth=1.6)
        if unit == "loss" and min(values) > 0:
            axes.set_yscale("log")
            plain_log(axes.yaxis, min(values), max(values))
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
    for axes in grid[len(panels) :]:
        axes.remove()
    caption = "Losses and their running mean; the base network's score after each epoch is of the selection split."
    return chart, caption


def _smooth(values: list[float], width: int = 11) -> np.ndarray:
    """Return running means, over fewer values at the ends."""
    window = np.ones(width)
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")


def _panels(view: View) -> list[tuple[str, str, str, list[float], list[float]]]:
    """Return (title, unit, source, steps, values) of every curve in the logs."""
    curves: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    score_unit = unit_of(view.scores)
    for source, rows in view.logs.items():
        who = "base network" if source == "train" else source
        for row in rows:
            title = f"{who}: {row['part']}" if "part" in row else who
            for unit, scale in (("loss", 1.0), ("score", score_unit.factor)):
                if unit in row:
                    curves.setdefault((title, unit, source), []).append((row["step"], scale * row[unit]))
    metric = score_unit.axis(f"{view.scores['main']} on {view.selection}")

    def panel(key: tuple[str, str, str], points: list[Any]) -> tuple[str, str, str, list[float], list[float]]:
        title, unit, source = key
        return title, metric if unit == "score" else unit, source, [x for x, _ in points], [y for _, y in points]

    return [panel(key, points) for key, points in curves.items()]
