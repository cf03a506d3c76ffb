"""The median, as everybody takes it: of an even number of values the mean of the middle two."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def median(values: Tensor) -> float:
    """Return the median of all values, NaN where one is NaN; torch's own is the lower of the middle two."""
    if values.isnan().any() or not values.numel():
        return float("nan")
    ordered = values.double().flatten().sort().values
    count = len(ordered)
    return (float(ordered[(count - 1) // 2]) + float(ordered[count // 2])) / 2
