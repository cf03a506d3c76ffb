"""Lenses that bend: where rays went before. x and y are tangents of angles from the optical axis, `[H, W]`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from pdiff.errors import UserError
from pdiff_plugins.radiance.captures.scene import Lens

Straight = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
ROUNDS = 100
SETTLED = 1e-9
"""Tangents by which the last round moves."""
WITHIN = 1e-2
"""Pixels by which what is found may miss."""


def bent(x: Tensor, y: Tensor, lens: Lens) -> tuple[Tensor, Tensor]:
    """Return where a lens puts rays: OpenCV's formula, of k1, k2, p1, p2, k3 (camera calibration, `projectPoints`)."""
    radial, (across, down) = _radial(x, y, lens), _tangential(x, y, lens)
    return x * radial + across, y * radial + down


def _radial(x: Tensor, y: Tensor, lens: Lens) -> Tensor:
    k1, k2, _, _, k3 = lens.bent
    square = x.square() + y.square()
    return 1 + square * (k1 + square * (k2 + square * k3))


def _tangential(x: Tensor, y: Tensor, lens: Lens) -> tuple[Tensor, Tensor]:
    _, _, p1, p2, _ = lens.bent
    square = x.square() + y.square()
    return 2 * p1 * x * y + p2 * (square + 2 * x.square()), p1 * (square + 2 * y.square()) + 2 * p2 * x * y


def straight(lens: Lens, file: Path) -> Straight | None:
    """Return what undoes a lens, by a fixed point as OpenCV's undistortPoints does; None where nothing is bent.

    It raises UserError, which names the picture, where no fixed point is found.
    """
    if not any(lens.bent):
        return None

    def undone(across: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
        across, down = across.double(), down.double()
        x, y = across, down
        for _ in range(ROUNDS):
            radial, (more_x, more_y) = _radial(x, y, lens), _tangential(x, y, lens)
            before, x, y = torch.stack([x, y]), (across - more_x) / radial, (down - more_y) / radial
            if not (torch.stack([x, y]) - before).abs().max() > SETTLED:
                break
        again_x, again_y = bent(x, y, lens)
        miss = torch.maximum((again_x - across).abs() * lens.focal[0], (again_y - down).abs() * lens.focal[1]).max()
        if not miss < WITHIN:
            raise UserError(
                f"{file}: its lens (k1, k2, p1, p2, k3 = {', '.join(f'{number:g}' for number in lens.bent)}) bends the "
                "picture's edge so far that it cannot be undone; undistort the pictures, or set dataset.side"
            )
        return x.float(), y.float()

    return undone
