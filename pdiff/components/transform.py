"""Steps on a zoo, and on samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic_core import PydanticCustomError

from pdiff.components.base import Component

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.zoo import Zoo


class Transform(Component):
    """Changes a zoo before methods see it, or networks after they are sampled; a recipe lists steps in their order."""

    kind: ClassVar[str] = "transform"
    exact: ClassVar[bool] = True
    """Of a step on a zoo: every row computes the same function as the checkpoint that its `of` names."""
    baselines: ClassVar[bool] = True
    """Of a step on samples: networks of baselines go through it too."""

    def zoo(self, zoo: Zoo, bench: Bench, ctx: Context) -> Zoo:
        """Return the zoo after this step; what `zoo` holds is not changed. Rows keep their `of`. Raises UserError."""
        raise TypeError(f"{self.name} is no step on a zoo")

    def samples(self, theta_MD: Tensor, zoo: Zoo, bench: Bench, ctx: Context) -> Tensor:
        """Return sampled networks after this step, `[M, D]` in the original scale. Raises UserError."""
        raise TypeError(f"{self.name} is no step on samples")

    @classmethod
    def takes(cls, what: str) -> bool:
        """True where there is a step on `what`: `zoo` or `samples`."""
        return getattr(cls, what) is not getattr(Transform, what)


PLACES = {"zoo": "[[zoo]]", "samples": "[[sample.step]]"}


def steps_on(what: str, steps: tuple[Transform, ...]) -> tuple[Transform, ...]:
    """Return steps on `what` (`zoo` or `samples`), for validators. Raises a fault that names the first that is none."""
    for step in steps:
        if not step.takes(what):
            place = next(
                (place for other, place in PLACES.items() if step.takes(other)), "no list: it overrides nothing"
            )
            raise PydanticCustomError(
                "step",
                "{n} is no step on {w}; it goes into {p}",
                {"n": step.name, "w": f"a {what}" if what == "zoo" else what, "p": place},
            )
    return steps


def in_turn(steps: Sequence[Transform], ctx: Context) -> Iterator[tuple[Transform, Context]]:
    """Yield each step with its context: a second step of one name draws other numbers than the first."""
    seen = Counter[str]()
    for step in steps:
        seen[step.name] += 1
        yield step, ctx if seen[step.name] == 1 else ctx.scope(f"{step.name} {seen[step.name]}")
