"""Fitting and sampling of networks that are functions of a condition.

B, M networks, C condition, D selected parameters, G tasks of a step, K directions, N checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.bench import Bench
from pdiff.components import Family, Generator
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.files import below
from pdiff.mapped import LARGE, Touched
from pdiff.running.memory import free_bytes
from pdiff.training.loop import threads_for, train
from pdiff.zoo import Zoo, about
from pdiff_plugins.adapters.products.loss import Products
from pdiff_plugins.batches import at_most
from pdiff_plugins.conditions.generated.methods import ByTask, Hypernetwork, Multitask
from pdiff_plugins.conditions.generated.modules import Conditioned, InBasis, PerClass, Shifts, Whole
from pdiff_plugins.conditions.generated.places import biases, directions, rows_of_classes
from pdiff_plugins.conditions.generated.teachers import Tasks, Teacher, Weights
from pdiff_plugins.latent.space import curve, normalised
from pdiff_plugins.maths import normalise
from pdiff_plugins.maths.normalise import Normaliser
from pdiff_plugins.maths.schedules import rising_cosine

SMALL = 1_000_000
"""Weights below which many networks at once are computed the quickest by one thread, however large what writes them."""
COPIES = 5
"""Of each weight while it learns: itself, its gradient, two moments, and its average."""


class Written(Generator):
    """Networks written from conditions."""

    conditional = True

    def __init__(self, module: Conditioned, zoo: Zoo, facts: Any = None, log: Any = None):
        super().__init__(log, facts)
        self.module, self.layout, self.condition_NC = module.eval(), zoo.layout, zoo.condition_NC

    @torch.no_grad()
    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        if condition_MC is None:
            condition_MC = self._drawn(count, ctx)
        module, theta_MD = self.module.to(ctx.device), ctx.empty(count, self.layout.dim)
        touched, at_once = Touched(theta_MD), max(1, LARGE // (8 * self.layout.dim))
        with threads_for(module, ctx.threads):
            for condition_BC, into_BD in zip(condition_MC.split(at_once), theta_MD.split(at_once), strict=True):
                into_BD.copy_(self.layout.from_free(module(condition_BC.to(ctx.device))))
                touched(into_BD)
        return theta_MD

    def _drawn(self, count: int, ctx: Context) -> Tensor:
        assert self.condition_NC is not None
        return self.condition_NC[torch.randint(len(self.condition_NC), (count,), generator=ctx.generator("conditions"))]

    def tensors(self) -> dict[str, Tensor]:
        return {f"module.{key}": value for key, value in self.module.state_dict().items()}


def fit(method: ByTask, zoo: Zoo, bench: Bench, ctx: Context) -> Written:
    """Train the function from conditions to networks. Raises UserError where the zoo or the task does not suit it."""
    if zoo.condition_NC is None:
        raise UserError(f"method {method.name}: needs conditions; write an [encoder] table, such as name = 'bits'")
    _check_room(method, zoo.layout.dim, ctx)
    torch.manual_seed(ctx.seed)
    module = _module(method, zoo.condition_NC.shape[1], zoo, bench)
    normaliser = normalise.per_column(zoo)
    if _around_base(method):
        normaliser.mean = zoo.layout.to_free(zoo.base)
    teacher = _teacher(method, zoo, normaliser, bench, ctx)
    module.begin(normaliser.mean, normaliser.scale * teacher.taught_D, zoo.condition_NC)
    if isinstance(module, InBasis):
        directions(normalised(normaliser, zoo.theta_ND, ctx), module.basis_KD.data)
    module.to(ctx.device).train()
    size = at_most("method.tasks", method.tasks, len(zoo), ctx.warn)
    told_RC = _told(method, zoo, bench).to(ctx.device)

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, Any]:
        rows_G = torch.randperm(len(zoo), generator=generator)[:size]
        drawn = teacher.draw(rows_G, generator)
        telling_G = torch.randint(len(told_RC) // len(zoo), (size,), generator=generator)
        return rows_G + len(zoo) * telling_G, drawn

    def loss(told_G: Tensor, drawn: Any) -> Tensor:
        return teacher.loss(module(told_RC[told_G]).float(), drawn)

    if _count(bench.objective.model) < SMALL:
        ctx = ctx.replace(threads=ctx.threads or 1)
    log = train(
        module, loss, steps=method.steps, ctx=ctx, what=method.name, lr=method.lr, weight_decay=method.weight_decay,
        ema=method.ema, draw=draw, schedule=_rising(method),
    )  # fmt: skip
    facts = _facts(method, module, size, bench)
    return Written(module, zoo, {"generated": facts, "examples": facts["examples"]}, curve(log, method.name))


def _rising(method: ByTask) -> str | Callable[[int], float]:
    """Return the cosine, which rises at first where that is asked for."""
    return rising_cosine(method.warmup - 1, method.steps) if method.warmup else "cosine"


def _told(method: ByTask, zoo: Zoo, bench: Bench) -> Tensor:
    """Return the conditions of the zoo, and behind them those of each further telling of its tasks, `[R * N, C]`."""
    told, family = [zoo.condition_NC], bench.objective.task
    if isinstance(family, Family):
        for number in range(1, method.tellings):
            again = [family.again(about(row), number) for row in zoo.rows]
            told.append(bench.encode(again))
    return torch.cat(told)  # type: ignore[arg-type]


def load(method: ByTask, tensors: dict[str, Tensor], zoo: Zoo) -> Written:
    """Rebuild what was fitted."""
    state = below(tensors, "module.")
    columns = next((state[name] for name in ("columns_WR", "columns_S") if name in state), None)
    classes = 1 if columns is None or columns.ndim == 1 else len(columns)
    module = _new(method, classes * len(state["mean_C"]), zoo, columns)
    module.load_state_dict(state)
    return Written(module, zoo)


def _teacher(method: ByTask, zoo: Zoo, normaliser: Normaliser, bench: Bench, ctx: Context) -> Teacher:
    if getattr(method, "loss", "") == "products":
        return Products(zoo, normaliser, ctx)
    if not method.by_task:
        return Weights(zoo, normaliser, ctx)
    family = bench.objective.task
    if not isinstance(family, Family):
        raise UserError(method.no_family(family.name))
    return Tasks(zoo, family, method.batch_size, method.augment, bench, ctx)


def _around_base(method: ByTask) -> bool:
    return not isinstance(method, Hypernetwork) or (method.around == "base" and not method.per_class)


def _module(method: ByTask, condition_dim: int, zoo: Zoo, bench: Bench) -> Conditioned:
    """Return the new module that the options ask for. Raises UserError where the selection does not suit it."""
    columns: Tensor | None = None
    if isinstance(method, Multitask):
        columns = biases(bench.objective.model, zoo.layout, method.into == "first")
    elif isinstance(method, Hypernetwork) and method.per_class:
        columns = rows_of_classes(bench.objective.model, zoo.layout, condition_dim)
    return _new(method, condition_dim, zoo, columns)


def _new(method: ByTask, condition_dim: int, zoo: Zoo, columns: Tensor | None) -> Conditioned:
    """`columns`: of what is written beside what is shared, where there is such."""
    dim, other = zoo.layout.dim, method.module(condition_dim, zoo.layout)
    if other is not None:
        assert isinstance(other, Conditioned)
        return other
    if not isinstance(method, Hypernetwork):
        assert columns is not None
        return Shifts(condition_dim, dim, columns)
    sizes = condition_dim, dim, method.width, method.depth
    if columns is not None:
        return PerClass(*sizes, columns)
    if method.rank:
        return InBasis(*sizes, min(method.rank, len(zoo)), learned=method.basis == "learned")
    return Whole(*sizes)


def _check_room(method: ByTask, dim: int, ctx: Context) -> None:
    """Raise UserError where the layer that writes all weights takes more memory than there is."""
    if not isinstance(method, Hypernetwork) or method.per_class:
        return
    count = dim * (method.rank or method.width + 1)
    needed, free = 4 * COPIES * count, free_bytes(ctx.device)
    if needed > free:
        raise UserError(
            f"method {method.name}: the layer that writes {dim:,} weights has {count:,} itself, which take "
            f"{needed / 2**30:,.1f} GiB to train, and {free / 2**30:,.1f} GiB are free; set method.rank, such as 64, "
            "lower method.width, or select less"
        )


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _facts(method: ByTask, module: nn.Module, size: int, bench: Bench) -> dict[str, Any]:
    facts = {"parameters": _count(module), "network_parameters": _count(bench.objective.model), "steps": method.steps}
    from_zoo = not _around_base(method) or getattr(method, "rank", 0) > 0
    return facts | {
        "examples": method.steps * size * method.batch_size if method.by_task else 0, "of_networks": from_zoo
    }  # fmt: skip
