"""Training of a token autoencoder. B batch, V views, T tokens, L tokens of a window, S numbers per token."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from pdiff.context import Context
from pdiff.mapped import Touched
from pdiff.training.loop import train
from pdiff_plugins.backbones.nets.transformer import TransformerAutoencoder
from pdiff_plugins.backbones.transformers import TransformerCodec
from pdiff_plugins.batches import at_most
from pdiff_plugins.maths.schedules import one_cycle

TEMPERATURE = 0.1
"""Of the contrastive loss, in both papers' code."""
RISE = 0.3
"""Part of the steps in which the learning rate rises."""


def fit(codec: TransformerCodec, module: TransformerAutoencoder, x_ND: Tensor, ctx: Context) -> list[dict[str, float]]:
    """Train on one window of each checkpoint a step, drawn at random; leaves `module` in eval mode.

    Every view of a window has noise of its own, and is what its reconstruction is compared with.
    """
    size = at_most("method.codec.batch_size", codec.batch_size, len(x_ND), ctx.warn)
    module = module.to(ctx.device).train()
    views, touched = 2 if codec.contrast else 1, Touched(x_ND)
    shape, index_TS = (len(x_ND), *module.tokens.shape), module.tokens.index_TS.cpu()

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        rows, at_BL, noise_VBLS = _draw(size, views, shape, module.windows.shape[1], generator)
        tokens_BLS = picked(x_ND, rows, index_TS[at_BL])
        touched(tokens_BLS)
        return tokens_BLS, at_BL, noise_VBLS

    def loss(tokens_BLS: Tensor, at_BL: Tensor, noise_VBLS: Tensor) -> Tensor:
        seen = (tokens_BLS * (1 + codec.noise * noise_VBLS)).flatten(0, 1)
        at = at_BL.repeat(views, 1)
        z = module.embed(seen, at)
        error = masked_error(module.restore(z, at).float(), seen, module.tokens.mask_TS[at])
        if module.project is None:
            return error
        return (1 - codec.contrast) * error + codec.contrast * nt_xent(*module.project(z).float().chunk(2))

    log = train(
        module, loss, steps=codec.steps, ctx=ctx, what="codec", lr=codec.lr, weight_decay=codec.weight_decay,
        schedule=one_cycle(codec.steps, RISE), draw=draw,
    )  # fmt: skip
    module.eval()
    return log


def picked(x_ND: Tensor, rows: Tensor, index_BLS: Tensor) -> Tensor:
    """Return these columns of these rows, `[B, L, S]`; 0 where the index is that of padding. Nothing else is read."""
    return x_ND[rows[:, None, None], index_BLS.clamp_min(0)].masked_fill(index_BLS < 0, 0.0)


def _draw(
    batch: int, views: int, shape: tuple[int, int, int], length: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows of the zoo `[B]`, the tokens of their windows `[B, L]`, and noise `[V, B, L, S]`."""
    count, tokens, size = shape
    rows = torch.randperm(count, generator=generator)[:batch]
    first_B1 = torch.randint(tokens - length + 1, (batch, 1), generator=generator)
    noise_VBLS = torch.randn(views, batch, length, size, generator=generator)
    return rows, first_B1 + torch.arange(length), noise_VBLS


def masked_error(given_BLS: Tensor, wanted_BLS: Tensor, mask_BLS: Tensor) -> Tensor:
    """Return the mean squared error where there is no padding."""
    return ((given_BLS - wanted_BLS) * mask_BLS).square().sum() / mask_BLS.sum()


def nt_xent(first_BP: Tensor, second_BP: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return the normalised temperature-scaled cross entropy of two views (Chen et al. 2020, arXiv 2002.05709, eq. 1).

    Each vector has to find its other view among the 2B - 1 others, by cosine.
    """
    count = len(first_BP)
    p = F.normalize(torch.cat([first_BP, second_BP]), dim=1)
    itself = torch.eye(2 * count, dtype=torch.bool, device=p.device)
    similarity = (p @ p.T / temperature).masked_fill(itself, -math.inf)
    return F.cross_entropy(similarity, torch.arange(2 * count, device=p.device).roll(count))
