"""Drawing new networks of a finished run: pictures, views, turntables, and what is refused."""

from __future__ import annotations

import os
import stat

import numpy as np
import pytest
from PIL import Image

from pdiff_plugins.fields import command
from pdiff_plugins.fields.command import picture
from tests.helpers import call, mistake, pdiff_command

ASKED = ("-o", "kind=torus", "-o", "red=1", "-o", "green=0", "-o", "blue=0", "-o", "size=0.6", "-o", "height=0.4")


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(command, "FRAMES", 3)
    monkeypatch.setenv("PATH", "/nowhere")


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """Stand in for ffmpeg: it writes what it was told and how many bytes of frames it was given."""
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nset -- "$@"\nfor last; do :; done\necho "$@" > "$last"\n/usr/bin/wc -c >> "$last"\n')
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(program.parent))
    return program


def test_what_is_asked_for_is_drawn_in_colour(drawn):
    said = call("render", str(drawn.folder), "-n", "2", "--side", "8", *ASKED)
    (path,) = drawn.folder.glob("render-2-draw-1-kind-torus-red-1-*-8.png")
    assert f"1 network in {path}" in said.replace("\n", "") and "all 2 networks for this are the same one" in said
    asked = drawn.drawing(kind="torus", red="1", green="0", blue="0", size="0.6", height="0.4")
    assert path.read_bytes() == picture(drawn.recipe, asked.draw(2)[:1], drawn.bench, 8)
    with Image.open(path) as image:
        assert image.size == (10, 10) and image.mode == "RGB"


def test_views_are_a_row_for_each_network_and_its_first_is_the_picture(drawn, tmp_path):
    call("render", str(drawn.folder), "-n", "2", "--side", "8", "--views", "4", "--to", str(tmp_path / "v.png"))
    call("render", str(drawn.folder), "-n", "2", "--side", "8", "--to", str(tmp_path / "one.png"))
    views, one = (np.asarray(Image.open(tmp_path / name)) for name in ("v.png", "one.png"))
    assert views.shape == (20, 40, 3) and (views[:10, :10] == one[:, :10]).all()
    assert (views[10:, :10] == one[:, 10:]).all() and not (views[:10, 10:20] == one[:, :10]).all()


def test_a_turntable_is_a_gif_and_says_that_there_is_no_ffmpeg(drawn):
    said = call("render", str(drawn.folder), "-n", "3", "--side", "8", "--turntable")
    (path,) = drawn.folder.glob("render-3-draw-1-8-turntable.*")
    assert path.suffix == ".gif" and "no MP4 beside it" in said and "ffmpeg" in said
    with Image.open(path) as film:
        assert film.n_frames == 3 and film.size == (20, 20) and film.info["loop"] == 0


def test_with_ffmpeg_there_is_an_mp4_too(drawn, ffmpeg, tmp_path):
    call("render", str(drawn.folder), "-n", "1", "--side", "8", "--turntable", "--draw", "2")
    beside = drawn.folder / "render-1-draw-2-8-turntable.mp4"
    told, count = beside.read_text().splitlines()
    assert "-s 10x10 -framerate 12.5" in told and "yuv420p" in told and int(count) == 3 * 3 * 10 * 10 * 3
    call("render", str(drawn.folder), "-n", "1", "--side", "8", "--turntable", "--to", str(tmp_path / "one.mp4"))
    assert (tmp_path / "one.mp4").is_file() and not (tmp_path / "one.gif").exists()


def test_an_ffmpeg_that_fails_leaves_nothing(drawn, ffmpeg, tmp_path):
    ffmpeg.write_text("#!/bin/sh\necho no such codec >&2\nexit 1\n")
    to = tmp_path / "out" / "one.mp4"
    said = mistake("render", str(drawn.folder), "-n", "1", "--side", "8", "--turntable", "--to", str(to))
    assert said == "ffmpeg: could not make an MP4 (no such codec); take a GIF" and not to.parent.exists()


REFUSED = (
    (("--turntable", "--to", "x.png"), "--to x.png: is no name of a GIF or an MP4"),
    (("--to", "x.gif"), "--to x.gif: is no name of a PNG file; let it end in .png, or add --turntable"),
    (("--turntable", "--to", "x.mp4"), "--to x.mp4: an MP4 needs the program ffmpeg, and there is none on PATH"),
    (("--turntable", "--views", "3"), "--turntable shows networks from all sides, --views from some"),
    (("--text", "a torus", "-o", "text=a ball"), "--text and -o text=... say the same; leave one of them out"),
    (("--text", "a tall red torus"), "text: no such factor; there are: blue, green, height, kind, red, size"),
)


@pytest.mark.parametrize(("asked", "line"), REFUSED)
def test_what_cannot_be_is_refused_in_a_line(drawn, asked, line):
    assert mistake("render", str(drawn.folder), "-n", "1", "--side", "8", *asked).startswith(line)


def test_a_mistake_ends_the_program_with_2_and_one_line(drawn, tmp_path):
    done = pdiff_command("render", str(drawn.folder), "--turntable", "--to", "x.png", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: --to x.png") and "Traceback" not in done.stderr
    assert not os.listdir(tmp_path)


def test_the_help_fits_a_terminal(tmp_path):
    done = pdiff_command("render", "-h", cwd=tmp_path, COLUMNS="80")
    assert done.returncode == 0 and max(map(len, done.stdout.splitlines())) <= 80
    assert all(option in done.stdout for option in ("--text", "--turntable", "--views", "--side", "--to"))
