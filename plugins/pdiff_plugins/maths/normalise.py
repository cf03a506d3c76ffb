"""Normalisation: between parameters in the original scale and vectors that a codec can learn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdiff.mapped import COLUMNS
from pdiff.zoo import SMALLEST_VARIANCE, Entry, Layout, Zoo

VARIANCE_FLOOR = 0.001


@dataclass
class Normaliser:
    """x = (free(theta) - mean) / scale, with one mean and scale per column; `mean` and `scale` are `[D]`."""

    layout: Layout
    mean: Tensor
    scale: Tensor
    level: Tensor | None = None
    """Original's log transform of variances: the mean of each, `[D]`, 1 elsewhere. None: plain logarithms."""

    def to(self, device: torch.device) -> Normaliser:
        """Return the normaliser of vectors on that device."""
        level = None if self.level is None else self.level.to(device)
        return Normaliser(self.layout, self.mean.to(device), self.scale.to(device), level)

    def encode(self, theta_BD: Tensor) -> Tensor:
        return (self._free(theta_BD) - self.mean).div_(self.scale)

    def decode(self, x_BD: Tensor) -> Tensor:
        free_BD = (x_BD * self.scale).add_(self.mean)
        if self.level is None:
            return self.layout.from_free(free_BD)
        for entry in self.layout.entries:
            if entry.positive:
                variance_BD = (free_BD[:, entry.columns].exp() - 0.05) * 0.95 * self.level[entry.columns]
                free_BD[:, entry.columns] = variance_BD.clamp_min(VARIANCE_FLOOR)
        return free_BD

    def _free(self, theta_BD: Tensor) -> Tensor:
        if self.level is None:
            return self.layout.to_free(theta_BD)
        theta_BD = theta_BD.clone()
        for entry in self.layout.entries:
            if entry.positive:
                variance_BD = theta_BD[:, entry.columns]
                theta_BD[:, entry.columns] = (variance_BD / (0.95 * self.level[entry.columns]) + 0.05).log()
        return theta_BD

    def tensors(self) -> dict[str, Tensor]:
        tensors = {"mean": self.mean, "scale": self.scale}
        return tensors if self.level is None else tensors | {"level": self.level}


def blocks(layout: Layout) -> Iterator[tuple[slice, Layout]]:
    """Yield columns of one entry, at most COLUMNS at a time, and their own layout."""
    for entry in layout.entries:
        for start in range(entry.start, entry.stop, COLUMNS):
            stop = min(start + COLUMNS, entry.stop)
            yield slice(start, stop), Layout((Entry(entry.key, (stop - start,), 0, entry.positive),))


def per_column(zoo: Zoo) -> Normaliser:
    """Return one mean per column and one scale per tensor: the spread between checkpoints, not within the tensor.

    So that the codec's error is spent on what differs between checkpoints. A tensor that never changes gets scale 1.
    """
    layout, mean_D = zoo.layout, torch.empty(zoo.layout.dim)
    squares = dict.fromkeys(layout.keys, 0.0)
    for columns, block in blocks(layout):
        x_ND = block.to_free(zoo.theta_ND[:, columns]).double()
        mean = x_ND.mean(dim=0)
        mean_D[columns] = mean.float()
        squares[block.keys[0]] += float((x_ND - mean).square_().sum())
    scales = [math.sqrt(squares[entry.key] / (len(zoo) * math.prod(entry.shape))) for entry in layout.entries]
    scale_D = layout.per_entry([scale if scale > 1e-12 else 1.0 for scale in scales])
    return Normaliser(layout, mean_D, scale_D)


def per_tensor(zoo: Zoo) -> Normaliser:
    """Return the original's: one mean and one scale per tensor, each averaged over the checkpoints."""
    layout = zoo.layout
    variance = layout.per_entry([float(entry.positive) for entry in layout.entries]).bool()
    level = (
        torch.where(variance, zoo.theta_ND.mean(dim=0).clamp_min(SMALLEST_VARIANCE), torch.ones(layout.dim))
        if variance.any()
        else None
    )
    normaliser = Normaliser(layout, torch.zeros(layout.dim), torch.ones(layout.dim), level)
    x_ND = normaliser.encode(zoo.theta_ND)
    entries = [x_ND[:, entry.columns] for entry in layout.entries]
    normaliser.mean = layout.per_entry([float(x_NE.mean(dim=1).mean()) for x_NE in entries])
    stds = [float(x_NE.std(dim=1).mean()) if x_NE.shape[1] > 1 else 1.0 for x_NE in entries]
    normaliser.scale = layout.per_entry([std if std > 1e-12 else 1.0 for std in stds])
    return normaliser


def load(layout: Layout, tensors: dict[str, Any]) -> Normaliser:
    """Rebuild a normaliser from its tensors."""
    return Normaliser(layout, tensors["mean"], tensors["scale"], tensors.get("level"))
