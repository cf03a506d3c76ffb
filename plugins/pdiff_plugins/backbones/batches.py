"""How many checkpoints a batch can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdiff.errors import UserError

if TYPE_CHECKING:
    pass


def check_batch(size: int, count: int) -> None:
    """Raise UserError where a batch of a codec would hold more checkpoints than there are."""
    if size > count:
        raise UserError(
            f"method.codec.batch_size: {size} is more than the {count} checkpoints; set it to at most {count}"
        )
