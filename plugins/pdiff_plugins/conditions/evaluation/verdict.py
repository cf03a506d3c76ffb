"""The method beside every other row, tasks and examples being crossed random effects, and what that says in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pdiff.results.scores import Unit
from pdiff.view import ORIGINAL
from pdiff_plugins.conditions.evaluation.judging import Judged
from pdiff_plugins.conditions.evaluation.scores import Common, Copies
from pdiff_plugins.conditions.evaluation.tasks import HARD, LEARNT
from pdiff_plugins.maths.crossed import Difference, Gain, gain_of, holm

LITTLE = 0.005
"""What twice the steps may add to networks that are trained to their end."""
COPIES = 0.5
"""Of the distance from own networks to those learnt, below which networks are said to be copies."""
NAMED = 3
"""Rows that a sentence names."""
WHOLE = "one network of all classes and the condition"
"""The row of a network of all the dataset's classes, whose answers are read as the task's."""


@dataclass(frozen=True)
class Case:
    """What is known of a run, to be said in words."""

    method: str
    generated: Sequence[str]
    """Sources that give networks for conditions."""
    judged: str
    """The part of the tasks that it is about."""
    counts: Mapping[str, int]
    means: Mapping[str, float]
    """Row -> mean score on these."""
    gains: Mapping[str, Gain]
    hard_gains: Mapping[str, Gain]
    beyond: bool
    """Whether the network of all classes is better than the best generated ones, told from chance."""
    used: Gain | None
    shuffled: float | None
    copies: Copies | None
    own_gain: float | None
    """What twice the steps add to the tasks' own networks."""
    metric: str
    right: bool
    unit: Unit
    unasked: bool = False
    """Whether the network of all classes could have been set beside, and was not."""
    common: Mapping[str, Common] = field(default_factory=dict)
    """Rows that are one network for all tasks -> how it was trained."""


def gains(judged: Mapping[str, Judged], method: str) -> dict[str, Gain]:
    """Return by row what the method gains over it, those that it comes nearest to first.

    Holm's correction is over the controls: every row but the method's own and the tasks' own networks.
    """
    others = {row: judged[method].less(theirs) for row, theirs in judged.items() if row != method}
    others = {row: gain for row, gain in others.items() if math.isfinite(gain.mean + gain.error)}
    controls = {row: gain.chance for row, gain in others.items() if row != ORIGINAL}
    told = dict(zip(controls, holm(list(controls.values())), strict=True))
    ordered = sorted(others.items(), key=lambda pair: pair[1].mean)
    return {row: gain_of(gain, told.get(row, gain.chance <= 0.05)) for row, gain in ordered}


def alone(gain: Difference) -> Gain:
    """Return a difference that is one question by itself."""
    return gain_of(gain, gain.chance <= 0.05)


def plain(case: Case) -> str:
    """Say it for who reads such a table for the first time: how good, what does better, whether it matters at all."""
    return "; ".join(
        [_good(case), *_for_all(case), *_beside(case), *_condition(case), *_copies(case), *_own(case), *_single(case)]
    )


def _good(case: Case) -> str:
    tasks = {LEARNT: "the tasks it has learnt (none was held out)", HARD: "hard unseen tasks"}
    for_tasks = tasks.get(case.judged, "unseen tasks") if case.counts[case.judged] > 1 else f"one {case.judged} task"
    mean = case.unit.text(case.means[case.method])
    if case.method not in case.generated:
        return f"{case.method} takes no conditions: one network of it, for all of {for_tasks}, {_does(case, mean)}"
    return f"{case.method} gives networks for {for_tasks} that {_does(case, mean, 'are', 'have')}"


def _does(case: Case, mean: str, be: str = "is", have: str = "has") -> str:
    return f"{be} right in {mean}" if case.right else f"{have} a mean {case.metric} of {mean}"


def _beside(case: Case) -> Iterator[str]:
    """Say what does better; where nothing does, what may, or that nothing does as well."""
    controls = {row: gain for row, gain in case.gains.items() if row != ORIGINAL and row not in case.common}
    ahead = {row: gain for row, gain in controls.items() if gain["said"] == "worse"}
    level = {row: gain for row, gain in controls.items() if not gain["said"]}
    shown = {row: gain for row, gain in ahead.items() if not (case.beyond and row == WHOLE)}
    if shown:
        (row, gain), more = next(iter(shown.items())), len(shown) - 1
        others = f", as {'does' if more == 1 else 'do'} {more} more" if more else ""
        among = f", among them {WHOLE}" if more and row != WHOLE and WHOLE in shown else ""
        yield f"{row} does better (by {case.unit.difference(-gain['mean'])}){others}{among}"
    if case.beyond and WHOLE in ahead:
        mean = case.unit.text(case.means[WHOLE])
        yield f"{WHOLE} does better than every generated one ({mean})"
    if shown or not controls.keys() - {WHOLE}:
        return
    if not level:
        without = f" ({WHOLE}, the strongest of them, was not tried)" if case.unasked else ""
        other = ahead or any(case.gains[row]["said"] != "better" for row in case.common if row in case.gains)
        yield f"no {'other ' if other else ''}control does as well{without}"
    else:
        row, gain = next(iter(level.items()))
        others = f", nor from {len(level) - 1} more" if len(level) > 1 else ""
        by = case.unit.difference(abs(gain["mean"]))
        higher = f"{'higher' if gain['mean'] < 0 else 'lower'} by {by}, which may be chance"
        scores = higher if gain["error"] else "the same"
        yield f"it cannot be told from {row} (which scores {scores}){others}"


