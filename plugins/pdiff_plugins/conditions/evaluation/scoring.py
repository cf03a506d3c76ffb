"""All numbers of the evaluator of conditions, from asking every source to the verdict."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pdiff.components import PARTS
from pdiff.results.scores import Unit
from pdiff.results.summary import spread
from pdiff.view import ORIGINAL
from pdiff_plugins.conditions.evaluation.asking import Asker
from pdiff_plugins.conditions.evaluation.judging import Judge, Judged
from pdiff_plugins.conditions.evaluation.rivals import Beside, adapted, of_all_classes, readable
from pdiff_plugins.conditions.evaluation.rows import MEAN, rows
from pdiff_plugins.conditions.evaluation.tasks import HARD, HELD_OUT, LEARNT, Tasks, tasks_of
from pdiff_plugins.conditions.evaluation.verdict import WHOLE, Case, alone, gains, plain, verdict
from pdiff_plugins.maths.median import median
from pdiff_plugins.maths.neighbours import nearest

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.view import View
    from pdiff_plugins.conditions.evaluation.evaluator import OfTasks
    from pdiff_plugins.conditions.evaluation.scores import Common, Copies, RowConditions, SourceConditions
    from pdiff_plugins.maths.crossed import Gain


def scores_of(options: OfTasks, view: View, ctx: Context) -> dict[str, Any]:
    """Return what the evaluator gives."""
    return Scoring(options, view, tasks_of(view, options.tasks, ctx), ctx).scores()


class Scoring:
    """The scores of one run, each computed once."""

    def __init__(self, options: OfTasks, view: View, tasks: Tasks, ctx: Context):
        self.options, self.view, self.tasks, self.ctx = options, view, tasks, ctx
        self.task = view.recipe.task
        judge = Judge(
            self.task, view.bench, tasks.about, "test", options.examples, ctx.generator("examples")
        )  # fmt: skip
        self.asker = Asker(view, tasks, judge, ctx)
        self.conditional = [source for source in view.theta if self.asker.conditional(source)]
        self.judged: dict[str, Judged] = {}
        self.networks: dict[str, SourceConditions] = {}
        self.kept: dict[str, Tensor] = {}
        """Networks that are asked more, `[T, D]`: the method's."""
        self.used: Gain | None = None
        self.common: dict[str, Common] = {}

    def scores(self) -> dict[str, Any]:
        tasks = self.tasks
        with self.ctx.progress.step("conditions", len(self.view.theta)) as step:
            for source in self.view.theta:
                self._source(source)
                step.advance()
        of_zoo = {MEAN: examples_of(self.view, ORIGINAL)}
        beside = {name: Beside(judged, of_zoo.get(name)) for name, judged in rows(self.asker)}
        whole = of_all_classes(self.asker, self.options.rival_steps, self.options.rival_lr)
        if whole:
            beside[WHOLE] = Beside(whole.judged, whole.seen)
        beside |= self.options.further(self.asker, examples_of(self.view, self.view.method) or 0)
        self.common = {name: each.common for name, each in beside.items() if each.common}
        every = self.judged | {name: each.judged for name, each in beside.items()}
        of_part = {name: each.of(tasks.of(tasks.judged)) for name, each in every.items()}
        hard = tasks.of(HARD) if tasks.judged != HARD else []
        of_hard = {name: each.of(hard) for name, each in every.items()} if hard else {}
        case = self._case(of_part, of_hard)
        further = {
            "used": self.used, "copies": case.copies, "span": self.asker.span(),
            "class_gain": whole.gain if whole else None, "own_gain": case.own_gain,
            "adapted": adapted(self.asker, self.options, self._starts(case.gains)), "common": self.common or None,
        }  # fmt: skip
        by_part = {part: tasks.of(part) for part in PARTS}
        return {
            "networks": self.networks, "unit": case.unit.name, "counts": tasks.counts, "known": tasks.known,
            "judged": tasks.judged, "right": case.right, "by_task": self.asker.judge.by_task, "bits": tasks.bits,
            "distances": {part: tasks.distance_T[numbers].tolist() for part, numbers in by_part.items()},
            "asked": {part: [tasks.about[number] for number in numbers] for part, numbers in by_part.items()},
            "beside": {name: _row(tasks, each.judged, each.seen) for name, each in beside.items()}, "gains": case.gains,
            "hard_gains": case.hard_gains, "examples": self.asker.judge.digest,
            "groups": {name: each.groups() for name, each in of_part.items() if each.groups()},
            "plain": plain(case), "verdict": verdict(case),
            **{key: value for key, value in further.items() if value is not None},
        }  # fmt: skip

    def _source(self, source: str) -> None:
        """Ask a source for everything."""
        asker, theta_TD = self.asker, self.asker.theta(source)
        asked, every = asker.judge.asked(theta_TD), range(len(self.tasks))
        judged = self.judged[source] = asker.judge.of(asked, every if len(theta_TD) > 1 else [0] * len(every), every)
        row = _row(self.tasks, judged, examples_of(self.view, source))
        told: dict[str, Any] = {**row, "conditional": asker.conditional(source)}
        self.networks[source] = scores = told | {"shuffled": None, "random_text": None, "gate": None}  # type: ignore[assignment]
        if source == self.view.method:
            self.kept[source] = theta_TD
        if source == ORIGINAL:
            return
        if asker.conditional(source):
            if shuffled := asker.shuffled(asked):
                other, numbers = shuffled
                scores["shuffled"] = float(other.score_T.mean())
                if source == self.view.method:
                    self.used = alone(judged.of(numbers).less(other))
            if in_words := asker.random_text(source):
                scores["random_text"] = float(in_words.score_T.mean())
            if several := asker.samples(source, self.options.samples):
                scores["samples"] = several
        scores["gate"] = asker.gate(source)
        facts = self.view.generators[source].facts
        if "leave_one_out" in facts:
            scores["leave_one_out"] = float(facts["leave_one_out"])

    def _case(self, of_part: Mapping[str, Judged], of_hard: Mapping[str, Judged]) -> Case:
        """Return what is to be said in words."""
        method, means = self.view.method, {name: float(each.score_T.mean()) for name, each in of_part.items()}
        best = max(self.conditional, key=means.__getitem__, default="")
        return Case(
            method=method, generated=self.conditional, judged=self.tasks.judged, counts=self.tasks.counts, means=means,
            gains=gains(of_part, method), hard_gains=gains(of_hard, method) if of_hard else {},
            beyond=bool(best) and WHOLE in means and alone(of_part[WHOLE].less(of_part[best]))["said"] == "better",
            own_gain=_own_gain(self.view), used=self.used, shuffled=self.networks[method]["shuffled"],
            copies=self._copies(), metric=self.task.metric,
            right=all(each.right_TE is not None for each in of_part.values()),
            unit=Unit.of((value for each in of_part.values() for value in each.score_T.tolist()), self.task.unit),
            unasked=WHOLE not in means and readable(self.asker), common=self.common,
        )  # fmt: skip

    def _copies(self) -> Copies | None:
        """Compare how near to a learnt network generated ones lie, and the tasks' own."""
        numbers, method = self.tasks.of(self.tasks.judged), self.view.method
        if self.tasks.judged == LEARNT or method not in self.conditional:
            return None
        theta, place = (self.kept[method][numbers], self.tasks.own_TD[numbers]), self.view.bench.coordinates
        generated, own = (median(nearest(place(each), place(self.view.zoo.theta_ND))) for each in theta)
        return {"generated": generated, "own": own} if generated == generated and own > 0 else None

    def _starts(self, gained: Mapping[str, Gain]) -> dict[str, Tensor]:
        """Return the networks of the method and of the strongest control that gives any for conditions, `[T, D]`."""
        control = next((row for row in gained if row in self.conditional), "")
        sources = [source for source in (self.view.method, control) if source in self.conditional]
        return {source: self.kept[source] if source in self.kept else self.asker.theta(source) for source in sources}


