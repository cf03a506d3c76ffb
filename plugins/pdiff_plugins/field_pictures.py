"""Pictures of neural fields, for evaluators to keep. M networks, F frames, H = W the side in pixels."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from pdiff.context import Context
from pdiff.device import placed
from pdiff.population import Predictor
from pdiff.progress import Progress
from pdiff.stages import build_network
from pdiff_plugins.field_data import FieldSplit
from pdiff_plugins.field_shapes import grid

if TYPE_CHECKING:
    from pdiff.recipe import Recipe
    from pdiff.zoo import Zoo

AT_ONCE = 2**12
"""Points per batch."""


class Renderer:
    """Draws networks of a run at any number of pixels."""

    def __init__(self, recipe: Recipe, zoo: Zoo, ctx: Context):
        data = recipe.dataset.load(ctx)
        self.network: nn.Module = build_network(recipe.architecture.model_copy(update={"weights": ""}), data, seed=0)
        self.network.load_state_dict(zoo.anchor)
        self.task, self.ctx = recipe.task, ctx.replace(batch_size=AT_ONCE, progress=Progress())
        self.predictor = Predictor(placed(self.network, ctx.device), zoo.layout, self.task)

    def __call__(self, theta_MD: Tensor, side: int) -> Tensor:
        """Return pixels `[M, H, W]` (uint8), dark where the shape is."""
        points_P2 = grid(side)
        split = FieldSplit(points_P2, torch.zeros(len(points_P2), 1), torch.zeros(1))
        values_MP = self.predictor.predict(theta_MD, split, self.ctx, f"render {side} x {side}")
        return to_grey(self.task.occupancy(values_MP)).reshape(-1, side, side)


def to_grey(occupancy: Tensor) -> Tensor:
    """Return occupancy 0..1 as uint8, 1 black."""
    return (255 * (1 - occupancy)).round().clamp(0, 255).to(torch.uint8)


def mosaic(pixels_RCHW: Tensor, line: int = 1) -> bytes:
    """Return rows and columns of pictures, a light line around each, as one PNG."""
    framed = functional.pad(pixels_RCHW, (line, line, line, line), value=200)
    whole = framed.transpose(1, 2).flatten(2, 3).flatten(0, 1)
    file = io.BytesIO()
    Image.fromarray(whole.numpy()).save(file, "png", optimize=True)
    return file.getvalue()


def text(mosaic: bytes) -> str:
    """Return a PNG in base64, as scores keep it."""
    return base64.b64encode(mosaic).decode()


def opened(kept: str) -> Image.Image:
    """Return what `text` gave as a grey image."""
    with Image.open(io.BytesIO(base64.b64decode(kept))) as image:
        return image.convert("L")
