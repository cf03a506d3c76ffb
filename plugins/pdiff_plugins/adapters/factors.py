"""The factors of adapters in vectors of parameters.

M networks, D selected parameters, r rank, I inputs of a layer (channels times places of a kernel), O outputs, g groups.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pdiff.errors import UserError
from pdiff.zoo import Entry, Layout
from pdiff_plugins.adapters.blocks import folded, unfolded
from pdiff_plugins.adapters.layers import A, B


@dataclass(frozen=True)
class Pair:
    """Where the factors of one layer's adapter stand."""

    module: str
    a: Entry
    b: Entry

    @property
    def rank(self) -> int:
        return self.a.shape[0]

    @property
    def groups(self) -> int:
        """Groups of a convolution that see nothing of each other."""
        return self.rank // self.b.shape[1]

    def split(self, theta_MD: Tensor) -> tuple[Tensor, Tensor]:
        """Return A `[M, r, I]` and B `[M, O, r]`: views, or where there are groups, with zeros between them."""
        a, b = theta_MD[:, self.a.columns], theta_MD[:, self.b.columns]
        a_MRI, b_MOR = a.reshape(len(a), self.rank, -1), b.reshape(len(b), -1, self.b.shape[1])
        return (a_MRI, b_MOR) if self.groups == 1 else (self._apart(a_MRI), self._apart(b_MOR))

    def write(self, theta_MD: Tensor, a_MRI: Tensor, b_MOR: Tensor) -> None:
        """Put factors into vectors."""
        if self.groups > 1:
            a_MRI, b_MOR = self._within(a_MRI), self._within(b_MOR)
        theta_MD[:, self.a.columns] = a_MRI.flatten(1).to(theta_MD.dtype)
        theta_MD[:, self.b.columns] = b_MOR.flatten(1).to(theta_MD.dtype)

    def _apart(self, rows_MRC: Tensor) -> Tensor:
        """Return blocks of rows `[M, R, C]` along a diagonal, `[M, R, g C]`."""
        return unfolded(rows_MRC.unflatten(1, (self.groups, -1)).flatten(0, 1), self.groups)

    def _within(self, rows_MRC: Tensor) -> Tensor:
        """Return the blocks along the diagonal, one below the other."""
        return folded(rows_MRC, self.groups).unflatten(0, (-1, self.groups)).flatten(1, 2)


def pairs(layout: Layout, who: str = "adapters") -> list[Pair]:
    """Return the factors of all adapters, in order. Raises UserError where there are none."""
    entries = {entry.key: entry for entry in layout.entries}
    found = []
    for key, a in entries.items():
        module, is_factor, _ = key.rpartition(f"{A}.weight")
        if is_factor:
            found.append(Pair(module.removesuffix("."), a, entries[f"{module}{B}.weight"]))
    if not found:
        raise UserError(f"{who}: the selection holds no adapters; use selector.name = 'lora'")
    return found
