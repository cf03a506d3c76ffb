"""Labels of checkpoints as the condition of a diffusion model. N checkpoints, M samples, B batch, K labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from pdiff.errors import UserError
from pdiff.zoo import Zoo

LEFT_OUT = 0.1
"""Share of draws in training without a label (Ho & Salimans 2022, arXiv 2207.12598, section 4.1)."""


def one_hot(zoo: Zoo) -> Tensor:
    """Return the checkpoints' labels, `[N, K]`. Raises UserError where one has none."""
    for number, row in enumerate(zoo.rows):
        if not isinstance(row.get("label"), int):
            raise UserError(
                f"method.labels: checkpoint {number} has no label; collect with `fields` from a data set that has "
                "classes, or leave labels out"
            )
    return functional.one_hot(torch.tensor([row["label"] for row in zoo.rows])).float()


def shown(count: int, generator: torch.Generator) -> Tensor:
    """Return `[B, 1]`: 0 where a label is left out, else 1."""
    return (torch.rand(count, 1, generator=generator) >= LEFT_OUT).float()


def asked(labels_NK: Tensor, label: int | None, count: int, generator: torch.Generator) -> Tensor:
    """Return the labels of samples, `[M, K]`: the one asked for, or as often as checkpoints have them."""
    if label is None:
        return labels_NK[torch.randint(len(labels_NK), (count,), generator=generator)]
    known = labels_NK.shape[1]
    if label >= known:
        raise UserError(f"method.label: {label} is none of the labels 0 to {known - 1}; ask for one of them")
    return functional.one_hot(torch.tensor(label), known).float().expand(count, -1)


def guided(denoiser: Callable[..., Tensor], z_BZ: Tensor, t_B: Tensor, labels_BK: Tensor, guidance: float) -> Tensor:
    """Return what the denoiser says of z with its label, taken so many times as far from what it says without.

    Classifier-free guidance (Ho & Salimans 2022, eq. 6, whose w is `guidance` - 1). K = 0: there are no labels.
    """
    with_label = denoiser(z_BZ, t_B, labels_BK if labels_BK.shape[1] else None)
    if guidance == 1:
        return with_label
    without = denoiser(z_BZ, t_B, None)
    return without + guidance * (with_label - without)
