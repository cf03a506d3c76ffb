"""The option of methods that can take adapters by their products, and what they say where there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pdiff.components import IF_SET

if TYPE_CHECKING:
    from pdiff.components import Ahead

Of = Annotated[
    Literal["factors", "products"],
    Field(description="factors: of the selected weights as they are; products: of what adapters add to each layer, cut "
          "to their rank again", json_schema_extra=IF_SET),
]  # fmt: skip


def foresee_adapters(ahead: Ahead, who: str) -> None:
    """Say that a run has no adapters."""
    if not ahead.recipe.selector.extends:
        ahead.lacks(f"{who}: the selection holds no adapters; use selector.name = 'lora'")


def foresee_of(ahead: Ahead, of: str) -> None:
    """Say so where products are asked for and there are none."""
    if of == "products":
        foresee_adapters(ahead, f"{ahead.key}.of = 'products'")
