"""Training many networks of one architecture at once, each from its own seed.

The step of a block of networks is one graph, so that the overhead of Python and autograd is paid once per block and
not once per network; every CPU core trains a block of its own.

A network's bits must not depend on how many are trained with it. Kernels give the same bits for the same shapes only:
among other numbers of networks a vector loop may end elsewhere, or a sum be cut elsewhere. So on a CPU a block's size
follows from the network and the batch alone, a run's place in it from its number, and one thread computes it; the last
block is trained full, and then cut.

Shapes: R runs, G networks of a block, S saved steps, T trained and D selected parameters, B batch, E examples.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from pdiff.context import Context, derive
from pdiff.data import Batch, Split, TensorSplit, each, evaluation_batches, leaves
from pdiff.errors import UserError
from pdiff.mapped import finite_rows
from pdiff.running.device import sent
from pdiff.running.ranks import exchange, here, leader_first, own_rows, world
from pdiff.training.loop import epoch_length, epoch_order, threads_for
from pdiff.training.optimizers import SCHEDULES
from pdiff_plugins.collectors.seeds.block import Block
from pdiff_plugins.collectors.seeds.network import Network, Step
from pdiff_plugins.collectors.seeds.pace import Own

if TYPE_CHECKING:
    from pdiff.components import Task
    from pdiff.zoo import Layout
    from pdiff_plugins.collectors.seeds.options import TrainedTogether

BLOCK_NUMBERS = 3 * 2**20
"""What the layers of a block on a CPU compute in a step: more leaves the caches, less is mostly overhead."""
SMALLEST_BLOCK, LARGEST_BLOCK = 8, 64
READY_BYTES = 2**30
"""Of prepared examples, up to which they are kept on the device."""


class Batches(Protocol):
    """What runs are trained on; G runs are asked for by their numbers."""

    batch_size: int
    per_epoch: int
    first: Batch
    """Of one example, for its shapes."""

    def orders(self, epoch: int, runs: Sequence[int]) -> Tensor:
        """Return each run's order of the examples in an epoch, `[G, E]`."""
        ...

    def batch(self, index_GB: Tensor, step: int, runs: Sequence[int]) -> Batch:
        """Return the runs' batches, `[G, B, ...]`."""
        ...


class Examples:
    """The training examples of many runs, each in its own order."""

    def __init__(
        self, split: Split, options: TrainedTogether, model: nn.Module, ctx: Context, runs: int | None = None
    ):  # fmt: skip
        """`model` is in the mode of training: of one example BatchNorm would learn nothing (see `epoch_length`).

        `runs`: that are asked for; those behind them only fill a block, and need no transform of their own.
        """
        self.split, self.augment, self.device, self.ctx = split, options.augment, ctx.device, ctx
        self.runs = runs
        self.count, self.batch_size = len(split), min(options.batch_size, len(split))
        self.per_epoch = epoch_length(self.count, self.batch_size, model)
        self.first = split.batch(torch.arange(1), ctx.device)
        self.ready = None if self.augment else ready(split, ctx.device)

    def orders(self, epoch: int, runs: Sequence[int]) -> Tensor:
        """Return each run's order of the examples in an epoch, `[G, E]`: that of `epoch_order` with the run's seed."""
        return torch.stack([epoch_order(self.count, self.count, epoch, self.seed(run)) for run in runs])

    def seed(self, run: int) -> int:
        """Return a run's seed."""
        return derive(self.ctx.seed, "run", run)

    def batch(self, index_GB: Tensor, step: int, runs: Sequence[int]) -> Batch:
        """Return the runs' batches, `[G, B, ...]`."""
        if self.ready is not None:
            index_GB = sent(index_GB, self.device)
            return Batch(*each(lambda values: values[index_GB], (self.ready.inputs, self.ready.targets)))
        if not self.augment:
            return batches_of(self.split, index_GB, self.device)
        batches: list[Batch] = []
        for index_B, run in zip(index_GB, runs, strict=True):
            if self.runs is not None and run >= self.runs:
                batches.append(batches[0])
                continue
            generator = torch.Generator().manual_seed(derive(self.seed(run), "step", step))
            batches.append(self.split.batch(index_B, self.device, generator))
        return stacked(batches)


