"""What generated bits and masks must be better than: each weight on its own, and what is cut afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from pdiff.components import NEVER, Collector, Family, Generator, Method, Transform
from pdiff.steps import listed, steps_on
from pdiff_plugins.baselines.plain import Baseline

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Zoo


class Marginals(Baseline):
    """Every parameter on its own, from a checkpoint drawn at random for it.

    It knows how often each weight has each value, or is cut, and nothing of which go together.
    """

    name = "marginals"

    def draw(self, zoo: Zoo, count: int, ctx: Context) -> Tensor:
        import torch

        from pdiff.mapped import windows

        generator, theta_MD = ctx.generator("marginals"), ctx.empty(count, zoo.layout.dim)
        for _, theta_NW, into_MW in windows(zoo.theta_ND, theta_MD):
            into_MW.copy_(theta_NW.gather(0, torch.randint(len(zoo), into_MW.shape, generator=generator)))
        return theta_MD


class Afterwards(Method):
    """Networks rounded, cut or otherwise changed afterwards, not learnt so.

    It collects checkpoints as `collect` says, from the run's base network, learns them by `method`, draws networks and
    lets them go through `step`. Without `collect` it learns the run's own checkpoints, without `method` it draws some
    of the checkpoints themselves. Several that differ in `step` alone fit once.
    """

    name = "afterwards"
    sampling: ClassVar[tuple[str, ...]] = ("step",)
    collect: Collector | None = Field(None, description="how checkpoints are made; left out: they are the run's")
    zoo: tuple[Transform, ...] = Field((), description="steps on checkpoints that `collect` made, as in [[zoo]]")
    method: Method | None = Field(None, description="what learns them; left out: they are drawn as they are")
    step: tuple[Transform, ...] = Field(
        (), description="what drawn networks go through, in this order, as { rounded = 2 } or { cut = 0.3 }"
    )
    label: str = Field("", json_schema_extra=NEVER, description="its name in tables; left out: made of the others")

    _listed = field_validator("zoo", "step", mode="before")(listed)

    @field_validator("zoo")
    @classmethod
    def _of_zoos(cls, steps: tuple[Transform, ...]) -> tuple[Transform, ...]:
        return steps_on("zoo", steps)

    @field_validator("step")
    @classmethod
    def _of_samples(cls, steps: tuple[Transform, ...]) -> tuple[Transform, ...]:
        return steps_on("samples", steps)

    def foresee(self, ahead: Ahead) -> None:
        from dataclasses import replace

        inner = ahead
        if self.collect:
            recipe = ahead.recipe.model_copy(update={"collect": self.collect, "zoo": self.zoo})
            inner = replace(ahead, recipe=recipe, checkpoints=None if self.zoo else self.collect.expected())
        super().foresee(inner)
        if self.collect and isinstance(ahead.recipe.task, Family):
            ahead.lacks(
                f"{ahead.key}.collect: checkpoints that a baseline collects are of one task, and of task "
                f"{ahead.recipe.task.name} each has its own; leave collect out"
            )
        if self.zoo and not self.collect:
            ahead.lacks(
                f"{ahead.key}.zoo: steps are on what collect makes, and there is none; the run's checkpoints go "
                "through [[zoo]]"
            )

    def variants(self) -> dict[str, Method]:
        """Return one method for each of those that `method` stands for."""
        inner = self.method.variants() if self.method else {"zoo": None}
        return {self._label(label): self.model_copy(update={"method": method}) for label, method in inner.items()}

    def _label(self, learnt: str) -> str:
        if self.label and self.method and len(self.method.variants()) > 1:
            return f"{self.label} {learnt}"
        dense = bool(self.collect) and not (
            getattr(self.collect, "bits", 0) or getattr(self.collect, "keep", 1.0) < 1.0
        )
        whence = "" if self.collect is None else "dense" if dense else self.collect.name
        return self.label or " ".join(filter(None, [whence, learnt, *(step.name for step in self.step)]))

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.bits.collecting import fitted

        return fitted(self, zoo, bench, ctx)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.bits.collecting import loaded

        return loaded(self, tensors, zoo, bench, ctx)
