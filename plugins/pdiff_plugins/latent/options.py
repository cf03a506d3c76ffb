"""Options that methods with a latent space share, and what can be said of them before a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Protocol

from pydantic import Field
from pydantic_core import PydanticCustomError

from pdiff.components import IF_SET

if TYPE_CHECKING:
    from pdiff.components import Ahead

Whiten = Annotated[
    bool, Field(description="bring all numbers of the latent to one deviation; false: they keep their relation, and "
                "what differs most between checkpoints counts most", json_schema_extra=IF_SET),
]  # fmt: skip
Learn = Annotated[
    bool, Field(description="learn the checkpoints' conditions, where the recipe has an [encoder]",
                json_schema_extra=IF_SET),
]  # fmt: skip
Guidance = Annotated[
    float, Field(ge=0, description="how strongly a sample keeps to its condition; 1: as learnt",
                 json_schema_extra=IF_SET),
]  # fmt: skip
MeanOf = Annotated[
    int, Field(gt=0, description="a sample is the mean, in the latent space, of so many of its condition",
               json_schema_extra=IF_SET),
]  # fmt: skip
StartNoise = Annotated[
    float, Field(ge=0, description="deviation of the noise that sampling begins with; 0: a condition has one sample, "
                 "its middle", json_schema_extra=IF_SET),
]  # fmt: skip


def check_sampling(sampling_steps: int, timesteps: int) -> None:
    """Raise PydanticCustomError where a chain is sampled in more steps than it has."""
    if sampling_steps > timesteps:
        raise PydanticCustomError(
            "steps",
            "sampling_steps = {s} is more than timesteps = {t}",
            {"s": sampling_steps, "t": timesteps},
        )


class Asked(Protocol):
    """A method that is asked for conditions."""

    @property
    def condition(self) -> bool: ...
    @property
    def guidance(self) -> float: ...
    @property
    def mean_of(self) -> int: ...


def unread(method: Asked, key: str) -> str | None:
    """Return what is wrong where no conditions are learnt, in one line: an option that only they have a use for."""
    option = "guidance" if method.guidance != 1 else "mean_of" if method.mean_of != 1 else None
    if option is None:
        return None
    return (
        f"{key}.{option}: there are no conditions that it could be read with; write [encoder] with its name, such as "
        f"'bits', and leave condition = true, or leave {option} out"
    )


def foresee_conditions(method: Asked, ahead: Ahead) -> None:
    """Say of options that are read with conditions only that there are none."""
    line = unread(method, ahead.key)
    if line and (ahead.recipe.encoder is None or not method.condition):
        ahead.lacks(line)
