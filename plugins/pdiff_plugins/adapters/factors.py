"""The factors of adapters in vectors of parameters.

M networks, D selected parameters, r rank, I inputs of a layer (channels times places of a kernel), O outputs.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pdiff.errors import UserError
from pdiff.zoo import Entry, Layout


@dataclass(frozen=True)
class Pair:
    """Where the factors of one layer's adapter stand."""

    module: str
    a: Entry
    b: Entry

    @property
    def rank(self) -> int:
        return self.a.shape[0]

    def split(self, theta_MD: Tensor) -> tuple[Tensor, Tensor]:
        """Return A `[M, r, I]` and B `[M, O, r]`, views."""
        a, b = theta_MD[:, self.a.columns], theta_MD[:, self.b.columns]
        return a.reshape(len(a), self.rank, -1), b.reshape(len(b), -1, self.rank)

    def write(self, theta_MD: Tensor, a_MRI: Tensor, b_MOR: Tensor) -> None:
        """Put factors into vectors."""
        theta_MD[:, self.a.columns] = a_MRI.flatten(1).to(theta_MD.dtype)
        theta_MD[:, self.b.columns] = b_MOR.flatten(1).to(theta_MD.dtype)


def pairs(layout: Layout, who: str = "adapters") -> list[Pair]:
    """Return the factors of all adapters, in order. Raises UserError where there are none."""
    entries = {entry.key: entry for entry in layout.entries}
    found = []
    for key, a in entries.items():
        module, is_factor, _ = key.partition(".lora_A.")
        if is_factor:
            found.append(Pair(module, a, entries[f"{module}.lora_B.weight"]))
    if not found:
        raise UserError(f"{who}: the selection holds no adapters; use selector.name = 'lora'")
    return found
