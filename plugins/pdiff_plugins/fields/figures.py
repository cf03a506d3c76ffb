"""Figures of neural fields. Imports matplotlib: import it lazily."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pdiff_plugins.drawing.kept import opened
from pdiff_plugins.drawing.style import WIDTH, Drawing, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pdiff.view import View

ENLARGED, SMALL = 2, 100
"""Screen pixels of the animation per pixel drawn, where the side of a picture has fewer than so many."""
FINE = 1000
"""Pixels of a picture's width from which it is smoothed when it is chart smaller."""
FRAME_MS, LAST_MS = 220, 2500


def _kept(view: View, key: str) -> Any:
    return view.scores["renderings"][key]


def _show(axes: Axes, mosaic: str) -> None:
    picture = opened(mosaic)
    how = "nearest" if picture.width < FINE else "antialiased"
    axes.imshow(np.asarray(picture), cmap="gray", vmin=0, vmax=255, interpolation=how)
    axes.set_axis_off()


def _rows(mosaics: dict[str, str]) -> Figure:
    """Return a figure of mosaics below one another, each under its title."""
    sizes = [opened(mosaic).size for mosaic in mosaics.values()]
    chart = figure(sum(WIDTH * height / width + 0.3 for width, height in sizes))
    grid = chart.subplots(len(mosaics), 1, squeeze=False, height_ratios=[h / w for w, h in sizes]).ravel()
    for axes, (title, mosaic) in zip(grid, mosaics.items(), strict=True):
        _show(axes, mosaic)
        axes.set_title(title)
    return chart


def film(view: View, looks: object) -> Drawing:
    """Draw networks on their way from noise."""
    kept = _kept(view, "film")
    if not kept:
        return None
    chart = _rows(
        {"the networks, noise fading": kept["noisy"], "the clean networks predicted from them": kept["clean"]}
    )
    shares = ", ".join(f"{signal:.2g}" for signal in kept["signal"])
    return chart, (
        f"Each row is one network of {view.method}, from noise (left) to sample (right); nothing is picked. The share "
        f"of signal in the columns' weights is {shares}. Pure noise already draws something, because weights are "
        "learnt as deviations from the average network. Below, what the denoiser takes each network for at that moment."
    ) + _empty(view)


def film_animated(view: View, looks: object) -> Drawing:
    """Return the film as GIF: each frame has the networks above their predicted clean ones."""
    kept = _kept(view, "film")
    if not kept:
        return None
    rows = [np.asarray(opened(kept[name])) for name in ("noisy", "clean")]
    count = len(kept["signal"])
    frames = [_frame([np.array_split(row, count, axis=1)[number] for row in rows]) for number in range(count)]
    file = io.BytesIO()
    times = [FRAME_MS] * (count - 1) + [LAST_MS]
    frames[0].save(file, "gif", save_all=True, append_images=frames[1:], duration=times, loop=0)
    return file.getvalue(), "The same, animated: networks above, the clean networks predicted from them below."


def _frame(columns: list[np.ndarray]) -> Image.Image:
    """Return the columns turned into rows, one above the other."""
    side = columns[0].shape[1]
    lines = [np.concatenate(np.split(column, len(column) // side), axis=1) for column in columns]
    image, times = Image.fromarray(np.concatenate(lines)), ENLARGED if side < SMALL else 1
    return image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)


def samples(view: View, looks: object) -> Drawing:
    """Draw samples above the training shapes nearest to them."""
    kept = _kept(view, "samples")
    if not kept:
        return None
    chart = _rows({f"networks of {view.method}, and below each the training shape nearest to it": kept})
    return chart, "The first samples, none picked. A copy would equal the shape below it."


def resolutions(view: View, looks: object) -> Drawing:
    """Draw one sample at several sizes."""
    kept = _kept(view, "sides")
    if not kept:
        return None
    chart = figure(WIDTH / len(kept) + 0.3)
    for axes, (side, picture) in zip(chart.subplots(1, len(kept), squeeze=False).ravel(), kept.items(), strict=True):
        _show(axes, picture)
        axes.set_title(" x ".join([side] * _kept(view, "dim")))
    return chart, (
        f"One network of {view.method}, asked at more and more points: a field has no resolution of its own. What lies "
        "between the points at which it was fitted is its own idea."
    )


def between(view: View, looks: object) -> Drawing:
    """Draw the straight line between two samples."""
    kept = _kept(view, "between")
    if not kept:
        return None
    return _rows({"from the first sample to the last, in equal steps of the weights": kept}), (
        "Networks whose weights are mixed in proportion. They draw shapes where hidden units mean the same in both."
    ) + _empty(view)


def _empty(view: View) -> str:
    """Say what an empty picture means, which in the plane is seen."""
    return " An empty picture is a network without any surface." if _kept(view, "dim") == 3 else ""
