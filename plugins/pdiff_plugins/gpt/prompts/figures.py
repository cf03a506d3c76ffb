"""Figures of prompts: asked and got, beside gradients, in the plane of parameters. Imports matplotlib: do it lazily."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pdiff_plugins.drawing.style import FAINT, GREY, HUES, INK, Drawing, Look, figure, plain_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pdiff.view import View

BAND = 0.3
"""How far beyond what was asked for an axis goes, in shares of its length."""


def _scored(view: View) -> tuple[str, dict[str, Any]]:
    """Return the first source that took prompts, and its scores."""
    return next(iter(view.scores["prompts"]["of"].items()))


def _array(values: Any) -> np.ndarray:
    """Return nested lists as an array, NaN for None."""
    return np.array(values, dtype=float)


def _values(rows: list[dict[str, Any]], key: str = "metric") -> np.ndarray:
    return _array([row[key] for row in rows])


def _level(axes: Axes, value: float | None, text: str, colour: str = GREY) -> None:
    """Draw a level across."""
    if value is not None:
        axes.axhline(value, color=colour, linewidth=1.2, linestyle=(0, (4, 3)), label=text, zorder=1)


def asked_and_got(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Draw what was asked for against what came, a panel for each group of starts."""
    source, scores = _scored(view)
    if not scores:
        return None
    made = figure(4.4)
    panels = made.subplots(1, len(scores["groups"]), squeeze=False, sharex=True, sharey=True).ravel()
    asked = np.concatenate([_array(group["asked"]).ravel() for group in scores["groups"].values()])
    low, high = asked.min(), asked.max()
    limits, off = _limits(low, high, [group["got"] for group in scores["groups"].values()]), 0
    for axes, (name, group) in zip(panels, scores["groups"].items(), strict=True):
        off += _group(axes, group, looks[source].colour, limits)
        axes.plot([low, high], [low, high], color=INK, linewidth=1, linestyle=(0, (4, 3)), label="as asked for")
        if scores["prompt_split"] != scores["scored_split"]:
            real = scores["real"]["table"]
            axes.plot(_array(real["asked"]), _array(real["mean"]), color=GREY, linewidth=1.6, label="real checkpoints")
        axes.axvline(scores["best"], color=HUES[2], linewidth=1.2, label=f"the zoo's best ({scores['best']:.3g})")
        axes.set_title(f"{group['count']} {name}")
        axes.set_xlabel(f"{scores['metric']} asked for")
    panels[0].set_ylim(limits)
    panels[0].set_ylabel(f"{scores['metric']} got, on the test split")
    made.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=5)
    left = f" {off} of {asked.size} networks lie off the axis." if off else ""
    real = (
        f" Grey: checkpoints of the zoo that have what was asked for on the {scores['prompt_split']} split, "
        "where it is "
        "measured."
        if scores["prompt_split"] != scores["scored_split"]
        else ""
    )
    return made, (
        f"Each thin line is one start, turned into a network for every prompt by one update of {source}; the thick "
        f"line is their mean. No method has seen the starts.{real} R2 {_text(scores['test']['r2'])}, correlation "
        f"{_text(scores['test']['pearson'])}; with prompts in a shuffled order {_text(scores['shuffled'])}.{left}"
    )


def _limits(low: float, high: float, got: list[Any]) -> tuple[float, float]:
    """Return the ends of an axis for what was asked for, and for what came as far as it is not far off."""
    room, seen = BAND * (high - low), np.concatenate([_array(values).ravel() for values in got])
    near = seen[(seen >= low - room) & (seen <= high + room)]
    margin = 0.04 * (high - low)
    return min(low, near.min(initial=low)) - margin, max(high, near.max(initial=high)) + margin


def _group(axes: Axes, group: dict[str, Any], colour: str, limits: tuple[float, float]) -> int:
    """Draw one group; return how many networks lie outside of the limits."""
    asked_MP, got_MP = _array(group["asked"]), _array(group["got"])
    for number, (asked_P, got_P) in enumerate(zip(asked_MP, got_MP, strict=True)):
        label = "each start" if number == 0 else None
        axes.plot(asked_P, got_P, color=colour, linewidth=0.7, alpha=0.35, label=label, zorder=2)
    table = group["table"]
    axes.plot(_array(table["asked"]), _array(table["mean"]), color=colour, linewidth=2.6, label="mean", zorder=3)
    return int((~((got_MP >= limits[0]) & (got_MP <= limits[1]))).sum())