class JointTraining:
    """Trains so many runs; `start(run)` returns the network that a run begins with."""

    def __init__(
        self, options: TrainedTogether, count: int, saved: Sequence[int], start: Callable[[int], nn.Module],
        model: nn.Module, examples: Batches, task: Task, layout: Layout, ctx: Context, what: str = "collect",
        factor: Callable[[int], float] | None = None, largest: int = 0, own: Callable[[int], Own] | None = None,
        bits: int = 0,
    ):  # fmt: skip
        """`model` holds what is frozen, and is in the mode of training.

        Args:
            saved: steps after which networks are kept, the last of them the last.
            what: names the training, on its bar and in what is told.
            factor: on the rate, by step; None: as the options' schedule has it, step by step.
            largest: networks of a block on a CPU at most, a power of 2; 0: `LARGEST_BLOCK`.
            own: of a run, also of those that fill the last block, what it has instead of the options' rate, decay and
                length: at most `options.lr`, and the last saved step. The schedule is then that of its own length.
            bits: of a matrix's weight, in the loss and as it is kept; 0: any float.

        Raises UserError where the selection holds nothing to train, and NotTogether for complex parameters.
        """
        self.options, self.count, self.saved, self.start, self.ctx = options, count, list(saved), start, ctx
        self.what, self.largest = what, largest or LARGEST_BLOCK
        self.network, self.examples = Network(model, layout, task, ctx, what, bits), examples
        self.mask_RD: Tensor | None = None
        """Which numbers runs keep, bool, or `[1, D]` for all alike; the others are and stay zero."""
        self.factor = factor or SCHEDULES["constant" if own else options.schedule](self.saved[-1])
        self.own = own
        self.lock, self.stopped = threading.Lock(), threading.Event()
        self.block_size = self._block_size()
        blocks = math.ceil(count / self.block_size)
        runs, columns = blocks * self.block_size, len(self.saved)
        self.snapshot = ctx.snapshot.shared() if blocks >= world() else ctx.snapshot  # else each trains them all
        if world() > 1 and world() != here():
            raise UserError("collect: processes of several machines cannot share a zoo's rows; use those of one")
        with leader_first():
            theta = self.snapshot.rows(runs * columns, layout.dim)
        self.theta_RSD = theta.view(runs, columns, layout.dim)
        self.losses_RS = torch.empty(self.theta_RSD.shape[:2], dtype=torch.float64)
        self.steps: dict[int, Step] = {}

    def _block_size(self) -> int:
        if self.ctx.device.type != "cpu":
            return min(self.options.group, self.count)
        each = self.network.dim + self.examples.batch_size * self.network.numbers(self.examples.first)
        return min(max(2 ** int(math.log2(max(BLOCK_NUMBERS / each, 1))), SMALLEST_BLOCK), self.largest)

    def run(self) -> tuple[Tensor, Tensor]:
        """Return theta_RSD, and the mean loss of the batches since the saved step before (NaN: none), float64 `[R, S]`.

        Goes on from the snapshots. Raises NotTogether for networks that cannot be trained as one.
        """
        cpu = self.ctx.device.type == "cpu"
        with threads_for(self.network.model, 1 if cpu else self.ctx.threads):
            firsts = range(0, len(self.theta_RSD), self.block_size)
            mine = own_rows(len(firsts))
            blocks = [Block(self, first) for first in firsts[mine]]
            self._train(blocks, workers=self._cores() if cpu else 1)
        exchange(self.losses_RS.view(len(firsts), -1))
        return self.theta_RSD[: self.count], self.losses_RS[: self.count]

    def _cores(self) -> int:
        cores = self.ctx.threads or max(1, (os.cpu_count() or 1) // here())
        return max(1, min(cores, self.options.group // self.block_size))

    def _train(self, blocks: list[Block], workers: int) -> None:
        done = sum(block.runs * block.step for block in blocks)
        pool = ThreadPoolExecutor(workers, initializer=enter, initargs=(torch.get_num_threads(), self.ctx.device))
        with pool, self.ctx.progress.step(self.what, self.count * self.saved[-1], done) as bar:
            try:
                for future in [pool.submit(block.train, bar) for block in blocks]:
                    future.result()
            except BaseException:
                self.stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def cut(self, runs: Sequence[int]) -> Tensor | None:
        """Return which trained parameters of runs are zero, bool `[G, T]`; None: each is what it is."""
        if self.mask_RD is None:
            return None
        return ~self.network.trained(self.mask_RD[[min(run, len(self.mask_RD) - 1) for run in runs]])

    def step_for(self, batch: Batch, theta_GT: Tensor, buffers: list[Tensor]) -> Step:
        """Return the traced step for batches of this length."""
        length = batch.targets.shape[1]
        with self.lock:
            if length not in self.steps:
                self.steps[length] = self.network.trace(batch, theta_GT, buffers)
            return self.steps[length]


def ready(split: Split, device: torch.device) -> TensorSplit | None:
    """Return a split whose examples are prepared, on the device; None where they are too large."""
    first = split.batch(torch.arange(1), device)
    if len(split) * sum(x.nbytes for x in leaves(first.inputs)) > READY_BYTES:
        return None
    batches = evaluation_batches(split, 1024, device)
    return TensorSplit(*each(lambda *parts: torch.cat(parts), *map(tuple, batches)))


def batches_of(split: Split, index_GB: Tensor, device: torch.device) -> Batch:
    """Return each network's examples of a split, as they are evaluated, `[G, B, ...]`, given by their numbers."""
    flat = split.batch(index_GB.flatten().cpu(), device)
    return Batch(*each(lambda values: values.unflatten(0, index_GB.shape), tuple(flat)))


def finite_runs(training: JointTraining, theta_RSD: Tensor, losses_RS: Tensor) -> list[int]:
    """Return the runs that did not diverge. Raises UserError where of several there are not two."""
    finite = finite_rows(theta_RSD.flatten(0, 1)).view(theta_RSD.shape[:2]).all(dim=1)
    finite &= losses_RS[:, training.saved[0] == 0 :].isfinite().all(dim=1)
    return converged(finite.tolist(), training.options.lr, training.ctx)


def converged(
    finite: Sequence[bool], lr: float, ctx: Context, what: str = "collect", rate: str = "collect.lr"
) -> list[int]:
    """Return the numbers of the runs that are finite, and warn of others. Raises UserError, as `finite_runs`."""
    runs, count = [run for run, good in enumerate(finite) if good], len(finite)
    lost = f"{count - len(runs)} of {count} runs diverged (loss or parameters not finite)"
    if len(runs) < min(count, 2):
        raise UserError(f"{what}: {lost}, at least {min(count, 2)} must not; lower {rate} (it is {lr:.3g})")
    if len(runs) < count:
        ctx.warn(f"{what}: {lost} and are left out; a lower {rate} (it is {lr:.3g}) would keep them")
    return runs


def changes(split: Split) -> bool:
    """Return whether the training transform changes examples at all."""
    index, cpu = torch.arange(min(len(split), 64)), torch.device("cpu")
    drawn, plain = split.batch(index, cpu, torch.Generator().manual_seed(0)), split.batch(index, cpu)
    pairs = zip(leaves(tuple(drawn)), leaves(tuple(plain)), strict=True)
    return not all(torch.equal(one, other) for one, other in pairs)


def stacked(batches: Sequence[Batch]) -> Batch:
    """Return batches of one form and length as one, `[G, B, ...]`."""
    return Batch(*each(lambda *values: torch.stack(values), *map(tuple, batches)))


def enter(threads: int, device: torch.device) -> None:
    """Begin a thread that trains blocks: torch's settings of threads and devices are each thread's own."""
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