def _for_all(case: Case) -> Iterator[str]:
    """Say whether one network for all tasks wins, which, and whether that takes more examples."""
    known = {row: case.gains[row] for row in case.common if row in case.gains}
    if not known:
        return
    wins = any(gain["said"] == "worse" for gain in known.values())
    groups: dict[str, dict[str, Gain]] = {}
    for row, gain in sorted(known.items(), key=lambda pair: case.common[pair[0]]["times"] or 0):
        groups.setdefault(_when(case.common[row]["times"]), {})[row] = gain
    said = [f"{when}{_ahead(case, rows)}" for when, rows in groups.items()]
    yield f"one network for all tasks {'wins' if wins else 'does not win'}: {', '.join(said)}"


def _when(times: float | None) -> str:
    if times is None:
        return ""
    return "at equal examples " if times == 1 else f"with {'fewer' if times < 1 else 'more'} examples "


def _ahead(case: Case, gained: Mapping[str, Gain]) -> str:
    """Say of the strongest of these rows how it does beside the method, and whether it was trained to its end.

    A row that is told to be better stands before one of a higher mean that may be chance.
    """
    row, gain = min(gained.items(), key=lambda pair: (pair[1]["said"] != "worse", pair[1]["mean"]))
    trained, by = case.common[row], case.unit.difference(abs(gain["mean"]))
    side, end = ("better", "higher") if gain["mean"] < 0 else ("worse", "lower")
    times = f" ({trained['times']:.3g} times as many)" if trained["times"] not in (None, 1) else ""
    times = f" (after {trained['examples'][-1]:,} examples)" if trained["times"] is None else times
    told = f"does {side} by {by}" if gain["said"] else f"scores {end} by {by}, which may be chance"
    if trained["ended"] or len(trained["selection"]) < 2:
        return f"{row}{times} {told}"
    added = case.unit.difference(trained["selection"][-1] - trained["selection"][-2], "+")
    return f"{row}{times} {told}, and is not at its end (its last doubling: {added})"


def _condition(case: Case) -> Iterator[str]:
    if case.used is None or case.shuffled is None:
        return
    mean = case.unit.text(case.shuffled)
    if case.used["said"] == "better":
        yield f"what is asked for matters: networks asked for another task {_does(case, mean, 'are', 'have')}"
    elif case.used["high"] < LITTLE * (1 if case.right else abs(case.means[case.method])):
        yield f"what is asked for makes no difference: networks asked for another task do as well ({mean})"
    else:
        yield f"whether what is asked for matters cannot be told (networks asked for another task: {mean})"


def _copies(case: Case) -> Iterator[str]:
    if case.copies and case.copies["generated"] < COPIES * case.copies["own"]:
        yield "they are copies of learnt networks, or nearly"


def _own(case: Case) -> Iterator[str]:
    own = case.gains.get(ORIGINAL)
    if own and own["said"] == "better":
        mean = case.unit.text(case.means[ORIGINAL])
        yield f"the tasks' own networks do worse ({mean}): {no_ceiling(case.own_gain)}"


def _single(case: Case) -> Iterator[str]:
    if case.counts[case.judged] == 1:
        yield "chance is that of this one task's examples, and nothing is said of other tasks"


def no_ceiling(own_gain: float | None) -> str:
    """Say what it means that a task's own network is not the best; `own_gain`: what twice the steps add to it."""
    if own_gain is not None and own_gain < LITTLE:
        return "twice the steps add little to them, and what tasks have in common does more; they are no ceiling"
    return "the zoo is under-trained, and no ceiling"


def verdict(case: Case) -> list[str]:
    """Return all of it, a sentence each: every control, the condition, copies, own networks, hard tasks."""
    lines = list(_compared(case, case.gains, on_tasks(case.counts, case.judged)))
    if case.used is not None:
        word = "is used" if case.used["said"] == "better" else "is not used, as far as can be told"
        lines.append(
            f"the condition {word}: {case.method} less itself, asked for other tasks, {_ends(case, case.used)}"
        )
    if case.copies is not None:
        lines.append(
            f"from the nearest learnt network, {case.method}'s networks are {case.copies['generated']:.3g} away "
            f"(median), the tasks' own {case.copies['own']:.3g}"
        )
    if own := case.gains.get(ORIGINAL):
        lines.append(f"{case.method} less the tasks' own networks: {_ends(case, own)}")
    if case.hard_gains:
        lines += _compared(case, case.hard_gains, f"on {case.counts[HARD]} hard tasks")
    return lines


def on_tasks(counts: Mapping[str, int], part: str) -> str:
    """Say which tasks a sentence is about."""
    return f"on {counts[part]} task{'s' if counts[part] > 1 else ''} ({part})"


def _compared(case: Case, gained: Mapping[str, Gain], where: str) -> Iterator[str]:
    words = {"worse": "worse than", "": "not told apart from", "better": "better than"}
    for said, word in words.items():
        rows = {row: gain for row, gain in gained.items() if gain["said"] == said and row != ORIGINAL}
        if rows:
            named = [f"{row} ({_ends(case, gain)})" for row, gain in list(rows.items())[:NAMED]]
            more = f"; and {len(rows) - len(named)} more" if len(rows) > len(named) else ""
            beside_zero = not said and any(gain["low"] > 0 or gain["high"] < 0 for gain in rows.values())
            tried = f" (an interval beside 0 is no claim where {len(gained)} rows are tried)" if beside_zero else ""
            yield f"{where}, {case.method} is {word} {'; '.join(named)}{more}{tried}"


def _ends(case: Case, gain: Gain) -> str:
    unit = case.unit
    ends = f"{unit.bare(gain['low'], '+')} to {unit.bare(gain['high'], '+')}"
    return f"{unit.difference(gain['mean'], '+')}, 95 % interval {ends}"
