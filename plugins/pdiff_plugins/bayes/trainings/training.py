"""Training networks once more: many as one, where that can be, else one after the other.

K networks, D selected parameters, E examples.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pdiff.bench import Bench
from pdiff.components import Generator
from pdiff.context import Context, derive
from pdiff.data import Batch
from pdiff.errors import UserError
from pdiff.mapped import finite_rows, sync, take
from pdiff.running.device import placed
from pdiff.running.progress import Progress, Step
from pdiff.training.loop import Diverged, epoch_length, epoch_order, train
from pdiff.training.optimizers import SCHEDULES
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.adapters.layers import in_training
from pdiff_plugins.bayes.trainings.options import Settings
from pdiff_plugins.collectors.seeds.collector import Seeds
from pdiff_plugins.collectors.seeds.network import Network, NotTogether
from pdiff_plugins.collectors.seeds.starts import begins, independent
from pdiff_plugins.collectors.seeds.training import SMALLEST_BLOCK, Examples, JointTraining, changes, converged

BLOCK = 16
"""Networks trained as one on a CPU, as many as most ensembles have: what a block is short of is trained in vain."""
AT_ONCE = {"cpu": 2**28, "cuda": 2**31}
"""Numbers that networks trained as one may hold, about."""


class Trained(Generator):
    """Networks that were trained, theta_KD."""

    def __init__(
        self, theta_KD: Tensor, log: list[dict[str, float]] | None = None, facts: dict[str, Any] | None = None
    ):
        super().__init__(log, facts)
        self.theta_KD = theta_KD

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        theta_MD = ctx.empty(min(count, len(self.theta_KD)), self.theta_KD.shape[1])
        return theta_MD.copy_(self.theta_KD[: len(theta_MD)])

    def tensors(self) -> dict[str, Tensor]:
        return {"theta": self.theta_KD}


class Trainings:
    """Trainings of one kind, numbered: each has its own seed, of which it draws its start and its examples."""

    def __init__(self, name: str, settings: Settings, start: str, zoo: Zoo, bench: Bench, ctx: Context):
        """Raises UserError where networks are to be new, and what is not selected would differ between them."""
        objective = bench.objective
        self.name, self.settings = name, settings
        self.layout, self.task, self.split, self.ctx = zoo.layout, objective.task, objective.split, ctx
        self.base = copy.deepcopy(objective.model).to(ctx.device)
        self.base.load_state_dict(zoo.anchor)
        self.begins = "one"
        self.start: Callable[[int], nn.Module] = lambda run: self.base
        if start == "new":
            asked, instead = "method.start = 'new'", "method.start = 'base'"
            self.start = independent(self.base, self.layout, bench, ctx, asked, instead)
            self.begins = begins(self.base, self.layout, bench, ctx)
        self.per_epoch = epoch_length(len(self.split), settings.batch_size, self.model())

    def seed(self, run: int) -> int:
        """Return a training's seed."""
        return derive(self.ctx.seed, "run", run)

    def factor(self, step: int) -> float:
        """Return the factor on the learning rate, which falls epoch by epoch."""
        return SCHEDULES[self.settings.schedule](self.settings.epochs)(step // self.per_epoch)

    @property
    def steps(self) -> int:
        """Of each training."""
        return self.settings.epochs * self.per_epoch

    @property
    def examples(self) -> int:
        """That each training reads."""
        return self.settings.epochs * len(self.split)

    def model(self, run: int | None = None) -> nn.Module:
        """Return a network in the mode of training, as the run begins with it; by default the base network."""
        model = copy.deepcopy(self.base) if run is None else copy.deepcopy(self.start(run)).to(self.ctx.device)
        return in_mode(model, self.layout)

    def facts(self, count: int, networks: int) -> dict[str, Any]:
        """Return what so many trainings cost, and how many networks are left of them."""
        own = {"examples": count * self.examples, "each": self.examples, "networks": networks}
        return own | {"begins": self.begins}


def in_mode(model: nn.Module, layout: Layout) -> nn.Module:
    """Return a network in the mode of training; BatchNorm whose statistics are not selected keeps to those it has.

    They are the base network's when it is run, so that one which learnt by a batch's would be run with others.
    """
    keys = set(layout.keys)
    for name, norm in in_training(model).named_modules():
        frozen = isinstance(norm, _BatchNorm) and norm.track_running_stats
        if frozen and f"{name}.running_mean".removeprefix(".") not in keys:
            norm.eval()
    return model


def one(trainings: Trainings) -> Trained:
    """Return the network of a training. Raises UserError where it diverges."""
    model, ctx = trainings.model(0), trainings.ctx
    log = plainly(trainings, model, ctx.replace(seed=trainings.seed(0)))
    theta_1D = trainings.layout.vector(model.state_dict())[None]
    converged(finite_rows(theta_1D).tolist(), trainings.settings.lr, ctx, trainings.name, "its lr")
    return Trained(theta_1D, log, trainings.facts(1, 1))


def several(trainings: Trainings, count: int) -> Trained:
    """Return the networks of so many trainings, those that diverged left out."""
    try:
        theta_KD, finite = _together(trainings, count)
    except NotTogether as why:
        trainings.ctx.progress.detail(f"{trainings.name}: networks are trained one after the other ({why})")
        theta_KD, finite = _in_turn(trainings, count)
    ctx = trainings.ctx
    runs = converged(finite, trainings.settings.lr, ctx, trainings.name, "its lr")
    return Trained(take(theta_KD, runs, ctx.snapshot.folder), facts=trainings.facts(count, len(runs)))


def _together(trainings: Trainings, count: int) -> tuple[Tensor, list[bool]]:
    """Return theta_KD of networks trained as one, and which are finite. Raises NotTogether where they cannot be."""
    settings, ctx, model = trainings.settings, trainings.ctx, trainings.model()
    options = Seeds(
        count=2, steps=trainings.steps, lr=settings.lr, weight_decay=settings.weight_decay,
        batch_size=settings.batch_size, optimizer=settings.optimizer, schedule=settings.schedule,
        augment=changes(trainings.split),
    )  # fmt: skip
    examples = Examples(trainings.split, options, model, ctx, count)
    group = _at_once(Network(model, trainings.layout, trainings.task, ctx), examples)
    training = JointTraining(
        options.model_copy(update={"group": group}), count, [trainings.steps], trainings.start, model, examples,
        trainings.task, trainings.layout, ctx, trainings.name, trainings.factor, BLOCK,
    )  # fmt: skip
    theta_RSD, losses_RS = training.run()
    return theta_RSD[:, 0], (finite_rows(theta_RSD[:, 0]) & losses_RS[:, 0].isfinite()).tolist()


def _at_once(network: Network, examples: Examples) -> int:
    """Return how many networks memory holds. Raises NotTogether where they are too few for a block."""
    each = 4 * network.dim + 2 * examples.batch_size * network.numbers(examples.first)
    kind = network.ctx.device.type
    count = AT_ONCE.get(kind, AT_ONCE["cpu"]) // each
    if count < (SMALLEST_BLOCK if kind == "cpu" else 2):
        raise NotTogether("large networks are trained one after the other")
    return min(count, 64)


def _in_turn(trainings: Trainings, count: int) -> tuple[Tensor, list[bool]]:
    """Return theta_KD of networks trained one after the other, and which are finite; goes on from snapshots."""
    ctx = trainings.ctx.replace(snapshot=trainings.ctx.snapshot.scope("turn"))
    theta_KD, steps = ctx.snapshot.rows(count, trainings.layout.dim), trainings.steps
    identity = [count, trainings.layout.dim, steps, list(trainings.settings)]
    _, state = ctx.snapshot.load() or ({}, {})
    finite: list[bool] = state["finite"] if state.get("of") == identity else []
    with ctx.progress.step(trainings.name, count * steps, len(finite) * steps) as bar:
        for run in range(len(finite), count):
            own = ctx.snapshot.scope(str(run))
            within = ctx.replace(seed=trainings.seed(run), snapshot=own, progress=Within(ctx.progress, bar))
            model = trainings.model(run)
            finite.append(_finite(trainings, model, within))
            theta_KD[run] = trainings.layout.vector(model.state_dict())
            sync(theta_KD)
            ctx.snapshot.save({"of": torch.zeros(1)}, {"of": identity, "finite": finite})
            if own.path:
                own.path.unlink(missing_ok=True)
    return theta_KD, finite


def _finite(trainings: Trainings, model: nn.Module, ctx: Context) -> bool:
    """Train a network in place, and return whether it did not diverge."""
    try:
        plainly(trainings, model, ctx)
    except Diverged:
        return False
    return all(bool(value.isfinite().all()) for value in model.state_dict().values())


def plainly(trainings: Trainings, model: nn.Module, ctx: Context) -> list[dict[str, float]]:
    """Train a network in place as the base network is, and return the log; the context's seed is the training's."""
    for key, parameter in model.named_parameters(remove_duplicate=False):
        parameter.requires_grad_(key in trainings.layout.keys)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError("selector: names no trainable parameter (buffers alone do not learn); select some")
    settings, split = trainings.settings, trainings.split
    model = placed(model, ctx.device)

    def draw(step: int, generator: torch.Generator) -> Batch:
        index = epoch_order(len(split), settings.batch_size, step, ctx.seed, trainings.per_epoch)
        return split.batch(index, ctx.device, generator)

    def loss(*batch: Any) -> Tensor:
        return trainings.task.loss(model, Batch(*batch))

    return train(
        model, loss, steps=trainings.steps, ctx=ctx, what=trainings.name, lr=settings.lr, optimizer=settings.optimizer,
        weight_decay=settings.weight_decay, schedule=trainings.factor, draw=draw,
    )  # fmt: skip


class Within(Progress):
    """The steps of one training, on a bar that is open for all of them."""

    def __init__(self, inner: Progress, bar: Step):
        self.inner, self.bar = inner, bar

    @contextmanager
    def step(self, what: str, total: int, done: int = 0) -> Iterator[Step]:
        if done:
            self.bar.advance(done)
        yield self.bar

    def say(self, line: str) -> None:
        self.inner.say(line)

    def detail(self, line: str) -> None:
        self.inner.detail(line)
