"""Training the networks of tasks together, and telling whether they were trained to the end.

Shapes: R runs, D selected parameters, E examples.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pdiff.context import Context
from pdiff.data import DatasetSplits, Split, evaluation_batches
from pdiff.mapped import take
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.adapters.layers import in_training
from pdiff_plugins.collectors.seeds.training import Examples, JointTraining, finite_runs, ready
from pdiff_plugins.collectors.tasks.examples import TaskExamples

if TYPE_CHECKING:
    from pdiff.bench import Bench
    from pdiff.components import Family
    from pdiff.data import About
    from pdiff_plugins.collectors.tasks.collector import Tasks

KEPT = 2**32
"""From here the runs of tasks that are kept back are numbered, so that they are the same however many are learnt."""
TWICE = "twice"
"""Of a row's metrics: the score on the selection split after twice the steps."""
ENOUGH = 0.005
"""Of a score that is a share: what twice the steps add at most to a zoo that is trained to the end."""


class Together:
    """Trains networks of tasks, all in the same way; `start(run)` returns the network that a run begins with."""

    def __init__(
        self, options: Tasks, family: Family, data: DatasetSplits, layout: Layout, template: nn.Module,
        start: Callable[[int], nn.Module], ctx: Context,
    ):  # fmt: skip
        """`template` holds what is not trained."""
        self.options, self.family, self.data, self.layout, self.ctx = options, family, data, layout, ctx
        self.anchor = {key: value.detach().cpu().clone() for key, value in template.state_dict().items()}
        self.template, self.start = in_training(template), start
        self.examples = Examples(data.train, options, self.template, ctx)

    def train(
        self, what: str, abouts: Sequence[About], saved: Sequence[int], seeded: int = 0
    ) -> tuple[JointTraining, Tensor, Tensor]:
        """Return the training, theta_RSD after the steps that are saved, and losses `[R, S]`."""
        examples = TaskExamples(self.examples, self.family, abouts, self.options.same_batches, seeded)
        training = JointTraining(
            self.options, len(abouts), saved, lambda run: self.start(seeded + run), self.template, examples,
            self.family, self.layout, self.ctx.replace(snapshot=self.ctx.snapshot.scope(what)),
        )  # fmt: skip
        return training, *training.run()

    def zoo(self, what: str, tasks: Sequence[tuple[str, About]], numbered: int = 0, seeded: int = 0) -> Zoo:
        """Return the networks of tasks, given as (part, about), without those that diverged.

        `numbered`: the first row's run; `seeded`: the number of which it draws its start and order.
        """
        steps = self.options.steps
        training, theta_RSD, losses_RS = self.train(what, [about for _, about in tasks], [steps], seeded)
        runs = finite_runs(training, theta_RSD, losses_RS)
        rows = []
        for run in runs:
            (part, about), loss = tasks[run], float(losses_RS[run, 0])
            metrics = {"train_loss": loss}
            rows.append({"run": numbered + run, "step": steps, "metrics": metrics, "about": dict(about), "part": part})
        return Zoo(take(theta_RSD.flatten(0, 1), runs, self.ctx.snapshot.folder), self.layout, self.anchor, rows)


def check(zoo: Zoo, together: Together, count: int) -> None:
    """Train the first tasks of a zoo for twice the steps, too, write what that gives into its rows, and say it."""
    family, ctx, rows = together.family, together.ctx, zoo.rows[:count]
    abouts = [row["about"] for row in rows]
    _, theta_RSD, _ = together.train("check", abouts, [2 * together.options.steps])
    split = together.data.validation if len(together.data.validation) else together.data.test
    split = ready(split, ctx.device) or split
    network = copy.deepcopy(together.template)
    for row, *pair in zip(rows, zoo.theta_ND, theta_RSD[:, 0], strict=False):
        once, twice = (_score(network, zoo.state_dict(theta_D), family, split, row["about"], ctx) for theta_D in pair)
        row["metrics"] |= {family.metric: once, TWICE: twice}
    told = gain(zoo, family.metric)
    assert told is not None
    once, twice = told
    scale, unit = (100, " points") if family.unit == "%" else (1, "")
    says = (
        f"twice the steps take the {family.metric} of {len(rows)} tasks from {scale * once:.2f} to {scale * twice:.2f}"
    )
    ctx.progress.say(f"collect: {says} ({scale * (twice - once):+.2f}{unit})")
    if family.unit == "%" and twice - once > ENOUGH:
        ctx.warn(f"collect: the zoo is not trained to the end: {says}; raise collect.steps, or collect.lr")


def gain(zoo: Zoo, metric: str) -> tuple[float, float] | None:
    """Return the mean score after the steps and after twice the steps; None where that was not looked at."""
    known = [row["metrics"] for row in zoo.rows if TWICE in row.get("metrics", {})]
    if not known:
        return None
    return sum(one[metric] for one in known) / len(known), sum(one[TWICE] for one in known) / len(known)


@torch.no_grad()
def _score(
    network: nn.Module, state: Mapping[str, Tensor], family: Family, split: Split, about: About, ctx: Context
) -> float:
    """Return a network's score on its own task."""
    network.load_state_dict(state)
    network.eval()
    asked = family.asked(split, about)
    batches = evaluation_batches(asked, 1024, ctx.device)
    kept = [family.reduce(family.predict(network, batch.inputs)[None], batch.targets) for batch in batches]
    return float(family.score(torch.cat(kept, dim=1).cpu(), asked.targets.cpu()))


def adapt(
    theta_MD: Tensor, abouts: Sequence[About], steps: Sequence[int], lr: float, bench: Bench, ctx: Context, *,
    batch_size: int = 64, optimizer: str = "adam", name: str = "adapt",
) -> dict[int, Tensor]:  # fmt: skip
    """Return networks after so many steps of training from theta_MD, each on its own task; all see the same examples.

    Args:
        steps: after which networks are kept, ascending; 0 gives theta_MD itself. The rate is constant.
        name: of this training among those of the stage; another start with the same `ctx` sees the same examples.
    """
    from pdiff_plugins.collectors.tasks.collector import Tasks

    objective: Any = bench.objective
    options = Tasks(
        steps=steps[-1], lr=lr, batch_size=batch_size, optimizer=optimizer, schedule="constant"
    )  # fmt: skip
    model = in_training(copy.deepcopy(objective.model))

    def start(run: int) -> nn.Module:
        begun = copy.deepcopy(model)
        begun.load_state_dict(objective.layout.tensors(theta_MD[run % len(theta_MD)].to(ctx.device)), strict=False)
        return begun

    examples = TaskExamples(Examples(objective.split, options, model, ctx), objective.task, abouts, True)
    training = JointTraining(
        options, len(abouts), steps, start, model, examples, objective.task, objective.layout,
        ctx.replace(snapshot=ctx.snapshot.scope(name)),
    )  # fmt: skip
    theta_RSD, _ = training.run()
    return {step: theta_RSD[:, column] for column, step in enumerate(steps)}
