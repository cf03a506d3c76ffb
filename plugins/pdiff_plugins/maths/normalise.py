"""Normalisation: between parameters in the original scale and vectors that a codec can learn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdiff.context import Context
from pdiff.mapped import COLUMNS, Touched
from pdiff.zoo import SMALLEST_VARIANCE, Entry, Layout, Zoo

VARIANCE_FLOOR = 0.001
STILL = 1e-12
"""Deviation at which a tensor counts as one that never changes."""
NUMBERS = 2**20
"""Numbers of a block that are held in float64 at a time."""


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
        return (self.free(theta_BD) - self.mean).div_(self.scale)

    def decode(self, x_BD: Tensor) -> Tensor:
        return self.bound((x_BD * self.scale).add_(self.mean))

    def bound(self, free_BD: Tensor) -> Tensor:
        """Return theta from coordinates without bounds, which it may overwrite."""
        if self.level is None:
            return self.layout.from_free(free_BD)
        for entry in self.layout.entries:
            if entry.positive:
                variance_BD = (free_BD[:, entry.columns].exp() - 0.05) * 0.95 * self.level[entry.columns]
                free_BD[:, entry.columns] = variance_BD.clamp_min(VARIANCE_FLOOR)
        return free_BD

    def free(self, theta_BD: Tensor) -> Tensor:
        """Return theta in coordinates without bounds."""
        if self.level is None:
            return self.layout.to_free(theta_BD)
        theta_BD = theta_BD.clone()
        for entry in self.layout.entries:
            if entry.positive:
                variance_BD = theta_BD[:, entry.columns]
                theta_BD[:, entry.columns] = (variance_BD / (0.95 * self.level[entry.columns]) + 0.05).log()
        return theta_BD

    def window(self, columns: slice, block: Layout) -> Normaliser:
        """Return what is done to these columns alone; mean and scale are [1] where there are none."""
        mean, scale = (values[columns] if len(values) > 1 else values for values in (self.mean, self.scale))
        return Normaliser(block, mean, scale, None if self.level is None else self.level[columns])

    def tensors(self) -> dict[str, Tensor]:
        tensors = {"mean": self.mean, "scale": self.scale}
        return tensors if self.level is None else tensors | {"level": self.level}


def blocks(layout: Layout, rows: int = 1) -> Iterator[tuple[slice, Layout]]:
    """Yield columns of one entry, so many at a time that `rows` of them can be held, and their own layout."""
    width = max(1, min(COLUMNS, NUMBERS // rows))
    for entry in layout.entries:
        for start in range(entry.start, entry.stop, width):
            stop = min(start + width, entry.stop)
            yield slice(start, stop), Layout((Entry(entry.key, (stop - start,), 0, entry.positive),))


def per_column(zoo: Zoo) -> Normaliser:
    """Return one mean per column and one scale per tensor: the spread between checkpoints, not within the tensor.

    So that the codec's error is spent on what differs between checkpoints. A tensor that never changes gets scale 1.
    """
    layout, mean_D = zoo.layout, torch.empty(zoo.layout.dim)
    squares = dict.fromkeys(layout.keys, 0.0)
    for columns, block, theta_NW in read(zoo.theta_ND, layout):
        x_NW = block.to_free(theta_NW).double()
        mean = x_NW.mean(dim=0)
        mean_D[columns] = mean.float()
        squares[block.keys[0]] += float((x_NW - mean).square_().sum())
    scales = [spread(squares[entry.key], len(zoo), entry) for entry in layout.entries]
    return Normaliser(layout, mean_D, layout.per_entry(scales))


def spread(squares: float, count: int, entry: Entry) -> float:
    """Return a tensor's deviation between `count` checkpoints from the sum of its squares; 1 where it never changes."""
    deviation = math.sqrt(squares / (count * math.prod(entry.shape)))
    return deviation if deviation > STILL else 1.0


def per_tensor(zoo: Zoo) -> Normaliser:
    """Return the original's: one mean and one scale per tensor, each averaged over the checkpoints."""
    layout, level = zoo.layout, None
    if any(entry.positive for entry in layout.entries):
        level = torch.ones(layout.dim)
        for entry in (entry for entry in layout.entries if entry.positive):
            level[entry.columns] = zoo.theta_ND[:, entry.columns].mean(dim=0).clamp_min(SMALLEST_VARIANCE)
    plain = Normaliser(layout, torch.zeros(1), torch.ones(1), level)
    sums = {entry.key: torch.zeros(2, len(zoo), dtype=torch.float64) for entry in layout.entries}
    for columns, block, theta_NW in read(zoo.theta_ND, layout):
        x_NW = plain.window(columns, block).free(theta_NW).double()
        sums[block.keys[0]] += torch.stack([x_NW.sum(dim=1), x_NW.square().sum(dim=1)])
    means, scales = [], []
    for entry in layout.entries:
        (sum_N, square_N), size = sums[entry.key], math.prod(entry.shape)
        means.append(float((sum_N / size).mean()))
        variance_N = (square_N - sum_N.square() / size).clamp_min(0) / max(size - 1, 1)
        deviation = float(variance_N.sqrt().mean()) if size > 1 else 1.0
        scales.append(deviation if deviation > STILL else 1.0)
    return Normaliser(layout, layout.per_entry(means), layout.per_entry(scales), level)


def read(theta_ND: Tensor, layout: Layout, *written: Tensor) -> Iterator[tuple[slice, Layout, Tensor]]:
    """Yield the blocks of a layout with their columns of the rows, and let go of what was read, and written."""
    touched = Touched(theta_ND, *written)
    for columns, block in blocks(layout, max(map(len, (theta_ND, *written)))):
        yield columns, block, theta_ND[:, columns]
        touched(*(theta_MD[:, columns] for theta_MD in (theta_ND, *written)))
    touched.end()


def mixed(zoo: Zoo, weight_MN: Tensor, ctx: Context, level: Tensor | None = None) -> Tensor:
    """Return theta_MD: the average plus each checkpoint's deviation from it, weighted, in coordinates without bounds.

    Weights are float64; `level`: see `Normaliser`.
    """
    theta_MD = ctx.empty(len(weight_MN), zoo.layout.dim)
    whole = Normaliser(zoo.layout, torch.zeros(1), torch.ones(1), level)
    for columns, block, theta_NW in read(zoo.theta_ND, zoo.layout, theta_MD):
        near = whole.window(columns, block)
        free_NW = near.free(theta_NW).double()
        mean_W = free_NW.mean(dim=0)
        theta_MD[:, columns] = near.bound((mean_W + weight_MN @ free_NW.sub_(mean_W)).float())
    return theta_MD


def load(layout: Layout, tensors: dict[str, Any]) -> Normaliser:
    """Rebuild a normaliser from its tensors."""
    return Normaliser(layout, tensors["mean"], tensors["scale"], tensors.get("level"))
