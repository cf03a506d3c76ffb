"""Figures of what networks were asked for. Imports matplotlib: import it lazily."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from pdiff_plugins.drawing.kept import opened
from pdiff_plugins.drawing.style import INK, VERMILLION, WIDTH, Drawing, figure
from pdiff_plugins.fields.figures.networks import kept, rows_of, show

if TYPE_CHECKING:
    from pdiff.view import View

LETTERS = 22
"""Of a sentence in a line below a picture."""
LABEL = 0.42
"""Inches of height for the sentence below a picture."""
TITLE = 0.3
"""Inches of height for what a row is."""


def unseen(view: View, looks: object) -> Drawing:
    """Draw held-out shapes: what they are, and what several draw for them."""
    shown = kept(view, "unseen")
    if not shown:
        return None
    titles, picture = shown["rows"], np.asarray(opened(shown["picture"]))
    size = WIDTH * picture.shape[0] / picture.shape[1] / len(titles)
    chart = figure(len(titles) * (size + TITLE))
    grid = chart.subplots(len(titles), 1, squeeze=False).ravel()
    for axes, title, row in zip(grid, titles, np.array_split(picture, len(titles)), strict=True):
        show(axes, row)
        axes.set_title(title)
    what = "scenes" if kept(view, "colour") else "shapes"
    rival = f" {titles[3].split(': ')[0]} is the best of the plain ways." if len(titles) > 3 else ""
    where = "the first view that no network was fitted to" if kept(view, "colour") else "the points that were given"
    return chart, (
        f"The first {what} that no method has seen, none picked, at {where}. First what they are, then networks "
        f"fitted to them (the best that can be asked for), then what {view.method} makes of their description.{rival} "
        "dB: mean PSNR of these pictures, of all that are held out (at most 64)."
    )


def words(view: View, looks: object) -> Drawing:
    """Draw the networks for a sentence, each of its words replaced in turn."""
    shown = kept(view, "words")
    if not shown:
        return None
    sentences, picture = shown["sentences"], np.asarray(opened(shown["picture"]))
    columns = max(map(len, sentences))
    size = WIDTH / columns
    chart = figure(len(sentences) * (size + LABEL), WIDTH)
    grid = chart.subplots(len(sentences), columns, squeeze=False)
    for axes_row, told_row, pixels_row in zip(grid, sentences, np.array_split(picture, len(sentences)), strict=True):
        for number, pixels in enumerate(np.array_split(pixels_row, columns, axis=1)):
            axes = axes_row[number]
            axes.set_axis_off()
            if number < len(told_row):
                show(axes, pixels)
                axes.set_anchor("N")
                axes.text(
                    0.5, -0.04, textwrap.fill(told_row[number], LETTERS), transform=axes.transAxes, ha="center",
                    va="top", fontsize=6.5, color=VERMILLION if number else INK,
                )  # fmt: skip
    return chart, (
        f"What {view.method} gives for one sentence (left, in every row), and for others in which one word is "
        "replaced, a row for each word that texts of the zoo have others for. The sentence is the first held-out "
        "one's, and nothing is picked. A word that matters changes what it names, and nothing else."
    )


def between(view: View, looks: object) -> Drawing:
    """Draw networks for conditions between two."""
    shown = kept(view, "conditions")
    if not shown:
        return None
    return rows_of({"asked for conditions from the first learnt network's to the last one's, in equal steps": shown}), (
        f"What {view.method} gives for conditions on the straight line between two that it has learnt. Between two "
        "kinds there is no third: there it has to decide."
    )
