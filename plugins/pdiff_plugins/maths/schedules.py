"""How learning rates go, as factors on the rate given."""

from __future__ import annotations

import math
from collections.abc import Callable


def one_cycle(steps: int, rise_share: float) -> Callable[[int], float]:
    """Return the factor on the learning rate: up along a cosine, and down to 0 (Smith & Topin 2019; so does SANE)."""
    rise = max(1, round(rise_share * steps))

    def factor(step: int) -> float:
        way = (step + 1) / rise - 1 if step < rise else (step - rise) / (steps - rise)
        return 0.5 * (1 + math.cos(math.pi * way))

    return factor


def warm_one_cycle(steps: int, rise_share: float) -> Callable[[int], float]:
    """Return the factor on the learning rate: up from 1/25 and down to 0 along cosines (Smith & Topin 2018)."""
    top = max(round(rise_share * steps), 1)

    def factor(step: int) -> float:
        if step < top:
            return 1 - 0.96 * 0.5 * (1 + math.cos(math.pi * step / top))
        return 0.5 * (1 + math.cos(math.pi * (step - top) / max(steps - top, 1)))

    return factor


def rising_cosine(warmup: int, steps: int) -> Callable[[int], float]:
    """Return the factor on the learning rate: a cosine to 0, rising linearly at the beginning."""
    return lambda step: min(1.0, (step + 1) / (warmup + 1)) * 0.5 * (1 + math.cos(math.pi * step / steps))
