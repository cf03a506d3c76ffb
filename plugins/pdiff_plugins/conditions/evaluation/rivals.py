"""What is trained to be set beside generated networks: one network of all classes, and what training on adds.

E examples, K classes, T tasks, D parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pdiff.components import Family
from pdiff.data import Split, evaluation_batches
from pdiff.errors import UserError
from pdiff_plugins.conditions.evaluation.judging import Judged

if TYPE_CHECKING:
    from torch import nn

    from pdiff_plugins.conditions.evaluation.asking import Asker
    from pdiff_plugins.conditions.evaluation.evaluator import OfTasks
    from pdiff_plugins.conditions.evaluation.scores import Adapted, Common

SHARED = "shared start"
"""What every network of the zoo may have begun with: the base network."""

BATCH = 128
"""Examples in a step of the network of all classes."""


@dataclass(frozen=True)
class Beside:
    """A row beside the sources."""

    judged: Judged
    seen: int | None = None
    """Training examples, counted each time."""
    common: Common | None = None
    """Of one network that is trained on all tasks: how."""


@dataclass(frozen=True)
class Whole:
    """A network of all classes, its answers read as the tasks'."""

    judged: Judged
    gain: float
    """What the second half of its steps adds to its accuracy on all classes, on the selection split."""
    seen: int
    """Training examples, counted each time."""


def readable(asker: Asker) -> bool:
    """Return whether tasks can be read from the answers of a network of all classes."""
    family, classes = asker.judge.task, asker.view.bench.classes
    if not isinstance(family, Family) or not asker.tasks.about:
        return False
    return family.of_classes(torch.zeros(2, classes).log_softmax(dim=1), asker.tasks.about[0]) is not None


def of_all_classes(asker: Asker, steps: int, lr: float) -> Whole | None:
    """Train a network of all classes, and one for half the steps; None where no task can be read from its answers.

    They have the dataset's training transform, as networks have that are trained through a hypernetwork.
    """
    family, bench = asker.judge.task, asker.view.bench
    if not steps or not readable(asker):
        return None
    assert isinstance(family, Family)
    from pdiff_plugins.collectors.tasks.classes import class_network

    ctx = asker.ctx.scope("classes")
    try:
        half, whole = (
            class_network(bench, ctx.replace(snapshot=ctx.snapshot.scope(str(count))), count, lr, BATCH, augment=True)
            for count in (max(1, steps // 2), steps)
        )
    except UserError as error:
        ctx.warn(f"evaluator conditions: {error}; that row is left out")
        return None
    chosen = bench.examples(asker.view.selection)
    before, after = (_accuracy(network, chosen, asker) for network in (half, whole))
    known: dict[int, Tensor] = {}

    def predict(number: int) -> Tensor:
        key = 0 if asker.judge.together else number
        if key not in known:
            known.clear()
            known[key] = _log_probabilities(whole, asker.judge.examples(number), asker)
        answer_E = family.of_classes(known[key], asker.tasks.about[number])
        assert answer_E is not None
        return answer_E[None]

    return Whole(
        asker.judge.answers(predict, range(len(asker.tasks))),
        after - before,
        steps * min(BATCH, len(bench.examples("train"))),
    )


@torch.no_grad()
def _log_probabilities(network: nn.Module, split: Split, asker: Asker) -> Tensor:
    """Return a network's log-probabilities of all classes, `[E, K]`."""
    batches = evaluation_batches(split, asker.ctx.batch_size, asker.ctx.device)
    return torch.cat([network(batch.inputs).float().log_softmax(dim=1).cpu() for batch in batches])


def _accuracy(network: nn.Module, split: Split, asker: Asker) -> float:
    right_E = _log_probabilities(network, split, asker).argmax(dim=1) == split.targets
    return float(right_E.double().mean())


def adapted(asker: Asker, options: OfTasks, starts: Mapping[str, Tensor]) -> Adapted | None:
    """Train networks on their tasks, from what sources gave for them and from the base network.

    Of several rates, each start has after each number of steps the one that is best on the selection split. None
    where tasks are no family's, or nothing was generated.
    """
    steps = sorted(set(options.adapt))
    if not steps or not starts or not isinstance(asker.judge.task, Family):
        return None
    rows = asker.tasks.of(asker.tasks.judged)[: options.adapted]
    base_TD = asker.view.zoo.base.expand(len(rows), -1)
    every = {source: theta_TD[rows] for source, theta_TD in starts.items()} | {SHARED: base_TD}
    scores = {name: _after(asker, options, name, theta_TD, rows, steps) for name, theta_TD in every.items()}
    return {"tasks": len(rows), "steps": steps, "starts": scores}


def _after(
    asker: Asker, options: OfTasks, name: str, theta_TD: Tensor, rows: list[int], steps: list[int]
) -> list[float]:
    """Return mean scores on the test split after so many steps from theta_TD."""
    about, bench, trained = [asker.tasks.about[row] for row in rows], asker.view.bench, list[dict[int, Tensor]]()
    if steps[-1]:
        from pdiff_plugins.collectors.tasks.training import adapt

        later = [step for step in steps if step]
        trained = [
            adapt(theta_TD, about, later, lr, bench, asker.ctx.scope("adapt"), name=f"{name} {lr:g}")
            for lr in options.adapt_lr
        ]
    scores = []
    for step in steps:
        tried = [each[step] for each in trained] if step else [theta_TD]
        chosen = tried[0]
        if len(tried) > 1:
            chosen = max(tried, key=lambda theta_TD: float(bench.score(theta_TD, about).nan_to_num(nan=0.0).mean()))
        scores.append(float(asker.judge.networks(chosen, rows).score_T.mean()))
    return scores
