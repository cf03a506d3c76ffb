"""Moving pictures: GIF, and MP4 where ffmpeg is there."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pdiff.errors import UserError

FFMPEG = "ffmpeg"
NEEDS = "an MP4 needs the program ffmpeg, and there is none on PATH"


def gif(frames: Sequence[np.ndarray], times: int | Sequence[int], enlarged: int = 1) -> bytes:
    """Return frames `[H, W]` or `[H, W, 3]` (uint8) as a GIF without end, each shown so many milliseconds."""
    images = [image.resize((image.width * enlarged, image.height * enlarged), Image.Resampling.NEAREST)
              for image in map(Image.fromarray, frames)]  # fmt: skip
    file, shown = io.BytesIO(), times if isinstance(times, int) else list(times)
    images[0].save(file, "gif", save_all=True, append_images=images[1:], duration=shown, loop=0)
    return file.getvalue()


def has_mp4() -> bool:
    """Return whether `mp4` can be asked for."""
    return shutil.which(FFMPEG) is not None


def mp4(frames: Sequence[np.ndarray], time: int, loops: int = 1) -> bytes:
    """Return frames as an MP4, each shown so many milliseconds, all of them so many times over.

    Raises UserError where ffmpeg is absent, or cannot do it.
    """
    program = shutil.which(FFMPEG)
    if program is None:
        raise UserError(f"{NEEDS}; install it, or take a GIF")
    colours = [np.stack([frame] * 3, axis=2) if frame.ndim == 2 else frame for frame in frames]
    height, width = colours[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "turn.mp4"
        command = [
            program, "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}",
            "-framerate", f"{1000 / time:g}", "-i", "-", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white",
            "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path),
        ]  # fmt: skip
        done = subprocess.run(
            command, input=b"".join(frame.tobytes() for frame in colours * loops), capture_output=True
        )
        if done.returncode or not path.is_file():
            said = " ".join(done.stderr.decode(errors="replace").split())[-160:]
            raise UserError(f"ffmpeg: could not make an MP4 ({said or done.returncode}); take a GIF")
        return path.read_bytes()
