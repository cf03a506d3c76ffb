"""The figure of generated images. Imports matplotlib: import it lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pdiff_plugins.drawing.kept import opened
from pdiff_plugins.drawing.style import Drawing, figure

if TYPE_CHECKING:
    from pdiff.view import View


def generated_images(view: View, looks: object) -> Drawing:
    """Draw the rows that the evaluator `frechet` kept, one per source."""
    rows = view.scores["frechet"]["images"]
    if not rows:
        return None
    chart = figure(0.75 * len(rows))
    grid = chart.subplots(len(rows), 1, squeeze=False).ravel()
    pictures = {name: np.asarray(opened(row)) for name, row in rows.items()}
    longest = max(picture.shape[1] for picture in pictures.values())
    for axes, (name, picture) in zip(grid, pictures.items(), strict=True):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_xlim(-0.5, longest - 0.5)  # there may be fewer real images; all rows begin at the left
        axes.set_axis_off()
        axes.text(-0.01, 0.5, name, transform=axes.transAxes, ha="right", va="center")
    return chart, (
        f"Real images of the test split, and images by the network of each source that is best on the {view.selection} "
        "split. Images below one another begin from the same noise."
    )
