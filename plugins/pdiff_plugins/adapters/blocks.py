"""Blocks along the diagonal of matrices: factors and products of convolutions whose groups see nothing of each other.

N matrices of X rows and Y columns, g groups.
"""

from __future__ import annotations

import torch
from torch import Tensor


def folded(matrix_NXY: Tensor, groups: int) -> Tensor:
    """Return the blocks along the diagonal of each matrix, `[N g, X / g, Y / g]`."""
    if groups == 1:
        return matrix_NXY
    blocks = matrix_NXY.unflatten(2, (groups, -1)).unflatten(1, (groups, -1))
    return blocks.diagonal(dim1=1, dim2=3).movedim(-1, 1).flatten(0, 1)


def unfolded(block_NXY: Tensor, groups: int) -> Tensor:
    """Return matrices with these blocks along their diagonal: the inverse of `folded`."""
    if groups == 1:
        return block_NXY
    eye_GG = torch.eye(groups, dtype=block_NXY.dtype, device=block_NXY.device)
    return (block_NXY.unflatten(0, (-1, groups))[:, :, :, None] * eye_GG[:, None, :, None]).flatten(3).flatten(1, 2)
