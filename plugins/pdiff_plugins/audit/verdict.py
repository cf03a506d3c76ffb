"""The verdict on a method, in words with their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pdiff.results.scores import Unit
from pdiff.view import ORIGINAL
from pdiff_plugins.audit.comparison import better, counts_right, gains, per_example
from pdiff_plugins.maths.crossed import difference
from pdiff_plugins.maths.median import median
from pdiff_plugins.maths.overlap import iou

if TYPE_CHECKING:
    from pdiff.view import View
    from pdiff_plugins.audit.scores import Gain

AVERAGES = 0.02
"""Overlap among samples above that among the originals from which a generator is said to average; but where the
originals leave less than twice so much room, half of that room."""
COPIES = 0.5
"""Median novelty below which it is said to copy."""
LARGE = 0.5
"""Of the deviation between checkpoints, what a difference from them must be to be named."""
NEW = {
    "copies": "they are copies of checkpoints, or nearly",
    "averages": "they agree with each other more than checkpoints do, as averages of them would",
    "neither copies nor averages": "they are no copies, and as unlike each other as checkpoints are",
}
"""What a kind is called where nothing is known of the words."""
NAMED = 3
"""Baselines that a sentence names."""


def verdict(view: View, novelty_M: Tensor, unit: Unit) -> dict[str, Any]:
    """Return `verdict` (sentences), and the numbers that it rests on; scores are written in `unit`."""
    gained = gains(view)
    rival = next(iter(gained), "")
    judged: dict[str, Any] = {"gains": gained, "rival": rival} | ({"gain": gained[rival]} if rival else {})
    ours_ME, theirs_NE = (per_example(view, source) for source in (view.method, ORIGINAL))
    low, high = difference(ours_ME, theirs_NE).interval()
    judged["kind"], why = _kind(view, novelty_M, worse=high < 0)
    gap, least = float(ours_ME.mean() - theirs_NE.mean()), LARGE * float(theirs_NE.mean(dim=1).std())
    level = "better than" if low > 0 and gap > least else "as good as"  # a gain is claimed where it is large, too
    if high < 0:
        level = "worse than" if -gap > least else "a little worse than"
    means = " against ".join(unit.text(float(values.mean())) for values in (ours_ME, theirs_NE))
    beside = f"{level} the checkpoints it learnt from (mean {view.recipe.task.metric} {means})"
    judged["plain"] = _plain(f"{view.method} gives networks {beside}", gained, judged["kind"], unit)
    lines = [f"{view.method} {judged['kind']}: {why}"]
    if rival:
        lines.insert(0, _compared(view, gained, unit))
    return judged | {"verdict": lines}


def _plain(beside: str, gained: Mapping[str, Gain], kind: str, unit: Unit) -> str:
    """Say it for who reads such a table for the first time: how good (`beside`), what does better, whether a copy."""
    said = [beside]
    ahead = [source for source, gain in gained.items() if gain["worse"]]
    if ahead:
        more = f", as {len(ahead) - 1} more" * (len(ahead) > 1)
        said.append(f"{ahead[0]} does better{more} (by {unit.difference(-gained[ahead[0]]['mean'])})")
    elif better(gained):
        said.append("no baseline does as well")
    elif gained:
        rival, gain = next(iter(gained.items()))
        higher = (
            f"{rival} scores higher (by {unit.difference(-gain['mean'])})"
            if gain["mean"] < 0
            else "no baseline scores higher"
        )
        said.append(f"{higher}, which may be chance")
    return "; ".join([*said, NEW.get(kind, f"it {kind}")])


def _compared(view: View, gained: Mapping[str, Gain], unit: Unit) -> str:
    """Say whether the method is better than every baseline, worse than any, or neither."""
    worse = {source: gain for source, gain in gained.items() if gain["worse"]}
    level = {source: gain for source, gain in gained.items() if gain["low"] <= 0 and not gain["worse"]}
    if better(gained):
        word = "better than every baseline" if len(gained) > 1 else "better than the baseline"
        said = f"{word}; the nearest is {_listed(view, dict([next(iter(gained.items()))]), unit)}"
    elif worse:
        said = f"worse than {_listed(view, worse, unit)}"
    else:
        said = f"not better than every baseline: not distinguishable from {_listed(view, level, unit)}"
        if any(gain["high"] < 0 for gain in level.values()):
            said += f" (an interval below 0 is no claim where {len(gained)} baselines are tried: by Holm's correction)"
    if view.selection == "test":
        said += "; no claim about new data, because networks and epochs were selected on the test split too"
    alone = ", which is one network," if len(view.theta[view.method]) == 1 else ""
    return f"{view.method}{alone} is {said}{'' if counts_right(view) else f' (in {view.recipe.task.metric})'}"


def _listed(view: View, gained: Mapping[str, Gain], unit: Unit) -> str:
    named = [_named(view, source, gain, unit) for source, gain in list(gained.items())[:NAMED]]
    more = len(gained) - len(named)
    return f"{'; '.join(named)}{f'; and {more} more' if more else ''}"


def _named(view: View, source: str, gain: Gain, unit: Unit) -> str:
    one = ", one network" if gain["networks"] == 1 else ""
    ends = f"{unit.bare(gain['low'], '+')} to {unit.bare(gain['high'], '+')}"
    return f"{source}{one} ({unit.difference(gain['mean'], '+')}, 95 % interval {ends})"


def _kind(view: View, novelty_M: Tensor, worse: bool) -> tuple[str, str]:
    """Return whether the method copies, averages or adds, and the numbers that say so.

    `worse`: than the checkpoints, clearly: who errs more often agrees more often.
    """
    far, within, others = median(novelty_M), *(_overlap(view, source) for source in (view.method, ORIGINAL))
    if math.isnan(far):
        return "cannot be told from a copy", "all checkpoints are the same"
    away = f"its networks lie {far:.2g} times the checkpoints' own distance from the nearest checkpoint"
    if within is None or others is None:
        return ("copies" if far < COPIES else "gives one network, which cannot agree with others"), away
    agree = f"overlap of wrong answers {within:.3f} among its networks, {others:.3f} among checkpoints"
    if far < COPIES:
        return "copies", away
    if within > others + min(AVERAGES, (1 - others) / 2):
        return ("agrees with itself, being worse than the checkpoints" if worse else "averages"), agree
    return "neither copies nor averages", f"{agree}; {away}"


def _overlap(view: View, source: str) -> float | None:
    """Return the mean overlap of wrong answers between two networks of a source, if it has two."""
    wrong = view.recipe.task.wrong(view.predictions(source, "test"), view.targets("test"))
    count = len(wrong)
    return (float(iou(wrong, wrong).sum()) - count) / (count * (count - 1)) if count > 1 else None
