"""The look of figures: one colour and marker per source, axes that keep to what matters, PNGs with stable bytes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from pdiff.components import Figure as Shown
from pdiff.view import ORIGINAL

if TYPE_CHECKING:
    from matplotlib.axis import Axis

    from pdiff.view import View

Drawing = tuple[Figure | bytes, str] | None
"""A chart, or an animation as GIF, and its caption; None where a run has no numbers for it."""
Draw = Callable[["View", "Mapping[str, Look]"], Drawing]
WIDTH = 9.2
DPI = 200
INK, FAINT = "#222222", "#8a8a8a"
GREY, VERMILLION = "#6e6e6e", "#D55E00"
HUES = (
    "#0072B2", "#E69F00", "#009E73", "#3F9FD8", "#CC79A7", "#8f7a00", "#3b2a6b",
    "#7a4a21", "#17becf", "#e7298a", "#111111", "#8ccf3f", "#8b0000", "#9e7bff",
)  # fmt: skip
"""First Okabe and Ito's palette but for what originals and the method take; yellow is darkened to be seen on white."""
TOWARDS = (0.0, 0.45, -0.45)
"""Share of black, of white where it is negative, in the hues as they are used the first time, the second, the third."""
MARKERS = ("D", "*", "^", "s", "P", "X", "v")
STYLE = {
    "font.family": "DejaVu Sans", "font.size": 9.5, "axes.titlesize": 10.5, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": FAINT,
    "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK, "axes.grid": True,
    "grid.color": "#e6e6e6", "grid.linewidth": 0.7, "axes.axisbelow": True, "legend.frameon": False,
    "legend.fontsize": 8.5, "figure.facecolor": "white", "axes.facecolor": "white",
    "text.parse_math": False,
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """How a source is drawn."""

    colour: str
    marker: str
    size: float


def looks(sources: Sequence[str], method: str) -> dict[str, Look]:
    """Return a look per source, no two alike: grey originals, the vermillion method, a hue per baseline.

    Variants of a baseline have its marker and shades of its hue; when all hues are taken, darker and paler ones follow.
    """
    families: dict[str, list[str]] = {}
    for source in sources:
        family = source if source in (ORIGINAL, method) else f"baseline {source.split(' ')[0]}"
        families.setdefault(family, []).append(source)
    look_of = {ORIGINAL: Look(GREY, "o", 16), method: Look(VERMILLION, "o", 20)}
    baselines = [members for family, members in families.items() if family not in (ORIGINAL, method)]
    taken = {look.colour for look in look_of.values()}
    for number, members in enumerate(baselines):
        again, place = divmod(number, len(HUES))
        marker = MARKERS[(number + number // len(MARKERS)) % len(MARKERS)]
        for index, source in enumerate(members):
            colour = shade(_mixed(HUES[place], TOWARDS[again % len(TOWARDS)]), index, len(members))
            while colour in taken:  # of hundreds
                colour = f"#{(int(colour[1:], 16) + 1) % 2**24:06x}"
            taken.add(colour)
            look_of[source] = Look(colour, marker, 34 if marker == "*" else 18)
    return {source: look_of[source] for source in sources}


def _mixed(hue: str, share: float) -> str:
    """Return the hue with a share of black, or of white where that is negative."""
    towards = 0.0 if share >= 0 else 1.0
    red, green, blue = ((1 - abs(share)) * c + abs(share) * towards for c in to_rgb(hue))
    return to_hex((red, green, blue))


def shade(hue: str, index: int, count: int) -> str:
    """Return the hue itself, or steps from lighter to darker around it."""
    place = 0.0 if count == 1 else 2 * index / (count - 1) - 1
    return _mixed(hue, 0.3 * place if place < 0 else 0.45 * place)


def figures(view: View, *drawings: tuple[str, str, Draw], order: int = 50) -> Iterator[Shown]:
    """Draw in this style, each source in its look; `drawings` are (name, title, what draws it)."""
    look_of = looks(list(view.scores["networks"]), view.method)
    for name, title, draw in drawings:
        with styled():
            drawing = draw(view, look_of)
            chart, caption = drawing or (b"", "")
            kind, data = ("gif", chart) if isinstance(chart, bytes) else ("png", png(chart))
        if drawing:
            yield Shown(name, title, caption, data, kind, order)


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Draw in this style, whatever matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(cast(Any, STYLE))
        yield


def figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure that belongs to no window and no global list."""
    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def png(made: Figure) -> bytes:
    """Return the figure as PNG, without date and version: small, and the same bytes each time.

    Charts have 256 colours; pictures in colour keep theirs.
    """
    from PIL import Image

    file, small = io.BytesIO(), io.BytesIO()
    made.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    with Image.open(file) as image:
        if any(getattr(shown.get_array(), "ndim", 0) == 3 for axes in made.axes for shown in axes.images):
            image.convert("RGB").save(small, "png", optimize=True)
            return small.getvalue()
        # Maximum coverage keeps rare colours, as that of a single marker; the median cut merges them with others.
        few = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(small, "png", optimize=True)
    return small.getvalue()


def finite(values: Any) -> np.ndarray:
    numbers = np.asarray([v for v in values if v is not None], dtype=float)
    return numbers[np.isfinite(numbers)]


def plain_log(axis: Axis, low: float, high: float) -> None:
    """Write numbers as people do along a logarithmic axis, also where it spans less than a decade."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=steps_between(low, high)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def steps_between(low: float, high: float) -> tuple[float, ...]:
    """Return the numbers of each decade that stand on a logarithmic axis: the fewer decades, the more."""
    if high > 100 * low:
        return (1.0,)
    return (1.0, 2.0, 5.0) if high > 5 * low else (1.0, 1.2, 1.5, *map(float, range(2, 10)))


def focus(
    values: Mapping[str, np.ndarray], always: Sequence[str], reach: float = 1.5
) -> tuple[float, float, dict[str, int]]:
    """Return (low, high) of an axis that no far-off source squashes, and how many values of each source lie outside.

    The sources `always` (but their most extreme hundredth) decide; others widen the axis on each side by at most
    `reach` times its length.
    """
    core = np.concatenate([np.quantile(values[s], [0.01, 0.99]) for s in always if len(values.get(s, ()))])
    low, high = core.min(), core.max()
    room = reach * max(high - low, 0.01 * max(abs(low), abs(high)), 1e-12)
    pooled = np.concatenate(list(values.values()))
    near = pooled[(pooled >= low - room) & (pooled <= high + room)]
    low, high = near.min(), near.max()
    margin = 0.05 * (high - low) or room / 4
    low, high = low - margin, high + margin
    outside = {source: int(((numbers < low) | (numbers > high)).sum()) for source, numbers in values.items()}
    return float(low), float(high), {source: count for source, count in outside.items() if count}


def left_out(outside: Mapping[str, int], values: Mapping[str, np.ndarray], spec: str) -> str:
    """Return the sentence that says what an axis does not show."""
    whole = [f"{s} ({format(np.median(values[s]), spec)})" for s, count in outside.items() if count == len(values[s])]
    some = [f"{count} of {len(values[s])} {s}" for s, count in outside.items() if count < len(values[s])]
    kinds = (("Not shown", whole), ("Off the axis", some))
    return " ".join(f"{title}: {', '.join(parts)}." for title, parts in kinds if parts)


def violin(values: np.ndarray, highest: float = np.inf) -> tuple[np.ndarray, np.ndarray] | None:
    """Return (positions, heights in 0..1) of a Gaussian kernel density (half Scott's width), or None without spread."""
    width = 0.5 * values.std() * len(values) ** -0.2 if len(values) > 7 else 0.0
    if width <= 1e-9 * max(1.0, np.abs(values).max(initial=0)):
        return None
    grid = np.linspace(values.min() - 3 * width, max(values.max(), min(values.max() + 3 * width, highest)), 160)
    density = np.exp(-0.5 * ((grid[:, None] - values) / width) ** 2).sum(axis=1)
    return grid, density / density.max()


def scatter_offsets(count: int) -> np.ndarray:
    """Return evenly scattered offsets in -0.5..0.5, the same each time (golden-ratio sequence)."""
    return (np.arange(count) * 0.6180339887498949) % 1 - 0.5
