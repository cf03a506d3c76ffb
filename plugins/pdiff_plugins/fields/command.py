"""The command that draws pictures of new networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pdiff.cli.options import Out, Overwrite, RunName, RunOverrides, Sampling, overrides, sampling
from pdiff.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.view import Setup

COLUMNS = 12
"""Networks in a row of the picture."""
FRAMES, FRAME_MS, LOOPS = 36, 80, 3
"""Of a turntable, each shown so many milliseconds; an MP4, which ends, has so many turns."""
MOVING = (".gif", ".mp4")


def render(
    run: RunName,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Networks to draw.")] = 12,
    draw: Annotated[int, typer.Option(min=1, help="Number of the draw: another number gives other networks.")] = 1,
    text: Annotated[str | None, typer.Option(help="What is asked for, in words: short for -o text=...")] = None,
    option: Sampling = None,
    side: Annotated[int, typer.Option(min=8, help="Pixels along each side of one; of solids, cells.")] = 64,
    views: Annotated[int, typer.Option(min=1, help="Sides from which each is seen, in space.")] = 1,
    turntable: Annotated[bool, typer.Option("--turntable", help="Let them turn: a GIF, and an MP4 by ffmpeg.")] = False,
    to: Annotated[str, typer.Option(help="PNG file (turning: GIF or MP4); by default in the run's folder.")] = "",
    overwrite: Overwrite = False,
    set: RunOverrides = None,
    out: Out = "runs",
) -> None:
    """Draw new networks that are shapes or scenes, as one picture."""
    from pdiff.api import open_run
    from pdiff.cli.text import console, print_lines
    from pdiff.files import make_folder, write_bytes

    options = _asked(option, text)
    wanted = Wanted(side, views, turntable)
    _check(to, wanted)
    opened = open_run(run, out=out, set=overrides(set), console=console())
    opened = opened.drawing(**options) if options else opened
    name = f"render-{count}-draw-{draw}{opened.drawn_with}-{wanted.name}"
    path = Path(to) if to else opened.folder / f"{name}{'.gif' if turntable else '.png'}"
    if to and path.exists() and not overwrite:
        raise UserError(f"--to {to}: is there already; choose another name, or replace it with --overwrite")

    def drawn() -> Tensor:
        theta_MD = opened.draw(count, draw=draw)
        return _different(theta_MD) if options else theta_MD

    shown = wanted.pixels(opened.recipe, opened.bench, drawn)
    lines, files = wanted.files(shown, path, both=not to)
    if len(shown) < count:
        lines.append(f"all {count} networks for this are the same one")
    make_folder(path.parent)
    for file, data in files.items():
        write_bytes(file, data)
    networks = f"{len(shown)} network{'s' if len(shown) > 1 else ''}"
    print_lines([*(f"{networks} in {file}" for file in files), *lines])


def _different(theta_MD: Tensor) -> Tensor:
    """Return the networks; a single one where all are the same, as they are of a function of what is asked for."""
    return theta_MD[:1] if bool((theta_MD == theta_MD[:1]).all()) else theta_MD


def _asked(option: list[str] | None, text: str | None) -> dict[str, Any]:
    """Return what is asked for. Raises UserError where the text is said twice."""
    options = sampling(option)
    if text is not None and "text" in options:
        raise UserError("--text and -o text=... say the same; leave one of them out")
    return options | ({} if text is None else {"text": text})


def _check(to: str, wanted: Wanted) -> None:
    """Raise UserError where the picture's name is not that of a file that is written, or other options contradict."""
    from pdiff_plugins.fields.moving import NEEDS, has_mp4

    ending = Path(to).suffix.lower()
    if wanted.turntable and wanted.views > 1:
        raise UserError("--turntable shows networks from all sides, --views from some; leave one of them out")
    if wanted.turntable and to and ending not in MOVING:
        raise UserError(f"--to {to}: is no name of a GIF or an MP4, which turn; let it end in .gif or .mp4")
    if not wanted.turntable and to and ending != ".png":
        turned = ", or add --turntable" if ending in MOVING else ""
        raise UserError(f"--to {to}: is no name of a PNG file; let it end in .png{turned}")
    if ending == ".mp4" and not has_mp4():
        raise UserError(f"--to {to}: {NEEDS}; install it, or let the name end in .gif")


@dataclass(frozen=True)
class Wanted:
    """What is drawn of networks."""

    side: int
    views: int = 1
    turntable: bool = False

    @property
    def name(self) -> str:
        """What a file's name says of it."""
        return f"{self.side}{f'-views-{self.views}' if self.views > 1 else ''}{'-turntable' if self.turntable else ''}"

    def pixels(self, recipe: Setup, bench: Bench, draw: Any) -> Tensor:
        """Return `[M, H, W]`, or `[M, T, H, W]` of sides, or either in colour, of the networks that `draw` gives.

        Raises UserError where networks draw nothing, or have no sides.
        """
        from pdiff_plugins.fields.evaluation.pictures import renderer_of

        renderer = renderer_of(recipe, bench, "render")
        several = FRAMES if self.turntable else self.views
        if several > 1 and renderer.dim == 2:
            asked = "--turntable" if self.turntable else f"--views {self.views}"
            raise UserError(f"{asked}: shapes in the plane have no other side; leave it out")
        return renderer.turned(draw(), self.side, several) if several > 1 else renderer(draw(), self.side)

    def files(self, pixels: Tensor, path: Path, both: bool) -> tuple[list[str], dict[Path, bytes]]:
        """Return what is to be said, and the files; of a turntable a GIF and, where `both`, an MP4."""
        from pdiff_plugins.fields.moving import NEEDS, gif, has_mp4, mp4

        if not self.turntable:
            return [], {path: _still(pixels, self.views)}
        frames, files, lines = _frames(pixels), dict[Path, bytes](), list[str]()
        if path.suffix.lower() == ".gif":
            files[path] = gif(frames, FRAME_MS)
        if path.suffix.lower() == ".mp4" or (both and has_mp4()):
            files[path.with_suffix(".mp4")] = mp4(frames, FRAME_MS, LOOPS)
        elif both:
            lines = [f"no MP4 beside it: {NEEDS}"]
        return lines, files


def _still(pixels: Tensor, views: int) -> bytes:
    """Return the picture: networks in rows, or each network's views in a row."""
    from pdiff_plugins.fields.evaluation.pictures import in_rows, mosaic

    return mosaic(pixels if views > 1 else in_rows(pixels, min(COLUMNS, len(pixels))))


def _frames(pixels_MT: Tensor) -> list[np.ndarray]:
    """Return the moments of a turntable, networks in rows, in about as many columns as there are rows."""
    from pdiff_plugins.fields.evaluation.pictures import in_rows, tiled

    columns = min(COLUMNS, max(1, round(len(pixels_MT) ** 0.5 + 0.499)))
    return [tiled(in_rows(pixels_M, columns)) for pixels_M in pixels_MT.unbind(dim=1)]


def picture(recipe: Setup, theta_MD: Tensor, bench: Bench, side: int) -> bytes:
    """Return what networks show, twelve in a row, as PNG. Raises UserError where they are no shapes or scenes."""
    return _still(Wanted(side).pixels(recipe, bench, lambda: theta_MD), 1)
