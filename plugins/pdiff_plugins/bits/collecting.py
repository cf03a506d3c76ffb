"""Zoos that a baseline collects for itself, what learns them, and steps on what is drawn."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pdiff.bench import Bench
from pdiff.components import Collector, Generator
from pdiff.context import Context
from pdiff.data import DatasetSplits
from pdiff.errors import UserError
from pdiff.mapped import finite_rows, take
from pdiff.running.device import placed
from pdiff.services import Through
from pdiff.steps import in_turn
from pdiff.zoo import Zoo
from pdiff_plugins.bits.baselines import Afterwards

ROWS, THETA, ANCHOR, METHOD = "rows", "theta", "anchor.", "method."
"""Names of tensors that a generator keeps: the zoo collected, and what was learnt of it."""


class OtherZoo(Through):
    """The services of a run for another zoo of the same networks."""

    def __init__(self, bench: Bench, zoo: Zoo):
        super().__init__(bench, lambda theta_MD: theta_MD)
        self.zoo = zoo

    def measures(self) -> dict[str, Tensor]:
        return self.measure(self.zoo.theta_ND)


class Changed(Generator):
    """What `inner` draws, or checkpoints of a zoo, after steps."""

    def __init__(self, method: Afterwards, inner: Generator | None, zoo: Zoo, own: bool, facts: dict[str, Any]):
        super().__init__(inner.log if inner else None, facts)
        self.method, self.inner, self.zoo, self.own = method, inner, zoo, own
        self.conditional = inner is not None and inner.conditional

    def sample(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None = None) -> Tensor:
        services = OtherZoo(bench, self.zoo) if self.own else bench
        theta_MD = self._drawn(count, services, ctx, condition_MC)
        for step, step_ctx in in_turn(self.method.step, ctx.scope("steps")):
            theta_MD = step.samples(theta_MD, self.zoo, services, step_ctx)
        return theta_MD

    def _drawn(self, count: int, bench: Bench, ctx: Context, condition_MC: Tensor | None) -> Tensor:
        if self.inner:
            theta_MD = self.inner.sample(count, bench, ctx.scope("method"), condition_MC)
            return theta_MD.detach().to("cpu", torch.float32)
        chosen_N = torch.randperm(len(self.zoo), generator=ctx.generator("checkpoints"))[:count]
        return take(self.zoo.theta_ND, chosen_N.sort().values.tolist(), ctx.snapshot.folder)

    def through(self, theta_MD: Tensor, bench: Bench, ctx: Context) -> Tensor | None:
        return self.inner.through(theta_MD, bench, ctx) if self.inner else None

    def warnings(self) -> list[str]:
        return self.inner.warnings() if self.inner else []

    def tensors(self) -> dict[str, Tensor]:
        learnt = {f"{METHOD}{key}": value for key, value in self.inner.tensors().items()} if self.inner else {}
        return learnt | (_stored(self.zoo) if self.own else {})


def _stored(zoo: Zoo) -> dict[str, Tensor]:
    rows = torch.frombuffer(bytearray(json.dumps(zoo.rows).encode()), dtype=torch.uint8)
    return {THETA: zoo.theta_ND, ROWS: rows} | {f"{ANCHOR}{key}": value for key, value in zoo.anchor.items()}


def _restored(tensors: Mapping[str, Tensor], zoo: Zoo) -> Zoo:
    anchor = {key.removeprefix(ANCHOR): value for key, value in tensors.items() if key.startswith(ANCHOR)}
    return Zoo(tensors[THETA], zoo.layout, anchor, json.loads(tensors[ROWS].numpy().tobytes()))


def fitted(method: Afterwards, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
    """Return the generator: zoo collected, and learnt. Both go on from snapshots of their own. Raises UserError."""
    own, facts = method.collect is not None, dict[str, Any]()
    if method.collect is not None:
        zoo, facts = _collected(method, method.collect, zoo, bench, ctx.scope("collect")), _cost(method.collect, bench)
        bench = OtherZoo(bench, zoo)
    inner = method.method.fit(zoo, bench, ctx.scope("method")) if method.method else None
    if inner:
        facts = inner.facts | facts | {"examples": inner.facts.get("examples", 0) + facts.get("examples", 0)}
    return Changed(method, inner, zoo, own, facts)


def loaded(method: Afterwards, tensors: Mapping[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
    """Return the generator that was fitted."""
    own = method.collect is not None
    if own:
        zoo = _restored(tensors, zoo)
        bench = OtherZoo(bench, zoo)
    learnt = {key.removeprefix(METHOD): value for key, value in tensors.items() if key.startswith(METHOD)}
    inner = method.method.load(learnt, zoo, bench, ctx.scope("method")) if method.method else None
    return Changed(method, inner, zoo, own, {})


def _cost(collect: Collector, bench: Bench) -> dict[str, Any]:
    """Return what collecting read, and what it began from; see `Generator.facts`."""
    examples = collect.examples(len(bench.objective.split))
    begins = "nothing" if getattr(collect, "start", "") == "independent" else "one"
    return {"begins": begins} | ({} if examples is None else {"examples": examples})


def _collected(method: Afterwards, collect: Collector, zoo: Zoo, bench: Bench, ctx: Context) -> Zoo:
    """Return checkpoints from the run's base network, with their scores, after the steps on a zoo."""
    objective = bench.objective
    model = copy.deepcopy(objective.model)
    model.load_state_dict(zoo.anchor)
    dense = collect.collect(
        placed(model, ctx.device), data=_splits(bench), task=objective.task, layout=zoo.layout, bench=bench, ctx=ctx
    )
    if bad := int((~finite_rows(dense.theta_ND)).sum()):
        raise UserError(f"afterwards.collect: {bad} of {len(dense)} checkpoints hold NaN or Inf; lower its lr")
    selected = set(zoo.layout.keys)
    moved = next((key for key, value in dense.anchor.items() if key not in selected and _differs(value, zoo, key)), "")
    if moved:
        raise UserError(
            f"afterwards.collect: {moved!r}, which is not selected, is not the run's; let its networks start at the "
            "base network (start = 'base')"
        )
    for row, score in zip(dense.rows, bench.score(dense.theta_ND).tolist(), strict=True):
        row["metrics"].setdefault(objective.task.metric, score)
    dense.rows = [row | {"of": number} for number, row in enumerate(dense.rows)]
    for step, step_ctx in in_turn(method.zoo, ctx.scope("zoo")):
        dense = step.zoo(dense, OtherZoo(bench, dense), step_ctx)
        if len(dense) < 2:
            raise UserError(f"afterwards.zoo: {step.name} leaves {len(dense)} checkpoints; methods need 2 at least")
    return dense


def _differs(value: Tensor, zoo: Zoo, key: str) -> bool:
    return not torch.equal(value.cpu(), zoo.anchor[key].cpu())


def _splits(bench: Bench) -> DatasetSplits:
    """Return the data as collectors are given them."""
    train, outputs = bench.objective.split, bench.objective.task.outputs(bench.classes)
    validation, test = bench.examples("validation"), bench.examples("test")
    return DatasetSplits(train, validation, test, bench.input_shape, outputs, bench.names, bench.classes)
