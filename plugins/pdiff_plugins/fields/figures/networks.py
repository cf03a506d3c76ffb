"""Figures of networks that are shapes or scenes. Imports matplotlib: import it lazily."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pdiff_plugins.drawing.kept import opened
from pdiff_plugins.drawing.style import WIDTH, Drawing, figure
from pdiff_plugins.fields.moving import gif

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pdiff.view import View

ENLARGED, SMALL = 2, 100
"""Screen pixels of the animation per pixel drawn, where the side of a picture has fewer than so many."""
FINE = 1000
"""Pixels of a picture's width from which it is smoothed when it is chart smaller."""
FRAME_MS, LAST_MS, TURN_MS = 220, 2500, 110


def kept(view: View, key: str) -> Any:
    """Return what the evaluator has kept under a name; None where it has not."""
    return view.scores["renderings"].get(key)


def show(axes: Axes, mosaic: str | np.ndarray) -> None:
    """Draw a picture, grey or in colour, as it is kept or as pixels."""
    pixels = np.asarray(opened(mosaic)) if isinstance(mosaic, str) else mosaic
    how = "nearest" if pixels.shape[1] < FINE else "antialiased"
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation=how)
    axes.set_axis_off()


def rows_of(mosaics: dict[str, str]) -> Figure:
    """Return a figure of mosaics below one another, each under its title."""
    sizes = [opened(mosaic).size for mosaic in mosaics.values()]
    chart = figure(sum(WIDTH * height / width + 0.3 for width, height in sizes))
    grid = chart.subplots(len(mosaics), 1, squeeze=False, height_ratios=[h / w for w, h in sizes]).ravel()
    for axes, (title, mosaic) in zip(grid, mosaics.items(), strict=True):
        show(axes, mosaic)
        axes.set_title(title)
    return chart


def film(view: View, looks: object) -> Drawing:
    """Draw networks on their way from noise."""
    shown = kept(view, "film")
    if not shown:
        return None
    chart = rows_of(
        {"the networks, noise fading": shown["noisy"], "the clean networks predicted from them": shown["clean"]}
    )
    source = shown.get("source", view.method)
    other = "" if source == view.method else f" ({view.method} has no such way: it is not made from noise.)"
    shares = ", ".join(f"{signal:.2g}" for signal in shown["signal"])
    return chart, (
        f"Each row is one network of {source}, from noise (left) to sample (right); nothing is picked.{other} The "
        f"share of signal in the columns' weights is {shares}. Pure noise already draws something, because weights are "
        "learnt as deviations from the average network. Below, what the denoiser takes each network for at that moment."
    ) + _empty(view)


def film_animated(view: View, looks: object) -> Drawing:
    """Return the film as GIF: each frame has the networks above their predicted clean ones."""
    shown = kept(view, "film")
    if not shown:
        return None
    rows = [np.asarray(opened(shown[name])) for name in ("noisy", "clean")]
    count = len(shown["signal"])
    times = [FRAME_MS] * (count - 1) + [LAST_MS]
    return _animated(rows, count, times), (
        "The same, animated: networks above, the clean networks predicted from them below."
    )


def turntable(view: View, looks: object) -> Drawing:
    """Return samples as they turn, as GIF."""
    shown = kept(view, "turned")
    if not shown:
        return None
    said = f"The first samples of {view.method}, from all around; nothing is picked."
    seen = " Networks were fitted to views from some sides; what lies between is their own." * kept(view, "colour")
    return _animated([np.asarray(opened(shown["picture"]))], shown["count"], TURN_MS), said + seen


def _animated(rows: Sequence[np.ndarray], count: int, times: int | list[int]) -> bytes:
    """Return mosaics whose columns are so many moments as GIF, each mosaic's column as a line of a frame."""
    frames = [_frame([np.array_split(row, count, axis=1)[number] for row in rows]) for number in range(count)]
    side = rows[0].shape[1] // count
    return gif(frames, times, ENLARGED if side < SMALL else 1)


def _frame(columns: list[np.ndarray]) -> np.ndarray:
    """Return the columns turned into rows, one above the other."""
    side = columns[0].shape[1]
    lines = [np.concatenate(np.split(column, len(column) // side), axis=1) for column in columns]
    return np.concatenate(lines)


def samples(view: View, looks: object) -> Drawing:
    """Draw samples above the training shapes nearest to them."""
    shown = kept(view, "samples")
    if not shown:
        return None
    what = "scene" if kept(view, "colour") else "shape"
    chart = rows_of({f"networks of {view.method}, and below each the training {what} nearest to it": shown})
    asked = getattr(view.generators.get(view.method), "conditional", False)
    return chart, f"The first samples, none picked. A copy would equal the {what} below it." + (
        f" Each was asked for what some training {what} is, so that it should come near that one." if asked else ""
    )


def resolutions(view: View, looks: object) -> Drawing:
    """Draw one sample at several sizes."""
    shown = kept(view, "sides")
    if not shown:
        return None
    colour = kept(view, "colour")
    chart = figure(WIDTH / len(shown) + 0.3)
    for axes, (side, picture) in zip(chart.subplots(1, len(shown), squeeze=False).ravel(), shown.items(), strict=True):
        show(axes, picture)
        axes.set_title(" x ".join([side] * (2 if colour else kept(view, "dim"))))
    return chart, (
        f"One network of {view.method}, asked {'along' if colour else 'at'} more and more "
        f"{'rays' if colour else 'points'}: a field has no resolution of its own. What lies between the "
        f"{'rays to' if colour else 'points at'} which it was fitted is its own idea."
    )


def between(view: View, looks: object) -> Drawing:
    """Draw the straight line between two samples."""
    shown = kept(view, "between")
    if not shown:
        return None
    what = "scenes" if kept(view, "colour") else "shapes"
    return rows_of({"from the first sample to the last, in equal steps of the weights": shown}), (
        f"Networks whose weights are mixed in proportion. They draw {what} where hidden units mean the same in both."
    ) + _empty(view)


def _empty(view: View) -> str:
    """Say what an empty picture means, which in the plane is seen."""
    solid = kept(view, "dim") == 3 and not kept(view, "colour")
    return " An empty picture is a network without any surface." if solid else ""
