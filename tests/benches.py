"""Benches to hand to components."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from pdiff.testing import Points


class Scored(Points):
    """A bench whose score a function gives; it knows no zoo and builds nothing."""

    def __init__(self, score: Callable[[Tensor], Tensor]):
        super().__init__(None)
        self._score = score

    def score(self, theta_MD: Tensor, about: Any = None) -> Tensor:
        return self._score(theta_MD)
