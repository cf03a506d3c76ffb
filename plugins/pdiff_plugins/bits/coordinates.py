"""Networks of few bits or few weights as numbers that any codec can learn, and back to the grid and the masks.

A weight on a grid is its code and a half, the step of its row is a logarithm; beside a weight that some networks cut
stands +1 or -1: an analog bit (Chen et al. 2022, arXiv 2208.04202), of which the sign is taken. What a network has cut
is the mean of those that keep it, so that it tells nothing of the mask. M or N networks, D selected parameters, C
coordinates, R rows of a matrix, L numbers of a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pdiff.bench import Bench
from pdiff.context import Context
from pdiff.files import below
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.backbones.codec_module import Fitted
from pdiff_plugins.bits import grid, masks

NUMBERS = 2**22
"""Of networks that are taken apart at a time."""


class Coordinates:
    """What takes networks apart and puts them together."""

    def __init__(self, layout: Layout, bits: int, cut: Sequence[str], keep: float = 0.0):
        """Of matrices on a grid of so many bits (0: on none), of which those of the keys `cut` have masks.

        `keep`: share of all matrices' weights that a network keeps; 0: as its masks say.
        """
        self.of, self.bits, self.keep = layout, bits, keep
        self.keys, self.cut = {entry.key for entry in grid.matrices(layout)}, set(cut)
        self.layout = Layout(tuple(self._entries()))
        self.at = {entry.key: entry.columns for entry in self.layout.entries}
        self.fill_C = torch.zeros(self.layout.dim)
        """Stands where a network has nothing: its weight is cut, or its row."""

    def _entries(self) -> Iterator[Entry]:
        start = 0
        for entry in self.of.entries:
            shapes = {"": tuple(entry.shape)}
            if entry.key in self.keys and self.bits:
                shapes[".step"] = (entry.shape[0],)
            if entry.key in self.cut:
                shapes[".mask"] = tuple(entry.shape)
            for suffix, shape in shapes.items():
                yield Entry(entry.key + suffix, shape, start, entry.positive)
                start += torch.Size(shape).numel()

    @classmethod
    def fitted(cls, zoo: Zoo, bits: int, keep: float = 0.0) -> Coordinates:
        """Return those of a zoo's networks: what some of them have cut has masks."""
        cut = [entry.key for entry in grid.matrices(zoo.layout) if (zoo.theta_ND[:, entry.columns] == 0).any()]
        coordinates = cls(zoo.layout, bits, cut, keep)
        total_C, count_C = torch.zeros(2, coordinates.layout.dim, dtype=torch.float64)
        for theta_MD in coordinates._some(zoo.theta_ND):
            x_MC = coordinates._apart(theta_MD)
            total_C += x_MC.double().nansum(dim=0)
            count_C += (~x_MC.isnan()).sum(dim=0)
        coordinates.fill_C = (total_C / count_C.clamp_min(1)).float()
        return coordinates

    def zoo(self, zoo: Zoo, ctx: Context | None = None) -> Zoo:
        """Return a zoo's coordinates as a zoo of their layout."""
        shape = len(zoo), self.layout.dim
        x_NC = ctx.empty(*shape) if ctx else torch.empty(*shape)
        done = 0
        for theta_MD in self._some(zoo.theta_ND):
            x_NC[done : done + len(theta_MD)] = self.encode(theta_MD)
            done += len(theta_MD)
        return replace(zoo, theta_ND=x_NC, layout=self.layout, anchor={}, holdout=None)

    def _some(self, theta_ND: Tensor) -> Iterator[Tensor]:
        return iter(theta_ND.split(max(1, NUMBERS // self.of.dim)))

    def encode(self, theta_MD: Tensor) -> Tensor:
        """Return the coordinates x_MC of networks."""
        x_MC = self._apart(theta_MD)
        return torch.where(x_MC.isnan(), self.fill_C, x_MC)

    def _apart(self, theta_MD: Tensor) -> Tensor:
        """Return coordinates, NaN where a network has none."""
        x_MC = theta_MD.new_empty(len(theta_MD), self.layout.dim)
        for entry in self.of.entries:
            value_ML = theta_MD[:, entry.columns]
            kept_ML = value_ML != 0
            if entry.key in self.keys and self.bits:
                rows_MRL = grid.rows(theta_MD, entry)
                step_MR = grid.steps(rows_MRL, self.bits)
                step_MR = torch.where(step_MR > 0, step_MR, torch.nan)
                value_ML = (grid.codes(rows_MRL, step_MR, self.bits) + 0.5).flatten(1)
                x_MC[:, self.at[f"{entry.key}.step"]] = step_MR.log()
            if entry.key in self.keys:
                value_ML = torch.where(kept_ML, value_ML, torch.nan)
            if entry.key in self.cut:
                x_MC[:, self.at[f"{entry.key}.mask"]] = 2.0 * kept_ML - 1
            x_MC[:, self.at[entry.key]] = value_ML
        return x_MC

    def decode(self, x_MC: Tensor) -> Tensor:
        """Return networks theta_MD on the grid and with the masks that are nearest to coordinates."""
        return self._together(x_MC, exact=True)

    def between(self, x_MC: Tensor) -> Tensor:
        """Return networks as `decode`, but not rounded to the grid, so that they have a gradient."""
        return self._together(x_MC, exact=False)

    def _together(self, x_MC: Tensor, exact: bool) -> Tensor:
        parts = []
        for entry in self.of.entries:
            value_ML = x_MC[:, self.at[entry.key]]
            if entry.key in self.keys and self.bits:
                step_MR = grid.storable(x_MC[:, self.at[f"{entry.key}.step"]].exp())
                value_MRL = value_ML.unflatten(1, (entry.shape[0], -1))
                if exact:
                    value_MRL = grid.codes(value_MRL, torch.ones_like(step_MR), self.bits) + 0.5
                value_ML = (value_MRL * step_MR[..., None]).flatten(1)
            parts.append(value_ML)
        theta_MD = torch.cat(parts, dim=1)
        return masks.cut(theta_MD, self._kept(x_MC)) if self.cut else theta_MD

    def _kept(self, x_MC: Tensor) -> Tensor:
        """Return which numbers coordinates keep, bool `[M, D]`."""
        size_MD = x_MC.new_full((len(x_MC), self.of.dim), torch.inf)
        for entry in self.of.entries:
            if entry.key in self.cut:
                size_MD[:, entry.columns] = x_MC[:, self.at[f"{entry.key}.mask"]]
        return masks.largest(size_MD, self.of, self.keep) if self.keep else size_MD > 0


class Assembled:
    """A codec that is fitted to coordinates of networks, and what puts them together."""

    def __init__(self, coordinates: Coordinates, inner: Fitted):
        self.coordinates, self.inner = coordinates, inner

    def decode(self, z_MZ: Tensor, ctx: Context) -> Tensor:
        x_MC = self.inner.decode(z_MZ, ctx)
        theta_MD = ctx.empty(len(x_MC), self.coordinates.of.dim)
        done = 0
        for some_MC in self.coordinates._some(x_MC):
            theta_MD[done : done + len(some_MC)] = self.coordinates.decode(some_MC)
            done += len(some_MC)
        return theta_MD

    def encode(self, theta_MD: Tensor, bench: Bench, ctx: Context) -> Tensor | None:
        x_MC = torch.cat([self.coordinates.encode(some_MD) for some_MD in self.coordinates._some(theta_MD)])
        return self.inner.encode(x_MC, bench.through(self.coordinates.between), ctx)

    def tensors(self) -> dict[str, Tensor]:
        cut = [entry.key in self.coordinates.cut for entry in grid.matrices(self.coordinates.of)]
        own = {"fill": self.coordinates.fill_C, "cut": torch.tensor(cut, dtype=torch.bool)}
        inner = {f"inner.{key}": value for key, value in self.inner.tensors().items()}
        return {f"span.{key}": value for key, value in (own | inner).items()}


def load(tensors: dict[str, Tensor], layout: Layout, bits: int, keep: float) -> tuple[Coordinates, dict[str, Tensor]]:
    """Rebuild coordinates from what `Assembled.tensors` gave, without `span.`; the inner codec's tensors with them."""
    cut = [entry.key for entry, own in zip(grid.matrices(layout), tensors["cut"].tolist(), strict=True) if own]
    coordinates = Coordinates(layout, bits, cut, keep)
    coordinates.fill_C = tensors["fill"]
    return coordinates, below(tensors, "inner.")
