"""The way that is quickest for a population: it is tried out."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pdiff.context import Context
from pdiff.data import leaves
from pdiff.networks import entry_of
from pdiff.running.memory import free_bytes
from pdiff.zoo import Layout
from pdiff_plugins.networks.activations import layer_outputs
from pdiff_plugins.populations.parting import Parted, Untraceable
from pdiff_plugins.populations.spying import arguments_of, count_calls
from pdiff_plugins.populations.ways import Prepared, Way

if TYPE_CHECKING:
    from pdiff.way import Predicts

WORTH_S = 5.0
"""Work below which a network is not traced: that takes a second or two."""
QUICK_S = 0.3
"""Work below which nothing is tried."""
TRIAL = 0.05
"""Share of the work that may go into trying how many networks to run at a time."""
FEWEST = 4
"""Networks at a time that are tried first, then four times as many."""
CALLS, LONG_S = 3, 0.2
"""Calls that are timed, and the time after which none is added."""
GAIN = 0.95
"""More networks at a time are tried while one then takes less than this share of the time; one miss is forgiven."""
STEADY_BYTES, STEADY_MOST = 2**26, 64
"""What networks that are run at once may compute, and how many at most, where nothing is tried."""
CLOSE = 1e-3
"""By how much a parted network's output may differ from the whole one's, as a share of the largest value."""


class Chooser:
    """Finds the quickest way for a network, by running some of the population on the first batch.

    `steady`: or takes one by sizes alone. Another way may give other last bits, and which is quickest is chance.
    """

    def __init__(self, model: nn.Module, layout: Layout, task: Predicts, steady: bool = False):
        self.model, self.layout, self.task, self.steady = model, layout, task, steady
        self.parted: dict[Any, Parted | None] = {}
        self.known: dict[Any, tuple[int, Way]] = {}

    def choose(self, theta_MD: Tensor, inputs: Any, batches: int, ctx: Context, what: str) -> Way:
        """Return the way for `batches` batches like `inputs`; what was found for a larger population is used again."""
        whole, count = Way(self.model, self.layout, self.task), len(theta_MD)
        shape = _shape(inputs)
        if self.steady:
            return self._steady(whole, theta_MD, inputs, ctx)
        tried, way = self.known.get(shape, (0, whole))
        if count == 1 or count <= tried:
            return way
        pair = theta_MD[[0, -1]].to(ctx.device)
        batch = whole.prepare(inputs)
        slow = _seconds(whole, pair.split(1), batch)
        if slow * count * batches < QUICK_S:
            return whole
        way, quick, batch = self._in_order(whole, slow, pair, inputs, batch, count * batches)
        if slow * count * batches > WORTH_S and (halves := self._parted(pair, batch.inputs, ctx)):
            parted = replace(way, parted=halves, batch=batch.examples)
            ready = parted.prepare(inputs)
            if (seconds := _seconds(parted, pair.split(1), ready)) < quick:
                way, quick, batch = parted, seconds, ready
        way, quick = self._more_at_once(way, quick, theta_MD, batch, int(TRIAL / 3 * count * batches), ctx)
        self.known[shape] = (count, way)
        if slow * count * batches > WORTH_S:
            ctx.progress.detail(
                f"{what}: {count} networks, {way}: {1e3 * quick:.3g} ms per network and batch "
                f"(whole, one at a time: {1e3 * slow:.3g} ms)"
            )
        return way

    def _in_order(
        self, way: Way, seconds: float, pair_2D: Tensor, inputs: Any, batch: Prepared, calls: int
    ) -> tuple[Way, float, Prepared]:
        """Return the way with images in the order that is quicker on a CPU, its time per network, and the batch."""
        convolves = any(isinstance(module, nn.Conv2d) for module in self.model.modules())
        if pair_2D.is_cuda or not convolves or TRIAL * calls < 2:
            return way, seconds, batch
        last = replace(way, channels_last=True)
        ready = last.prepare(inputs)
        each = _seconds(last, pair_2D.split(1), ready)
        return (last, each, ready) if each <= GAIN * seconds else (way, seconds, batch)

    def _steady(self, whole: Way, theta_MD: Tensor, inputs: Any, ctx: Context) -> Way:
        """Return so many whole networks at once that their activations stay small, or one where that cannot be."""
        batch = whole.prepare(inputs)
        most = min(STEADY_BYTES // max(int(_activations(whole, batch)), 1), STEADY_MOST)
        more = replace(whole, at_once=max(1, int(most)))
        fits = more.at_once > 1 and _try(more, whole, theta_MD[:FEWEST].to(ctx.device), batch) < math.inf
        return more if fits else whole

    def _parted(self, pair_2D: Tensor, inputs: Any, ctx: Context) -> Parted | None:
        """Return the network parted for inputs of this shape and order, or None where that is impossible or useless."""
        shape = _shape(inputs), tuple(leaf.stride() for leaf in leaves(inputs) if isinstance(leaf, Tensor))
        if shape not in self.parted:
            try:
                self.parted[shape] = self._part(pair_2D, inputs)
            except Untraceable as error:
                name = type(self.model).__name__
                ctx.warn(f"{name} is run whole for every network, because its graph cannot be parted ({error})")
                self.parted[shape] = None
        return self.parted[shape]

    def _part(self, pair_2D: Tensor, inputs: Any) -> Parted | None:
        chosen = {id(entry_of(self.model, key)) for key in self.layout.keys}
        if all(id(parameter) in chosen for parameter in self.model.parameters()):
            return None
        arguments = arguments_of(self.task, inputs)
        listed = any(isinstance(argument, list) for argument in arguments)  # images of several sizes, for one
        if listed or not all(isinstance(leaf, Tensor) for leaf in leaves(arguments)):
            raise Untraceable("the task does not hand it plain tensors")
        parted = Parted(self.model, self.layout.keys, arguments)
        self._check(parted, arguments, pair_2D, inputs)
        return parted if parted.shares_work else None

    def _check(self, parted: Parted, arguments: tuple[Any, ...], pair_2D: Tensor, inputs: Any) -> None:
        """Compare outputs for two networks: what a graph does not say would show as another output."""
        frozen, outputs = parted.prefix(*arguments), []
        for theta_D in pair_2D:
            entries = self.layout.tensors(theta_D)
            for key, value in entries.items():
                entry_of(self.model, key).data = value
            outputs.append(self.model(*arguments))
            if not _close(parted.suffix(entries, frozen), outputs[-1]):
                raise Untraceable("parting it changes its output")
        if not _close(parted.suffix(self.layout.tensors(pair_2D[0]), frozen), outputs[0]):
            raise Untraceable("it changes what is frozen")
        if count_calls(self.task, inputs, outputs[0]) != 1:
            raise Untraceable("the task does not call it exactly once, with plain arguments")

    def _more_at_once(
        self, way: Way, seconds: float, theta_MD: Tensor, batch: Prepared, most: int, ctx: Context
    ) -> tuple[Way, float]:
        """Return the way with the number of networks at a time that is quickest, and its time per network."""
        if most < FEWEST:
            return way, seconds
        room = free_bytes(ctx.device) / 2 / max(way.parted.bytes if way.parted else _activations(way, batch), 1)
        at_once, missed = FEWEST, False
        while at_once <= min(most, room, len(theta_MD)):
            more = replace(way, at_once=at_once)
            part_mD = theta_MD[:at_once].to(ctx.device)
            each = _try(more, way, part_mD, batch)
            if each <= GAIN * seconds:
                way, seconds, missed = more, each, False
            elif missed or each == math.inf:
                break
            else:  # on a busy machine one trial may mislead, and few networks at a time may not pay where many do
                missed = True
            at_once *= 4
        return way, seconds


def _try(more: Way, way: Way, part_mD: Tensor, batch: Prepared) -> float:
    """Return the seconds per network of running all of `part_mD` at once; infinite where that cannot be done well."""
    try:
        with warnings.catch_warnings():
            # Of operations that vmap runs one by one after all. What else torch says is no reason against it.
            warnings.filterwarnings("error", message="There is a performance drop")
            ours = more.run(part_mD, batch)
            theirs = torch.cat([way.run(few_mD, batch) for few_mD in part_mD.split(way.at_once)])
            return _seconds(more, [part_mD], batch) / len(part_mD) if _close(ours, theirs) else math.inf
    except Exception:  # an operation that cannot be batched over networks, or no memory
        return math.inf


def _shape(inputs: Any) -> tuple[Any, ...]:
    return tuple(getattr(leaf, "shape", None) for leaf in pytree.tree_leaves(inputs))


def _seconds(way: Way, parts: Sequence[Tensor], batch: Prepared) -> float:
    """Return how long the quickest of some calls takes: the first warm up, and a busy machine only ever adds."""
    for part_mD in parts[:-1]:
        way.run(part_mD, batch)
    least, since = math.inf, time.perf_counter()
    for _ in range(CALLS):
        _finish(parts[-1])
        start = time.perf_counter()
        way.run(parts[-1], batch)
        _finish(parts[-1])
        least = min(least, time.perf_counter() - start)
        if time.perf_counter() - since > LONG_S:
            break
    return least


def _finish(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)


def _close(ours: Any, theirs: Any) -> bool:
    """True where outputs agree but for rounding; classes may differ for the few examples that are nearly tied."""
    for a, b in zip(pytree.tree_leaves(ours), pytree.tree_leaves(theirs), strict=True):
        if not a.is_floating_point():
            if (a != b).float().mean() > 0.01:
                return False
        elif not torch.isfinite(b).all():  # such networks are compared where they are finite
            return bool(torch.equal(torch.isfinite(a), torch.isfinite(b)))
        elif (a - b).abs().max() > CLOSE * b.abs().max():
            return False
    return True


def _activations(way: Way, batch: Prepared) -> int:
    """Return the bytes of all that the network's layers compute on a batch."""
    return layer_outputs(way.model, lambda: way.task.predict(way.model, batch.inputs), lambda tensor: tensor.nbytes)
