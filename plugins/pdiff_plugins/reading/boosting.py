"""Gradient-boosted trees on a table: what plain numbers tell of a property. N rows, F columns, which may hold NaN."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

LEAF = 10
"""Rows of a leaf at least, unless that is more than a tenth of them."""


class Boosted:
    """A fitted ensemble of trees."""

    def __init__(self, x_NF: Tensor, value_N: Tensor, trees: int = 600, lr: float = 0.03, leaves: int = 8):
        from sklearn.ensemble import HistGradientBoostingRegressor

        self.model: HistGradientBoostingRegressor = HistGradientBoostingRegressor(
            max_iter=trees, learning_rate=lr, max_leaf_nodes=leaves, early_stopping=False, random_state=0,
            min_samples_leaf=max(1, min(LEAF, len(x_NF) // 10)),
        )  # fmt: skip
        self.model.fit(x_NF.double().numpy(), value_N.double().numpy())

    def read(self, x_NF: Tensor) -> Tensor:
        """Return what the trees make of rows, `[N]` in float64."""
        return torch.from_numpy(self.model.predict(x_NF.double().numpy())).double()
