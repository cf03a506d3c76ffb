"""The rows of one adapter for all tasks: trained, looked at, and judged on every task.

Shapes: B examples of a step, E examples, N learnt tasks, R their tellings, C numbers of a condition.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdiff.data import Batch, Split, evaluation_batches
from pdiff.errors import UserError
from pdiff.running.progress import Progress
from pdiff.training.loop import train
from pdiff.zoo import about as about_of
from pdiff_plugins.adapters.rivals.networks import OneAdapter
from pdiff_plugins.adapters.rivals.watching import Ended, Watched
from pdiff_plugins.collectors.seeds.training import ready
from pdiff_plugins.collectors.tasks.common import Shares, rising
from pdiff_plugins.conditions.evaluation.judging import Judge, Judged
from pdiff_plugins.conditions.evaluation.rivals import Beside
from pdiff_plugins.conditions.evaluation.verdict import LITTLE

if TYPE_CHECKING:
    from pdiff.components import Family
    from pdiff_plugins.adapters.rivals.evaluator import Adapters
    from pdiff_plugins.conditions.evaluation.asking import Asker

NONE, ONE, TOLD, ON = "no adapter", "one adapter", ", told the condition", ", trained on"
LOOKED_AT = 500
"""Examples of each learnt task by which it is told how good an adapter is."""
TRIAL = 0.125
"""Of the examples, on which a rate is tried."""
AT_ONCE = 1024
"""Examples of one network, when it is asked."""


class Rivals:
    """All that is needed to train one adapter for the learnt tasks of a run."""

    def __init__(self, options: Adapters, asker: Asker):
        self.options, self.asker, self.bench = options, asker, asker.view.bench
        self.ctx = asker.ctx.scope("one adapter")
        self.family: Family = asker.judge.task  # type: ignore[assignment]
        zoo = asker.view.zoo
        last = {json.dumps(about_of(row), sort_keys=True): number for number, row in enumerate(zoo.rows)}
        assert zoo.condition_NC is not None
        self.condition_NC = zoo.condition_NC[list(last.values())]
        self.learnt = [about_of(zoo.rows[number]) for number in last.values()]
        self.told_RC = torch.cat([self.condition_NC, *self._again()])
        """Conditions of all tasks, and behind them those of each further telling that the method hears."""
        self.first: float | None = None
        """Examples of the first rows over those of the method."""
        self.look = Judge(
            self.family, self.bench, self.learnt, asker.view.selection, LOOKED_AT, self.ctx.generator("look")
        )
        self.asked = {judge: ready(judge.drawn, asker.ctx.device) or judge.drawn for judge in (self.look, asker.judge)}

    def rows(self, examples: int) -> dict[str, Beside]:
        """Return every row; `examples`: that the method has learnt from."""
        generated = self.asker.view.generators[self.asker.view.method].facts.get("generated", {})
        count = (generated.get("examples") and (examples or generated["examples"])) or self.options.rival_images
        self.first = count / examples if examples else None
        kinds = {ONE: 1, f"{ONE}, rank x {self.options.wider}": self.options.wider}
        rows = {NONE: Beside(self.judged(self._new(1, False)))}
        with self.ctx.progress.step("one adapter", 2 * len(kinds)) as bar:
            for told in (False, True):
                for name, times in kinds.items():
                    rows |= self._trained(f"{name}{TOLD if told else ''}", times, told, count)
                    bar.advance()
        return rows

    def _again(self) -> Iterator[Tensor]:
        view = self.asker.view
        for number in range(1, getattr(view.methods.get(view.method), "tellings", 1)):
            yield self.bench.encode([self.family.again(about, number) for about in self.learnt])

    def _new(self, times: int, told: bool) -> OneAdapter:
        own, told_RC = self.asker.view.recipe.selector, self.told_RC if told else None
        made = OneAdapter(self.bench, self.family, own, times, told_RC, self.ctx.seed)
        return made.to_device(self.ctx.device)

    def _trained(self, name: str, times: int, told: bool, count: int) -> dict[str, Beside]:
        """Return the rows of one adapter: after so many examples, and in the end."""
        batch_size = self.options.rival_batch
        steps = math.ceil(count / batch_size)
        network = self._new(times, told)
        ends = [steps * 2**doubled for doubled in range(self.options.rival_most + 1)]
        watched, lr = self._best(network, name, ends)
        rows: dict[str, Beside] = {}
        for row, stage in {name: 0, f"{name}{ON}": len(watched.scores) - 1}.items():
            if stage or row == name:
                watched.take(stage)
                seen = [step * batch_size for step in watched.ends[: stage + 1]]
                rows[row] = Beside(
                    self.judged(network), seen[-1],
                    {
                        "examples": seen, "selection": watched.scores[: stage + 1], "lr": lr,
                        "times": self.first * 2.0**stage if self.first else None,
                        "ended": bool(stage) and watched.scores[stage] - watched.scores[stage - 1] < LITTLE,
                    },
                )  # fmt: skip
        return rows

    def _best(self, network: OneAdapter, name: str, ends: list[int]) -> tuple[Watched, float]:
        """Train a network at the rate that is best on trial; where that fails later, at the next best one."""
        new = {key: value.clone() for key, value in network.state_dict().items()}
        rates, trial = self.options.rival_rates, max(1, round(TRIAL * ends[0]))

        def trained(lr: float, what: str, ends: list[int]) -> Watched | None:
            network.load_state_dict(new)
            with contextlib.suppress(UserError):  # it is not finite
                return self._watched(network, f"{name} {what}", ends, lr, trial)
            return None

        tried = {lr: trained(lr, f"{lr:g}", [trial]) if len(rates) > 1 else None for lr in rates}
        scores = {lr: seen.scores[0] if seen else -math.inf for lr, seen in tried.items()}
        for lr in sorted(scores, key=lambda lr: (-scores[lr], lr)):
            if watched := trained(lr, "", ends):
                return watched, lr
        raise UserError(f"evaluate adapters: {name} diverges at every rate; lower rival_rates")

    def _watched(self, network: OneAdapter, name: str, ends: list[int], lr: float, trial: int) -> Watched:
        """Train a network, until more adds little; return what was seen of it on the way.

        `trial`: steps of a trial, by which it is known how long the rate rises.
        """
        ctx = self.ctx.replace(snapshot=self.ctx.snapshot.scope(name), progress=Progress())
        train_split, batch_size = self.bench.examples("train"), self.options.rival_batch
        shares = Shares(train_split, self.family, self.learnt, batch_size, True, self.ctx)
        told_RC, tasks, schedule = self.told_RC.to(ctx.device), len(self.learnt), rising(trial)
        watched = Watched(network, ends, lambda: float(self.scores(network).score_T.mean()), LITTLE)

        def loss(batch: Any, task_B: Tensor) -> Tensor:
            telling_B = torch.randint(len(told_RC) // tasks, task_B.shape, device=task_B.device)
            condition_BC = told_RC[task_B + tasks * telling_B] if network.told else None
            return self.family.loss(functools.partial(network, condition_BC), Batch(*batch))

        with contextlib.suppress(Ended):
            train(
                network, loss, steps=ends[-1], ctx=ctx, what=name, lr=lr, optimizer="adam", schedule=schedule,
                draw=shares.draw, observer=watched,
            )  # fmt: skip
        return watched

    def scores(self, network: OneAdapter) -> Judged:
        """Return what a network is worth on the learnt tasks, on the selection split."""
        return self._asked(network, self.look, self.condition_NC)

    def judged(self, network: OneAdapter) -> Judged:
        """Return what it is worth on every task that is asked for."""
        return self._asked(network, self.asker.judge, self.asker.tasks.condition_TC)

    def _asked(self, network: OneAdapter, judge: Judge, condition_TC: Tensor) -> Judged:
        same = judge.together and not network.told
        known: Mapping[int, Tensor] = {}

        def predict(number: int) -> Tensor:
            nonlocal known
            key = 0 if same else number
            if key not in known:
                condition_1C = condition_TC[number : number + 1].to(self.ctx.device) if network.told else None
                asked = self.family.asked(self.asked[judge], judge.about[number])
                known = {key: _predictions(network, condition_1C, asked, self.family, self.ctx.device)}
            return known[key]

        return judge.answers(predict, range(len(judge.about)))


@torch.no_grad()
def _predictions(
    network: OneAdapter, condition_1C: Tensor | None, split: Split, family: Family, device: torch.device
) -> Tensor:
    """Return a network's predictions for a task's examples, `[1, E, ...]`."""
    told = functools.partial(network, condition_1C)
    batches = evaluation_batches(split, AT_ONCE, device)
    kept = [family.reduce(family.predict(told, batch.inputs)[None], batch.targets).cpu() for batch in batches]
    return torch.cat(kept, dim=1)
