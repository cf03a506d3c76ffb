"""Figures of conditions: score by task, by distance, and after training on. Imports matplotlib: import it lazily."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pdiff.results.scores import given_by, unit_of
from pdiff.view import ORIGINAL
from pdiff_plugins.conditions.evaluation.curve import curve
from pdiff_plugins.drawing.sources import cloud, note, rows, tick
from pdiff_plugins.drawing.style import FAINT, GREY, Drawing, Look, figure, focus, left_out, looks

if TYPE_CHECKING:
    from pdiff.view import View


STROKES = ("-", ":", "-.")
"""Of rows beside the sources, whose colours may be shades of one."""


def every_look(view: View) -> dict[str, Look]:
    """Return the look of each source, and of each row beside them."""
    return looks([*view.scores["networks"], *view.scores["conditions"]["beside"]], view.method)


def by_task(view: View, _: Mapping[str, Look]) -> Drawing:
    """Draw every row's scores on the judged tasks, a dot for each."""
    ours, unit = view.scores["conditions"], unit_of(view.scores)
    known = given_by(view.scores, "conditions") | ours["beside"]
    values = {row: unit.factor * np.array(each["tasks"][ours["judged"]]) for row, each in known.items()}
    look_of = every_look(view)
    chart, axes = rows(values, look_of, unit.axis(f"{view.scores['main']} on a task"), "mean")
    low, high, outside = focus(values, [ORIGINAL, view.method, *ours.get("common", {})])
    axes.set_xlim(low, high)
    for place, (row, numbers) in enumerate(values.items()):
        cloud(axes, place, numbers, look_of[row], low, high, 100.0 if unit.name == "%" else np.inf)
        tick(axes, place, float(numbers.mean()), low, high, len(numbers))
        note(axes, place, f"{numbers.mean():.2f}")
    count = ours["counts"][ours["judged"]]
    return chart, (
        f"Each dot is one of {count} tasks ({ours['judged']}), and the network for it; the stroke is the mean. "
        "Originals are the tasks' own networks, trained for them; what takes no conditions has one network for all "
        f"tasks. {left_out(outside, values, '.4g')}"
    ).strip()


def by_distance(view: View, _: Mapping[str, Look]) -> Drawing:
    """Draw mean scores against the distance of what is asked for from the nearest task that was learnt."""
    bins, unit = curve(view.scores), unit_of(view.scores)
    if len(bins) < 2:
        return None
    look_of, chart = every_look(view), figure(4.2)
    axes = chart.add_subplot()
    alike = dict(
        zip((row for row in bins[0].scores if row in view.scores["conditions"]["beside"]), STROKES, strict=False)
    )
    for row in bins[0].scores:
        look, wide = look_of[row], row == view.method
        axes.plot(
            range(len(bins)), [unit.factor * each.scores[row] for each in bins], color=look.colour, marker=look.marker,
            markersize=6, linewidth=2.4 if wide else 1.2, label=row, zorder=4 if wide else 3, clip_on=False,
            linestyle=(0, (4, 3)) if row == ORIGINAL else alike.get(row, "-"),
        )  # fmt: skip
    named = [f"{each.name}\n{each.count} task{'s' if each.count > 1 else ''}" for each in bins]
    axes.set_xticks(range(len(bins)), named)
    bits = view.scores["conditions"]["bits"]
    axes.set_xlabel(f"{'bits that differ from' if bits else 'distance of the condition from'} the nearest learnt task")
    axes.set_ylabel(unit.axis(f"mean {view.scores['main']}"))
    chart.legend(loc="outside right center", labelspacing=0.6)
    return chart, (
        "Mean score on tasks by how far they are from any that was learnt, hard ones among them; learnt tasks are "
        "asked for too, on the left. Dashed: the tasks' own networks. Beside the method, its strongest controls."
    )


def adapted(view: View, look_of: Mapping[str, Look]) -> Drawing:
    """Draw the score after steps of training on the task, from generated networks and from the shared start."""
    trained, unit = view.scores["conditions"].get("adapted"), unit_of(view.scores)
    if not trained or len(trained["steps"]) < 2:
        return None
    chart = figure(3.8)
    axes = chart.add_subplot()
    for start, scores in trained["starts"].items():
        look = look_of.get(start, Look(GREY, "s", 16))
        axes.plot(
            range(len(scores)), [unit.factor * score for score in scores], color=look.colour, marker=look.marker,
            markersize=6, linewidth=2.4 if start == view.method else 1.2, label=start,
            linestyle="-" if start in look_of else (0, (4, 3)), clip_on=False,
        )  # fmt: skip
    own = given_by(view.scores, "conditions")[ORIGINAL]["mean"]
    axes.axhline(unit.factor * own, color=FAINT, linewidth=1, linestyle=":", label="own networks")
    axes.set_xticks(range(len(trained["steps"])), [str(step) for step in trained["steps"]])
    axes.set_xlabel("steps of training on the task")
    axes.set_ylabel(unit.axis(f"mean {view.scores['main']}"))
    chart.legend(loc="outside right center", labelspacing=0.6)
    return chart, (
        f"Mean over {trained['tasks']} unseen tasks, trained on each one's training examples from what was generated "
        "for it, and from the start that the zoo's networks share. Dotted: the mean of all judged tasks' own networks."
    )
