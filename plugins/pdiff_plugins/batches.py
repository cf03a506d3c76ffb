"""How many checkpoints a batch can hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pdiff.components import Ahead


def at_most(key: str, wanted: int, count: int, warn: Callable[[str], None]) -> int:
    """Return how many checkpoints are taken: as many as wanted, or all there are, which is said.

    `key` is the option's in a recipe.
    """
    if wanted > count:
        warn(f"{key} = {wanted} is more than the {count} checkpoints; all {count} are taken instead")
    return min(wanted, count)


def foresee_batch(ahead: Ahead, wanted: int) -> None:
    """Say of a component's `batch_size` what `at_most` will say, where the number of checkpoints is known."""
    if ahead.checkpoints is not None:
        at_most(f"{ahead.key}.batch_size", wanted, ahead.checkpoints, ahead.note)
