"""How far sets of wrong answers overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def iou(a_ME: Tensor, b_NE: Tensor) -> Tensor:
    """Return intersection over union `[M, N]` (float64) of sets given as bool rows; 1 where both are empty."""
    import torch

    intersection = (a_ME.float() @ b_NE.float().T).double()
    union = a_ME.sum(dim=1, keepdim=True) + b_NE.sum(dim=1) - intersection
    return torch.where(union > 0, intersection / union.clamp_min(1), 1.0)
