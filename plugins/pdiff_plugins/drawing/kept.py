"""Pictures as scores keep them: a PNG in base64."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image


def png(pixels: np.ndarray) -> bytes:
    """Return pixels `[H, W]` or `[H, W, 3]` (uint8) as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", optimize=True)
    return file.getvalue()


def text(png: bytes) -> str:
    """Return a file as JSON holds it."""
    return base64.b64encode(png).decode()


def opened(kept: str) -> Image.Image:
    """Return what `text` gave as an image."""
    with Image.open(io.BytesIO(base64.b64decode(kept))) as image:
        image.load()
        return image
