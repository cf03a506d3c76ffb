"""Lists of steps: which may stand in one, and each in its turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    from pdiff.components.transform import Transform
    from pdiff.context import Context

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
