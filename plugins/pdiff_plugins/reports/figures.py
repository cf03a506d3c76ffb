"""All figures of a report: those of the evaluators, then what belongs to none. Imports matplotlib: import it lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pdiff.components import Figure
from pdiff.results.shown import Showing
from pdiff_plugins.drawing.style import figures
from pdiff_plugins.reports.weights import heat_map, parameter_map, training_curves

if TYPE_CHECKING:
    from pdiff.view import View

OURS = (
    ("parameters", "Parameters of originals and generated networks", heat_map),
    ("map", "Map of the parameter space", parameter_map),
    ("training", "Training curves", training_curves),
)


def every_figure(view: View, showing: Showing) -> list[Figure]:
    """Draw every figure for which the run has numbers, in the order in which they are shown."""
    theirs = showing.figures(view, taken=[name for name, *_ in OURS])
    return sorted([*theirs, *figures(view, *OURS, order=90)], key=lambda figure: figure.order)
