"""What is generated."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pdiff.components.base import Component

if TYPE_CHECKING:
    from torch import nn


class Selector(Component):
    """Names the state-dict entries that are generated; all others are the anchor."""

    kind: ClassVar[str] = "selector"

    @abstractmethod
    def select(self, model: nn.Module) -> list[str]:
        """Return state-dict keys in state-dict order. Raises UserError when nothing matches."""
