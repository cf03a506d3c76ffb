"""Rows of generated images, for people to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from pdiff.context import Context
from pdiff.running.device import placed
from pdiff_plugins.drawing.kept import png, text
from pdiff_plugins.generation.frechet import to_pixels

if TYPE_CHECKING:
    from pdiff.view import View
    from pdiff_plugins.generation.task import Generation


@torch.no_grad()
def drawn(view: View, task: Generation, theta: Mapping[str, Tensor], count: int, ctx: Context) -> dict[str, Tensor]:
    """Return `[count, C, H, W]` (uint8) for each source's network theta_D, from the same noise for all."""
    model = placed(view.bench.build(0), ctx.device).eval()
    noise = torch.randn(count, *view.bench.input_shape, generator=ctx.generator("shown")).to(ctx.device)
    rows = {}
    for source, theta_D in theta.items():
        model.load_state_dict(view.zoo.state_dict(theta_D))
        rows[source] = to_pixels(task.predict(model, noise)).cpu()
    return rows


def strip(images_ECHW: Tensor) -> str:
    """Return images side by side, white between them, as one PNG in base64."""
    gap = max(1, images_ECHW.shape[-1] // 16)
    row = torch.cat(list(functional.pad(images_ECHW, (0, gap), value=255)), dim=2)[..., :-gap].permute(1, 2, 0)
    return text(png((row if row.shape[2] == 3 else row[..., 0]).numpy()))
