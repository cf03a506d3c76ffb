"""The training loop: written once, used for base networks, trajectories, codecs and denoisers.

Every step is a pure function of (seed, step, state), so a run that was killed goes on to the same bytes.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

from pdiff.context import Context, derive
from pdiff.errors import UserError
from pdiff.files import below
from pdiff.running.device import seed_torch, sent, steady_attention
from pdiff.training.capture import captured
from pdiff.training.optimizers import SCHEDULES, optimizer_for
from pdiff.training.shares import Whole, full, like, shares_for

Draw = Callable[[int, torch.Generator], tuple[Any, ...]]
Loss = Callable[..., Tensor]
LOG_ROWS = 200
SMALL_NETWORK = 1_000_000
ALONE = "Expected more than 1 value per channel when training"
"""What torch says where BatchNorm is to take the spread of one number."""


class Diverged(UserError):
    """The loss is not finite."""


class Observer(Protocol):
    """Sees every step, and keeps something that must survive a kill."""

    def after(self, step: int) -> dict[str, float]:
        """Called when `step` updates are done; returns values to show."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Return what must survive a kill."""
        ...

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take what `tensors` gave before the kill."""
        ...


def train(
    module: nn.Module,
    loss: Loss,
    *,
    steps: int,
    ctx: Context,
    what: str,
    lr: float,
    optimizer: str = "adamw",
    weight_decay: float = 0.0,
    schedule: str | Callable[[int], float] = "cosine",
    clip: float | None = None,
    ema: float = 0.0,
    observer: Observer | None = None,
    draw: Draw | None = None,
    by_rows: bool = False,
) -> list[dict[str, float]]:
    """Train `module` in place and return the log, at most 200 rows of `step`, `loss`, `lr`.

    Args:
        loss: called as `loss(step, generator)`; the generator is on the CPU and depends on (ctx.seed, step) alone.
            torch's global generator is seeded alike, for dropout.
        draw: with it, `loss` is called with what `draw(step, generator)` gives: tensors, or tuples and dicts of them,
            moved to the device. It must read nothing else that changes: on CUDA such a step is replayed as one graph
            where shapes are fixed.
        schedule: `cosine` to 0 step by step, `constant`, or the factor on `lr` as a function of the step.
        ema: decay of an exponential moving average of the weights, which `module` holds at the end (0: none).
            The decay is warmed up as (1 + step) / (10 + step).
        by_rows: `draw` gives tensors of one row per example, and `loss` is the mean over the examples, each taken by
            itself: several ranks may then share a step out.

    Raises:
        Diverged: when the loss is not finite.
        UserError: when a step holds too few examples for BatchNorm.
    """
    shares = shares_for(module, ctx, by_rows)
    loop = _Loop(module, ctx, lr, optimizer, weight_decay, ema, observer, identity=[what, steps, optimizer, bool(ema)])
    factor = schedule if callable(schedule) else SCHEDULES[schedule](steps)
    start = loop.resume()
    shares.begins(start)
    every = max(1, steps // LOG_ROWS)
    form: Any = None

    def update(*inputs: Any) -> Tensor:
        half = torch.autocast(ctx.device.type, torch.bfloat16, enabled=ctx.precision == "bfloat16")
        with half, steady_attention(ctx.device), enough_for_batch_norm(what):
            value = loss(*pytree.tree_unflatten(inputs, form))
        value = shares.backward(value, loop.parameters)
        loop.update(clip)
        return value

    graphs = ctx.graphs and type(shares) is Whole
    fixed = captured(update, ctx.device, graphs, ctx.warn, undo=loop.optimizer.zero_grad)

    def drawn_at(step: int) -> list[Any]:
        nonlocal form
        generator = torch.Generator().manual_seed(derive(ctx.seed, "step", step))
        values, form = pytree.tree_flatten(tuple(draw(step, generator)) if draw else (step, generator))
        return values

    with threads_for(module, ctx.threads), ctx.progress.step(what, steps, start) as bar:
        for step, drawn in zip(range(start, steps), ahead(drawn_at, start, steps, ctx.device), strict=True):
            inputs = shares.part(drawn)
            seed_torch(derive(ctx.seed, "global", step), ctx.device)
            loop.set_rate(lr * factor(step), step)
            if all(isinstance(value, Tensor) for value in inputs):
                value = fixed(*[sent(tensor, ctx.device) for tensor in inputs])
            else:
                value = update(*inputs)
            loop.pending.append(value)
            shown = observer.after(step + 1) if observer else {}
            if (step + 1) % every == 0 or step + 1 == steps:
                loop.write_row(step + 1, lr * factor(step), what)
                shown = {"loss": loop.log[-1]["loss"]} | shown
            bar.advance(1, **shown)
            if shares.due(ctx.snapshot):
                loop.save(step + 1)
    if loop.average is not None:
        module.load_state_dict(loop.average)
    shares.end()
    return loop.log


def ahead(make: Callable[[int], Any], start: int, stop: int, device: torch.device) -> Iterator[Any]:
    """Yield `make(step)`, some values, for every step in turn.

    For a CUDA device they are made two steps ahead, in a thread, and tensors in pinned memory: the device never waits.
    """
    if device.type != "cuda":
        yield from map(make, range(start, stop))
        return

    def pinned(step: int) -> list[Any]:
        return [v.contiguous().pin_memory() if isinstance(v, Tensor) and not v.is_cuda else v for v in make(step)]

    here = torch.cuda.current_stream(device)  # the thread's work is done in the same order as this one's
    with ThreadPoolExecutor(1, initializer=torch.cuda.set_stream, initargs=(here,)) as pool:
        coming = deque(pool.submit(pinned, step) for step in range(start, min(start + 2, stop)))
        for step in range(start, stop):
            if step + 2 < stop:
                coming.append(pool.submit(pinned, step + 2))
            yield coming.popleft().result()


class _Loop:
    """The state of one training run: what a snapshot holds."""

    def __init__(
        self,
        module: nn.Module,
        ctx: Context,
        lr: float,
        optimizer: str,
        decay: float,
        ema: float,
        observer: Any,
        identity: list[Any],
    ):
        self.identity = [*identity, {key: list(value.shape) for key, value in module.state_dict().items()}]
        self.module, self.ctx, self.ema, self.observer = module, ctx, ema, observer
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = optimizer_for(optimizer, list[Tensor](self.parameters), lr, decay)
        self.average = {k: v.detach().clone() for k, v in module.state_dict().items()} if ema else None
        self.move: float | Tensor = 0.0 if ctx.device.type != "cuda" else torch.zeros((), device=ctx.device)
        """How far the average moves towards the weights; as a tensor, a captured step reads that of the day."""
        self.log: list[dict[str, float]] = []
        self.pending: list[Tensor] = []

    def set_rate(self, lr: float, step: int) -> None:
        """Set what changes from step to step, counted from 0."""
        for group in self.optimizer.param_groups:
            group["lr"] = _set(group["lr"], lr)
        self.move = _set(self.move, 1 - min(self.ema, (1 + step) / (10 + step)))

    def update(self, clip: float | None) -> None:
        if clip:
            nn.utils.clip_grad_norm_(self.parameters, clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)  # not before: gradients would live through the next forward pass
        self.average_weights()

    @torch.no_grad()
    def average_weights(self) -> None:
        """Move the average towards the weights."""
        if self.average is None:
            return
        state = self.module.state_dict()
        floats = [key for key, value in state.items() if value.is_floating_point()]
        before, now = [self.average[key] for key in floats], [state[key] for key in floats]
        if isinstance(self.move, Tensor):  # lerp takes no such
            change = torch._foreach_sub(now, before)
            torch._foreach_mul_(change, self.move)
            torch._foreach_add_(before, change)
        else:
            torch._foreach_lerp_(before, now, self.move)
        for key in state.keys() - set(floats):
            self.average[key].copy_(state[key])

    def write_row(self, step: int, lr: float, what: str) -> None:
        mean = float(torch.stack(self.pending).double().mean())
        if not math.isfinite(mean):
            more = "" if self.ctx.precision == "float32" else ", or run.precision = 'float32'"
            raise Diverged(f"{what}: the loss is not finite at step {step}; try a lower lr (it was {lr:.3g}){more}")
        self.log.append({"step": step, "loss": mean, "lr": lr})
        self.pending = []

    def save(self, step: int) -> None:
        tensors = {f"module/{k}": v for k, v in self.module.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{k}": v for k, v in state.items() if isinstance(v, Tensor)}
        if self.average is not None:
            tensors |= {f"average/{k}": v for k, v in self.average.items()}
        if self.observer:
            tensors |= {f"observer/{k}": v for k, v in self.observer.tensors().items()}
        tensors = {key: full(value) for key, value in tensors.items()}
        pending = torch.stack(self.pending).tolist() if self.pending else []
        self.ctx.snapshot.save(tensors, {"of": self.identity, "step": step, "log": self.log, "pending": pending})

    def resume(self) -> int:
        """Load the snapshot, if there is one, and return the number of steps done."""
        saved = self.ctx.snapshot.load()
        if saved is None:
            return 0
        tensors, state = saved
        if state.get("of") != self.identity:
            self.ctx.progress.say(f"{self.identity[0]}: the snapshot is of another network or setting; starting afresh")
            return 0
        before, now = self.module.state_dict(), below(tensors, "module/")
        self.module.load_state_dict({key: like(value, before[key]) for key, value in now.items()})
        self._restore_optimizer(below(tensors, "optimizer/"))
        if self.average is not None:
            device = next(iter(self.average.values())).device
            self.average = {k: like(v.to(device), before[k]) for k, v in below(tensors, "average/").items()}
        if self.observer:
            self.observer.restore(below(tensors, "observer/"))
        device = self.parameters[0].device
        self.log, self.pending = state["log"], [torch.tensor(v, device=device) for v in state["pending"]]
        return int(state["step"])

    def _restore_optimizer(self, tensors: dict[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for path, value in tensors.items():
            index, name = path.split("/", 1)
            state.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        for parameter, values in self.optimizer.state.items():  # a fused step goes by their order in memory alone
            values.update({k: like(v, parameter) for k, v in values.items()})
            values.update({k: torch.empty_like(parameter).copy_(v) for k, v in values.items() if v.ndim == 4})


def _set(before: float | Tensor, value: float) -> float | Tensor:
    """Return the new value: in place where it is a tensor, because a captured step reads its memory."""
    return before.fill_(value) if isinstance(before, Tensor) else value


@contextlib.contextmanager
def threads_for(module: nn.Module, threads: int = 0) -> Iterator[None]:
    """Set torch's CPU threads: `threads`, or by size, because for small networks one is the quickest.

    The choice depends on nothing that is measured, since another number of threads can change the last bit.
    """
    small = sum(p.numel() for p in module.parameters()) < SMALL_NETWORK
    before = torch.get_num_threads()
    torch.set_num_threads(threads or (1 if small else os.cpu_count() or 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def enough_for_batch_norm(what: str) -> Iterator[None]:
    """Say in one line that a step holds one example, where BatchNorm needs more."""
    try:
        yield
    except ValueError as error:
        if ALONE not in str(error):
            raise
        raise UserError(
            f"{what}: a step of one example, of which BatchNorm learns nothing; raise batch_size, or have more"
        ) from None


def epoch_length(count: int, batch_size: int, model: nn.Module) -> int:
    """Return how many batches make an epoch: the last may be short.

    One example that is left over joins the batch before where BatchNorm is in training mode: of one it learns nothing.
    """
    alone = count % batch_size == 1 and 1 < batch_size < count
    learns = any(isinstance(module, _BatchNorm) and module.training for module in model.modules())
    return math.ceil(count / batch_size) - (alone and learns)


def epoch_order(count: int, batch_size: int, step: int, seed: int, per_epoch: int = 0) -> Tensor:
    """Return the indices of step's batch when `count` examples are shuffled anew each epoch.

    `per_epoch`: see `epoch_length`; the last batch takes what is left. 0: as many as it takes, the last short.
    """
    per_epoch = per_epoch or math.ceil(count / batch_size)
    epoch, position = divmod(step, per_epoch)
    end = (position + 1) * batch_size if position + 1 < per_epoch else count
    return _shuffled(count, derive(seed, "epoch", epoch))[position * batch_size : end]


@functools.lru_cache(maxsize=2)
def _shuffled(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
