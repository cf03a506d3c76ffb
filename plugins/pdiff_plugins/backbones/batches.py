"""How many checkpoints a batch can hold."""

from __future__ import annotations

from pdiff.errors import UserError


def check_batch(key: str, size: int, count: int) -> None:
    """Raise UserError where a batch would hold more checkpoints than there are; `key` is the option's in a recipe."""
    if size > count:
        raise UserError(f"{key}: {size} is more than the {count} checkpoints; set it to at most {count}")
