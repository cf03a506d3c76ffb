"""How good and how new networks are."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pdiff.components.base import Component

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View


class Evaluator(Component):
    """Turns the populations of a run into scores."""

    kind: ClassVar[str] = "evaluator"
    columns: ClassVar[tuple[tuple[str, str, str], ...]] = ()
    """What the summary table shows per source: (title, key in the source's scores, format spec)."""
    legend: ClassVar[str] = ""
    """What the titles mean, in one line below the table."""

    @abstractmethod
    def evaluate(self, view: View, ctx: Context) -> dict[str, Any]:
        """Return JSON: `networks` maps each source to its scores; everything else is about the run as a whole."""
