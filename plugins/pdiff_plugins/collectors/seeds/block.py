"""A block of networks that are trained together: its state, its steps, and what a snapshot holds of it.

Shapes: G networks, S saved steps, T trained parameters, B batch, E examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from pdiff.mapped import sync
from pdiff.training.capture import captured
from pdiff.training.optimizers import optimizer_for
from pdiff_plugins.collectors.seeds.pace import Pace

if TYPE_CHECKING:
    from pdiff_plugins.collectors.seeds.training import JointTraining

SHOW_EVERY = 10
"""Steps between two values on the progress bar."""


class Block:
    """Runs that are trained together: `first` and those after it."""

    def __init__(self, training: JointTraining, first: int):
        self.training, self.options, self.ctx = training, training.options, training.ctx
        self.last = training.saved[-1]
        self.numbers = range(first, first + training.block_size)
        self.runs = min(len(self.numbers), training.count - first)
        """Those that are asked for; the others only fill the block."""
        rows = slice(first, self.numbers.stop)
        self.theta_GSD, self.losses_GS = training.theta_RSD[rows], training.losses_RS[rows]
        own = training.own
        self.pace = Pace([own(run) for run in self.numbers], self.options, self.ctx.device) if own else None
        self.column = {step: column for column, step in enumerate(training.saved)}
        self.snapshot = training.snapshot.scope(str(first))
        self.step, self.since, self.epoch = 0, 0, -1
        self.restored = self._load()
        self.shown = self.step

    @torch.no_grad()
    def train(self, bar: Any) -> None:
        """Train to the end, or until the training is stopped."""
        if self.step == self.last:
            return
        self._begin()
        update = captured(self._update, self.ctx.device, self.ctx.graphs, self.ctx.warn, self.optimizer.zero_grad)
        for step in range(self.step, self.last):
            if self.training.stopped.is_set():
                return
            self._set_rate(self.options.lr * self.training.factor(step))
            if self.pace:
                self.pace.at(step)
            losses_G = update(*self._batch(step))
            self.total_G += losses_G * self.pace.trained_G if self.pace else losses_G
            self.step, self.since = step + 1, self.since + 1
            self._keep()
            self._show(bar, losses_G)
            if self.snapshot.due() or self.step == self.last:
                self._save()
        del self.theta_GT, self.cut_GT, self.buffers, self.optimizer

    def _begin(self) -> None:
        with self.training.lock:  # building a network seeds torch's global generator
            models = [self.training.start(run) for run in self.numbers]
        self.theta_GT, self.buffers = self.training.network.stacked(models)
        self.cut_GT = self.training.cut(self.numbers)
        self._cut()
        self.total_G = torch.zeros(len(models), dtype=torch.float64, device=self.ctx.device)
        decay = 0.0 if self.pace else self.options.weight_decay
        self.optimizer = optimizer_for(self.options.optimizer, [self.theta_GT], self.options.lr, decay)
        if self.restored:
            self._restore(self.restored)
        else:
            self._keep()

    def _cut(self) -> None:
        if self.cut_GT is not None:
            self.theta_GT.masked_fill_(self.cut_GT, 0.0)

    def _set_rate(self, lr: float) -> None:
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr

    def _batch(self, step: int) -> list[Tensor]:
        examples, (epoch, position) = self.training.examples, divmod(step, self.training.examples.per_epoch)
        if epoch != self.epoch:
            self.epoch, self.order_GE = epoch, examples.orders(epoch, self.numbers)
        begin = position * examples.batch_size
        end = begin + examples.batch_size if position + 1 < examples.per_epoch else None
        batch = examples.batch(self.order_GE[:, begin:end], step, self.numbers)
        tensors, self.form = pytree.tree_flatten(batch)
        return tensors

    def _update(self, *tensors: Tensor) -> Tensor:
        """Make one step with all networks, on the tensors of a batch, and return their losses, `[G]`."""
        batch = pytree.tree_unflatten(tensors, self.form)
        step = self.training.step_for(batch, self.theta_GT, self.buffers)
        self.theta_GT.grad, losses_G, *buffers = step(self.theta_GT, *tensors, *self.buffers)
        for buffer, new in zip(self.buffers, buffers, strict=True):
            buffer.copy_(self.pace.kept(buffer, new) if self.pace else new)
        if self.pace:
            self.pace.step(self.theta_GT, self.optimizer)
        else:
            self.optimizer.step()
        self._cut()
        return losses_G

    def _keep(self) -> None:
        column = self.column.get(self.step)
        if column is not None:
            self.theta_GSD[:, column] = self.training.network.vectors(self.theta_GT, self.buffers)
            steps = self.pace.counted(self.step - self.since, self.step) if self.pace else self.since
            self.losses_GS[:, column] = self.total_G.cpu() / steps  # 0 / 0 at step 0: there is no loss yet
            self.total_G.zero_()
            self.since = 0

    def _show(self, bar: Any, losses_G: Tensor) -> None:
        if self.step % SHOW_EVERY == 0 or self.step == self.last:
            with self.training.lock:
                bar.advance(self.runs * (self.step - self.shown), loss=float(losses_G[: self.runs].nanmean()))
            self.shown = self.step

    def _identity(self) -> list[Any]:
        known = [list(self.training.network.shapes), self.training.saved, self.options.identity()]
        own = [[[*one[:3], *one.others] for one in self.pace.own]] if self.pace else []
        return [*self.theta_GSD.shape, *known, *own]

    def _saved_columns(self) -> int:
        return sum(step <= self.step for step in self.column)

    def _save(self) -> None:
        saved = self._saved_columns()
        sync(self.training.theta_RSD)
        tensors = {"losses": self.losses_GS[:, :saved]}
        if self.step < self.last:
            tensors |= {"theta": self.theta_GT, "total": self.total_G}
            tensors |= {f"buffer/{number}": buffer for number, buffer in enumerate(self.buffers)}
            tensors |= {f"optimizer/{key}": value for key, value in self._moments().items()}
        state = {"of": self._identity(), "step": self.step, "since": self.since}
        self.snapshot.save({key: value.contiguous() for key, value in tensors.items()}, state)

    def _moments(self) -> dict[str, Tensor]:
        state = self.optimizer.state_dict()["state"].get(0, {})
        return {key: value for key, value in state.items() if isinstance(value, Tensor)}

    def _load(self) -> Mapping[str, Tensor]:
        """Take over what a snapshot of this block holds, and return what training goes on with."""
        tensors, state = self.snapshot.load() or ({}, {})
        if state.get("of") != self._identity():
            return {}
        self.step, self.since = state["step"], state["since"]
        self.losses_GS[:, : self._saved_columns()] = tensors.pop("losses")
        return {key: value.clone() for key, value in tensors.items()}

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.theta_GT.copy_(tensors["theta"])
        self.total_G.copy_(tensors["total"])
        for number, buffer in enumerate(self.buffers):
            buffer.copy_(tensors[f"buffer/{number}"])
        moments = {key.removeprefix("optimizer/"): value for key, value in tensors.items() if "optimizer/" in key}
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": {0: moments}, "param_groups": groups})
