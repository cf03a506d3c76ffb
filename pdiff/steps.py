"""Lists of steps: which may stand in one, and each in its turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticCustomError

from pdiff.components import base

if TYPE_CHECKING:
    from pdiff.components.transform import Transform
    from pdiff.context import Context

PLACES = {"zoo": "[[zoo]]", "samples": "[[sample.step]]"}


def listed(steps: Any) -> Any:
    """Return steps that stand in one table as a list: `align = true`, `first = 5`, `permuted = { copies = 2 }`.

    A number is the step's first option, and false or 0 leaves it out. A list is returned as it is.
    """
    if not isinstance(steps, Mapping) or "name" in steps:
        return [steps] if isinstance(steps, Mapping) else steps
    return [{"name": name} | _options(name, given) for name, given in steps.items() if given or given == {}]


def _options(name: str, given: Any) -> dict[str, Any]:
    if given is True or isinstance(given, Mapping):
        return {} if given is True else dict(given)
    try:
        component, _ = base.names().find("transform", name)
    except base.NoSuchComponent:
        return {}  # which validation tells
    return {next(iter(component.model_fields), "value"): given}


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
