"""What a person reads."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from pdiff.components.base import Component

if TYPE_CHECKING:
    from pathlib import Path

    from pdiff.view import View


class Report(Component):
    """Writes what a person reads."""

    kind: ClassVar[str] = "report"

    @abstractmethod
    def render(self, view: View, out: Path) -> list[Path]:
        """Write files below the folder `out` and return their paths."""
