"""Options of collectors whose networks have few bits, or keep few weights, and what can be said of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from pdiff.components import IF_SET
from pdiff.errors import UserError

if TYPE_CHECKING:
    from pdiff.zoo import Layout


def _some(bits: int) -> int:
    if bits not in (0, *range(2, 9)):
        raise ValueError("must be 2 to 8, or 0 for as many as a float has")
    return bits


Bits = Annotated[
    int, AfterValidator(_some),
    Field(description="bits of a matrix's weight, 2 to 8: (c + 1/2) times a step of its row, and trained as such; 0: "
          "any float", json_schema_extra=IF_SET),
]  # fmt: skip
Keep = Annotated[
    float, Field(gt=0, le=1, description="share of the matrices' weights that a network keeps; the others are zero",
                 json_schema_extra=IF_SET),
]  # fmt: skip
Masks = Annotated[
    Literal["shared", "own"],
    Field(description="which weights are kept: shared: those of one training ahead, in all networks; own: each "
          "network's own", json_schema_extra=IF_SET),
]  # fmt: skip
Rounds = Annotated[
    int, Field(gt=0, description="times that a network is trained whole and its smallest weights are cut, before the "
               "training that is collected", json_schema_extra=IF_SET),
]  # fmt: skip
Rewind = Annotated[
    bool, Field(description="after a cut, what is left goes back to where the network began; false: it goes on from "
                "what it has learnt", json_schema_extra=IF_SET),
]  # fmt: skip


def check_rounds(keep: float, masks: str, rounds: int, rewind: bool) -> None:
    """Refuse to be told how weights are cut where none are."""
    if keep == 1 and (masks, rounds, rewind) != ("shared", 1, True):
        raise PydanticCustomError("uncut", "masks, rounds and rewind say how weights are cut; keep = 1 cuts none")


def require_matrices(layout: Layout, bits: int, keep: float) -> None:
    """Raise UserError where there is nothing that could have few bits or be cut."""
    from pdiff_plugins.bits.grid import matrices

    if (bits or keep < 1) and not matrices(layout):
        option = f"bits = {bits}" if bits else f"keep = {keep:g}"
        raise UserError(
            f"collect.{option}: no selected entry is a matrix (of two axes or more); select weights, or leave it out"
        )
