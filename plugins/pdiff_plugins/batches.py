"""How many checkpoints a batch can hold, and how many examples batches have read."""

from __future__ import annotations

import math
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


def examples_read(train: int, batch_size: int, steps: int) -> int:
    """Return how many of so many training examples, each as often as it was read, so many steps of a network read.

    An epoch's last batch is short. Where it would hold one example, and the network has BatchNorm that learns, it
    joins the batch before (`epoch_length`), so that up to an epoch's share of `steps` is more than is said here.
    """
    batch_size = min(batch_size, train)
    epochs, rest = divmod(steps, math.ceil(train / batch_size))
    return epochs * train + rest * batch_size


def foresee_batch(ahead: Ahead, wanted: int) -> None:
    """Say of a component's `batch_size` what `at_most` will say, where the number of checkpoints is known."""
    if ahead.checkpoints is not None:
        at_most(f"{ahead.key}.batch_size", wanted, ahead.checkpoints, ahead.note)
