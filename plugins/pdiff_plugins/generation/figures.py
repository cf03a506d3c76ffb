"""The figure of generated images. Imports matplotlib: import it lazily."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pdiff_plugins.drawing.style import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pdiff.view import View


def generated_images(view: View, looks: object) -> tuple[Figure, str] | None:
    """Draw the rows that the evaluator `frechet` kept, one per source."""
    rows = view.scores.get("frechet", {}).get("images")
    if not rows:
        return None
    made = figure(0.75 * len(rows))
    grid = made.subplots(len(rows), 1, squeeze=False).ravel()
    for axes, (name, row) in zip(grid, rows.items(), strict=True):
        with Image.open(io.BytesIO(base64.b64decode(row))) as image:
            axes.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_axis_off()
        axes.text(-0.01, 0.5, name, transform=axes.transAxes, ha="right", va="center")
    return made, (
        f"Real images of the test split, and images by the network of each source that is best on the {view.selection} "
        "split. Images below one another begin from the same noise."
    )
