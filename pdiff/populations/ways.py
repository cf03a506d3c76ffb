"""Ways to run a population on a batch: whole or parted, one network at a time or several; the quickest is tried out."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from pdiff.context import Context
from pdiff.populations.parting import Parted, Untraceable, entry_of
from pdiff.running.memory import free_bytes, ran_out
from pdiff.zoo import Layout

if TYPE_CHECKING:
    from pdiff.components import Task

WORTH_S = 5.0
"""Work below which a network is not traced: that takes a second or two."""
QUICK_S = 0.3
"""Work below which nothing is tried."""
TRIAL = 0.05
"""Share of the work that may go into trying how many networks to run at a time."""
FEWEST = 4
"""Networks at a time that are tried first, then four times as many."""
GAIN = 0.95
"""More networks at a time are tried while one then takes less than this share of the time; one miss is forgiven."""
STEADY_BYTES, STEADY_MOST = 2**26, 64
"""What networks that are run at once may compute, and how many at most, where nothing is tried."""
CLOSE = 1e-3
"""By how much a parted network's output may differ from the whole one's, as a share of the largest value."""


class Prepared(NamedTuple):
    """A batch of `count` examples, filled up where shapes are fixed, and what is computed once of it."""

    inputs: Any
    count: int
    kept: tuple[Any, ...] | None = None


@dataclass
class Way:
    """How networks are run: `parted` or whole, `at_once` of them in one call."""

    model: nn.Module
    layout: Layout
    task: Task
    parted: Parted | None = None
    at_once: int = 1
    batch: int = 0
    """Examples per batch, which are fixed in a parted network."""

    def prepare(self, inputs: Tensor) -> Prepared:
        """Do what is done once per batch."""
        if self.parted is None:
            return Prepared(inputs, len(inputs))
        count, missing = len(inputs), self.batch - len(inputs)
        if missing:  # the graph's shapes are fixed
            inputs = F.pad(inputs.flatten(1), (0, 0, 0, missing)).unflatten(1, inputs.shape[1:])
        return Prepared(inputs, count, self.parted.prefix(*_arguments(self.task, inputs)))

    def run(self, theta_mD: Tensor, batch: Prepared) -> Tensor:
        """Return the predictions `[m, B, ...]` of networks on the device."""
        return self._joint(theta_mD, batch.inputs, batch.kept)[:, : batch.count]

    def halving(self, theta_mD: Tensor, batch: Prepared) -> Tensor:
        """Run the networks, or the first half of them when memory runs out, and remember that."""
        while True:
            try:
                return self.run(theta_mD[: self.at_once], batch)
            except (RuntimeError, MemoryError) as error:
                if self.at_once == 1 or not ran_out(error):
                    raise
            self.at_once = (self.at_once + 1) // 2

    def _joint(self, theta_mD: Tensor, inputs: Tensor, kept: Any) -> Tensor:
        if self.at_once == 1:
            return torch.stack([self._one(theta_D, inputs, kept) for theta_D in theta_mD])

        def one(entries: dict[str, Tensor]) -> Tensor:
            return self.task.predict(self._function(entries, kept), inputs)

        return torch.vmap(one)(self._entries(theta_mD))

    def _one(self, theta_D: Tensor, inputs: Tensor, kept: Any) -> Tensor:
        entries = self._entries(theta_D)
        if self.parted is not None:
            return self.task.predict(self._function(entries, kept), inputs)
        for key, value in entries.items():
            entry_of(self.model, key).data = value
        return self.task.predict(self.model, inputs)

    def _function(self, entries: dict[str, Tensor], kept: Any) -> Callable[..., Any]:
        """Return what stands for the model with these entries."""
        if self.parted is None:
            return lambda *args, **options: torch.func.functional_call(self.model, entries, args, options)
        parted = self.parted
        return lambda *_: parted.suffix(entries, kept)

    def _entries(self, theta: Tensor) -> dict[str, Tensor]:
        tensors = self.layout.tensors(theta)
        return {key: value.to(entry_of(self.model, key).dtype) for key, value in tensors.items()}

    def __str__(self) -> str:
        part = "what is frozen once per batch, the rest" if self.parted else "whole,"
        return f"{part} {f'{self.at_once} at a time' if self.at_once > 1 else 'one at a time'}"


class Chooser:
    """Finds the quickest way for a network, by running some of the population on the first batch.

    `steady`: or takes one by sizes alone. Another way may give other last bits, and which is quickest is chance.
    """

    def __init__(self, model: nn.Module, layout: Layout, task: Task, steady: bool = False):
        self.model, self.layout, self.task, self.steady = model, layout, task, steady
        self.parted: dict[Any, Parted | None] = {}
        self.known: dict[Any, tuple[int, Way]] = {}

    def choose(self, theta_MD: Tensor, inputs: Tensor, batches: int, ctx: Context, what: str) -> Way:
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
        way, quick = whole, slow
        if slow * count * batches > WORTH_S and self._parted(pair, inputs, ctx):
            parted = Way(self.model, self.layout, self.task, self._parted(pair, inputs, ctx), 1, len(inputs))
            ready = parted.prepare(inputs)
            if (seconds := _seconds(parted, pair.split(1), ready)) < slow:
                way, quick, batch = parted, seconds, ready
        way, quick = self._more_at_once(way, quick, theta_MD, batch, int(TRIAL / 3 * count * batches), ctx)
        self.known[shape] = (count, way)
        if slow * count * batches > WORTH_S:
            ctx.progress.say(
                f"{what}: {count} networks, {way}: {1e3 * quick:.3g} ms per network and batch "
                f"(whole, one at a time: {1e3 * slow:.3g} ms)"
            )
        return way

    def _steady(self, whole: Way, theta_MD: Tensor, inputs: Tensor, ctx: Context) -> Way:
        """Return so many whole networks at once that their activations stay small, or one where that cannot be."""
        batch = whole.prepare(inputs)
        most = min(STEADY_BYTES // max(int(_activations(whole, batch)), 1), STEADY_MOST)
        more = replace(whole, at_once=max(1, int(most)))
        fits = more.at_once > 1 and _try(more, whole, theta_MD[:FEWEST].to(ctx.device), batch) < math.inf
        return more if fits else whole

    def _parted(self, pair_2D: Tensor, inputs: Tensor, ctx: Context) -> Parted | None:
        """Return the network parted for inputs of this shape, or None where that cannot be or gives nothing."""
        shape = _shape(inputs)
        if shape not in self.parted:
            try:
                self.parted[shape] = self._part(pair_2D, inputs)
            except Untraceable as error:
                name = type(self.model).__name__
                ctx.warn(f"{name} is run whole for every network, because its graph cannot be parted ({error})")
                self.parted[shape] = None
        return self.parted[shape]

    def _part(self, pair_2D: Tensor, inputs: Tensor) -> Parted | None:
        chosen = {id(entry_of(self.model, key)) for key in self.layout.keys}
        if all(id(parameter) in chosen for parameter in self.model.parameters()):
            return None
        if not isinstance(inputs, Tensor):
            raise Untraceable("its inputs are not one tensor")
        arguments = _arguments(self.task, inputs)
        if not all(isinstance(argument, Tensor) for argument in arguments):
            raise Untraceable("the task does not hand it plain tensors")
        parted = Parted(self.model, self.layout.keys, arguments)
        self._check(parted, arguments, pair_2D, inputs)
        return parted if parted.shares_work else None

    def _check(self, parted: Parted, arguments: tuple[Any, ...], pair_2D: Tensor, inputs: Tensor) -> None:
        """Compare outputs for two networks: what a graph does not say would show as another output."""
        kept, outputs = parted.prefix(*arguments), []
        for theta_D in pair_2D:
            entries = self.layout.tensors(theta_D)
            for key, value in entries.items():
                entry_of(self.model, key).data = value
            outputs.append(self.model(*arguments))
            if not _close(parted.suffix(entries, kept), outputs[-1]):
                raise Untraceable("parting it changes its output")
        if not _close(parted.suffix(self.layout.tensors(pair_2D[0]), kept), outputs[0]):
            raise Untraceable("it changes what is frozen")
        if _calls(self.task, inputs, outputs[0]) != 1:
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
            warnings.simplefilter("error")  # torch warns of operations that it runs one by one after all
            ours = more.run(part_mD, batch)
            theirs = torch.cat([way.run(few_mD, batch) for few_mD in part_mD.split(way.at_once)])
            return _seconds(more, [part_mD], batch) / len(part_mD) if _close(ours, theirs) else math.inf
    except Exception:  # an operation that cannot be batched over networks, or no memory
        return math.inf


class _Seen(BaseException):
    """Carries what a task hands to the model."""


def _arguments(task: Task, inputs: Tensor) -> tuple[Any, ...]:
    """Return the arguments of the task's first call of the model, which is not run."""

    def spy(*arguments: Any, **options: Any) -> Any:
        raise _Seen(arguments)

    try:
        task.predict(spy, inputs)
    except _Seen as seen:
        return seen.args[0]
    return ()


def _calls(task: Task, inputs: Tensor, output: Any) -> int:
    """Return how often the task calls a model that gives `output`; more than once where it hands over options."""
    calls = 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1 + len(options)
        return output

    task.predict(counted, inputs)
    return calls


def _shape(inputs: Any) -> tuple[Any, ...]:
    return tuple(getattr(leaf, "shape", None) for leaf in pytree.tree_leaves(inputs))


def _seconds(way: Way, parts: Sequence[Tensor], batch: Prepared) -> float:
    """Return how long the last of the calls takes; the others warm up."""
    for part_mD in parts:
        _finish(part_mD)
        start = time.perf_counter()
        way.run(part_mD, batch)
        _finish(part_mD)
    return time.perf_counter() - start


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
    total = 0

    def add(module: nn.Module, arguments: Any, output: Any) -> None:
        nonlocal total
        total += sum(leaf.nbytes for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor))

    leaves = [module for module in way.model.modules() if not any(True for _ in module.children())]
    hooks = [module.register_forward_hook(add) for module in leaves]
    way.task.predict(way.model, batch.inputs)
    for hook in hooks:
        hook.remove()
    return total