def _row(tasks: Tasks, judged: Judged, seen: int | None) -> RowConditions:
    by_part = {part: judged.score_T[tasks.of(part)].tolist() for part in PARTS}
    mean = {part: statistics.fmean(values) if values else None for part, values in by_part.items()}
    worst = {part: min(values, default=None) for part, values in by_part.items()}
    return {
        **spread(by_part[tasks.judged]), "learnt": mean[LEARNT], "held_out": mean[HELD_OUT], "worst": worst[HELD_OUT],
        "hard": mean[HARD], "hard_worst": worst[HARD], "tasks": by_part, "seen": seen,
    }  # fmt: skip


def examples_of(view: View, source: str) -> int | None:
    """Return how many training examples a source learnt from, be it through networks; None where that is not known."""
    facts = {} if source == ORIGINAL else view.generators[source].facts.get("generated", {})
    steps, batch_size = (getattr(view.recipe.collect, key, 0) for key in ("steps", "batch_size"))
    collect: Any = view.recipe.collect
    own, of_zoo = facts.get("examples", 0), len(view.zoo) * steps * batch_size
    if own and not facts.get("of_networks"):
        return int(getattr(collect, "begun", 0) + own)
    return int(getattr(collect, "begun", 0) + own + of_zoo) if of_zoo else None


def _own_gain(view: View) -> float | None:
    """Return what twice the steps add to the zoo's networks, where their collector looked at it."""
    from pdiff_plugins.collectors.tasks.training import gain

    known = gain(view.zoo, view.recipe.task.metric)
    return None if known is None else known[1] - known[0]