def beside_gradients(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Draw one update beside SGD and Adam from the same starts."""
    source, scores = _scored(view)
    curves = scores.get("curves")
    if not curves or curves["prompted"] is None:
        return None
    made, colour = figure(4.0), looks[source].colour
    axes = made.add_subplot()
    for (name, title), hue in zip((("sgd", "SGD"), ("adam", "Adam")), HUES, strict=False):
        label = f"{title}, rate {curves[name]['rate']:g}"
        axes.plot(curves["steps"], _array(curves[name]["metric"]), color=hue, marker="o", ms=3, label=label)
    mark: dict[str, Any] = {
        "s": 200,
        "marker": "*",
        "edgecolors": INK,
        "linewidths": 0.9,
        "zorder": 5,
        "clip_on": False,
    }
    axes.scatter([1], [curves["prompted"]], color=colour, label=f"one update of {source}", **mark)
    one = scores["gradient"]["gradient"]
    if one["metric"] is not None:
        label = f"one step, {one['examples']:,} examples" if "examples" in one else "one step"
        axes.scatter([1], [one["metric"]], s=50, marker="D", color=GREY, label=label, zorder=4)
    axes.axhline(curves["prompted"], color=colour, linewidth=0.8, linestyle=":", zorder=1)
    _level(axes, curves["start"], "starts")
    _level(axes, scores["best_prompt"]["zoo"]["metric"], "zoo's best", HUES[2])
    axes.set_xscale("log")
    plain_log(axes.xaxis, curves["steps"][0], curves["steps"][-1])
    axes.set_xlabel("steps (logarithmic)")
    axes.set_ylabel(f"{scores['metric']} on the test split, mean")
    axes.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none")
    return made, (
        f"The same {curves['networks']} unseen starts, given one update of {source} at the best prompt, and trained "
        f"step by step, at the rate that gets as far soonest on the {view.selection} split. The diamond is one step "
        f"along the gradient, the mean over {sum(group['count'] for group in scores['groups'].values())} starts."
    )


def recursion(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Draw updates one after the other at the best prompt."""
    source, scores = _scored(view)
    if not scores:
        return None
    made = figure(3.9)
    axes = made.add_subplot()
    kinds = (("recursion", "unseen starts", looks[source].colour), ("foreign", "their weights doubled", HUES[0]))
    for key, label, colour in kinds:
        mean, std = (_values(scores[key]["after"], name) for name in ("metric", "std"))
        axes.plot(range(len(mean)), mean, color=colour, marker="o", ms=4, label=label)
        axes.fill_between(range(len(mean)), mean - std, mean + std, color=colour, alpha=0.15, linewidth=0)
    _level(axes, scores["best_prompt"]["zoo"]["metric"], "zoo's best", HUES[2])
    longest = max(len(scores[key]["after"]) for key, _, _ in kinds)
    axes.set_xticks(range(longest), ["start", *map(str, range(1, longest))])
    axes.set_xlabel("updates at the best prompt")
    axes.set_ylabel(f"{scores['metric']} on the test split")
    axes.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none")
    stop = scores["recursion"]["stop"]
    return made, (
        "Mean and standard deviation over starts; what came of an update is prompted again. From unseen starts the "
        f"mean is best {f'after {stop}' if stop else 'before the first'}."
    )


def _text(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.2f}"


def plane(view: View, looks: Mapping[str, Look]) -> Drawing:
    """Draw the plane of parameters: its networks' metric, paths of training, and what starts were turned into."""
    source, scores = _scored(view)
    flat = scores.get("plane")
    if not flat or not np.isfinite(_array(flat["values"])).any():
        return None
    made = figure(5.6)
    axes = made.add_subplot()
    _landscape(made, axes, flat, scores)
    for number, path in enumerate(flat["paths"]):
        label = "training runs" if number == 0 else None
        axes.plot(*_array(path).T, color=INK, linewidth=1, marker="o", ms=2, alpha=0.8, label=label, zorder=3)
    last_T2 = _array(flat["last"])
    axes.scatter(
        last_T2[:, 0], last_T2[:, 1], s=9, color=INK, alpha=0.45, linewidths=0, label="where runs end", zorder=3
    )
    pairs_MP2, colour = _array(flat["pairs"]), looks[source].colour
    for pair in pairs_MP2:
        axes.plot(*pair.T, color=colour, linewidth=0.6, alpha=0.55, zorder=4)
    start_M2, update_M2 = pairs_MP2[:, 0], pairs_MP2[:, 1]
    axes.scatter(
        start_M2[:, 0], start_M2[:, 1], s=16, facecolors="white", edgecolors=colour, label="unseen starts", zorder=5
    )
    axes.scatter(
        update_M2[:, 0], update_M2[:, 1], s=22, color=colour, edgecolors="white", linewidths=0.4, zorder=6,
        label=f"one update of {source}",
    )  # fmt: skip
    axes.set_xlabel(f"first principal direction ({flat['shares'][0]:.0%} of the variance)")
    axes.set_ylabel(f"second ({flat['shares'][1]:.0%})")
    axes.legend(loc="best", frameon=True, framealpha=0.85, edgecolor="none")
    units = " Hidden units are in matched orders." if flat["matched"] else ""
    return made, (
        "The plane in which the ends of training runs and unseen starts vary most. Colours are of networks that lie in "
        f"the plane; all others are projected on it, and their own {scores['metric']} is another.{units}"
    )


def _landscape(made: Figure, axes: Axes, flat: dict[str, Any], scores: dict[str, Any]) -> None:
    """Colour the plane by the metric of its points; the worst tenth is all one colour."""
    values = _array(flat["values"])
    seen = values[np.isfinite(values)]
    lower = scores["better"] == "lower"
    low, high = (seen.min(), np.quantile(seen, 0.9)) if lower else (np.quantile(seen, 0.1), seen.max())
    if not high > low:
        return
    levels = np.linspace(low, high, 14)
    if lower and low > 0 and high > 5 * low:
        levels = np.geomspace(low, high, 14)
    colours = "Blues" if lower else "Blues_r"
    filled = axes.contourf(
        flat["x"], flat["y"], np.nan_to_num(values, nan=high if lower else low), levels=levels, cmap=colours,
        extend="max" if lower else "min", alpha=0.75, zorder=0,
    )  # fmt: skip
    axes.grid(visible=False)
    digits = next((n for n in range(3, 9) if len({f"{level:.{n}g}" for level in levels}) == len(levels)), 9)
    bar = made.colorbar(filled, ax=axes, pad=0.02, aspect=30, format=lambda value, _: f"{value:.{digits}g}")
    bar.set_label(f"{scores['metric']} on the test split")
    bar.outline.set_color(FAINT)
