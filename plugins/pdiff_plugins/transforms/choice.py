"""Which checkpoints of a zoo are used: the first, those of runs with small weights, and none that is held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pdiff.components import PARTS, Transform
from pdiff.errors import UserError
from pdiff_plugins.batches import at_most

if TYPE_CHECKING:
    import torch

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Zoo


class First(Transform):
    """Use the first checkpoints alone; of 1, that one twice, as methods need two."""

    name = "first"
    exact: ClassVar[bool] = True
    count: int = Field(gt=0, examples=[100], description="how many; 1 holds that one twice")

    def zoo(self, zoo: Zoo, bench: Bench, ctx: Context) -> Zoo:
        count = at_most("zoo: first.count", self.count, len(zoo), ctx.warn)
        return zoo.subset(range(count) if count > 1 else [0, 0], ctx.snapshot.folder)


class Largest(Transform):
    """Leave out whole runs with a large weight: trainings that went astray."""

    name = "largest"
    exact: ClassVar[bool] = True
    limit: float = Field(
        gt=0, examples=[10.0], description="runs in which the absolute value of any weight is larger are left out"
    )

    def zoo(self, zoo: Zoo, bench: Bench, ctx: Context) -> Zoo:
        from pdiff.mapped import rows

        size_N = [float(theta_D.abs().max()) for theta_D in rows(zoo.theta_ND)]
        lost = {row["run"] for row, size in zip(zoo.rows, size_N, strict=True) if size > self.limit}
        rest = [index for index, row in enumerate(zoo.rows) if row["run"] not in lost]
        if len(rest) < 2:
            raise UserError(
                f"zoo: largest.limit = {self.limit:g}: a weight is larger in all runs but {len(rest)}; raise it"
            )
        if lost:
            ctx.warn(f"zoo: largest.limit = {self.limit:g}: {len(lost)} runs have a larger weight and are left out")
        return zoo.subset(rest, ctx.snapshot.folder)


class Holdout(Transform):
    """Keep checkpoints from methods, for evaluators to compare with.

    They are no originals in any table, and are drawn at random, whole runs as far as possible.
    """

    name = "holdout"
    exact: ClassVar[bool] = True
    count: int = Field(gt=0, examples=[20], description="how many are held out; two must remain")

    def foresee(self, ahead: Ahead) -> None:
        if ahead.checkpoints is not None:
            _check_rest(self.count, ahead.checkpoints)

    def zoo(self, zoo: Zoo, bench: Bench, ctx: Context) -> Zoo:
        if zoo.holdout is not None:
            raise UserError(
                "zoo: holdout: checkpoints are held out already, by another holdout or by the collector (tasks "
                "that are held out or hard), and evaluators know one such part; leave this one out"
            )
        if any(row.get("copy") for row in zoo.rows):
            raise UserError(
                "zoo: holdout stands after a step that adds copies, which would stay where the checkpoint is held out; "
                "let it stand before"
            )
        held = held_out(zoo.rows, self.count, ctx.generator("holdout"))
        rest = zoo.subset([index for index in range(len(zoo)) if index not in set(held)], ctx.snapshot.folder)
        rest.holdout = zoo.subset(held, ctx.snapshot.folder)
        rest.holdout.rows = [row | ({"part": PARTS[1]} if "part" in row else {}) for row in rest.holdout.rows]
        return rest


def _check_rest(count: int, checkpoints: int) -> None:
    if checkpoints - count < 2:
        most = max(checkpoints - 2, 0)
        raise UserError(
            f"zoo: holdout.count = {count}: of {checkpoints} checkpoints 2 must remain; set it to at most {most}"
        )


def held_out(rows: Sequence[Mapping[str, Any]], count: int, generator: torch.Generator) -> list[int]:
    """Draw `count` rows, whole runs as far as they fit in. Raises UserError where fewer than two would remain."""
    import torch

    _check_rest(count, len(rows))
    runs: dict[Any, list[int]] = {}
    for place, row in enumerate(rows):
        runs.setdefault(row["run"], []).append(place)
    in_order, held, rest = list(runs.values()), list[int](), list[int]()
    for index in torch.randperm(len(in_order), generator=generator).tolist():
        if len(in_order[index]) <= count - len(held):
            held += in_order[index]
        else:
            rest = rest or in_order[index]
    order = torch.randperm(len(rest), generator=generator)[: count - len(held)]
    return sorted(held + [rest[place] for place in order])
