"""A plane of parameters: where networks lie in it, and the metric of those that lie in it. M starts, T runs, G grid."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pdiff.context import Context
from pdiff_plugins.gpt.prompts.asking import SCORED, Asker, numbers
from pdiff_plugins.gpt.prompts.distances import last_checkpoints
from pdiff_plugins.gpt.prompts.starts import ends
from pdiff_plugins.symmetry.matching import match
from pdiff_plugins.symmetry.permutations import Symmetry

RUNS, PATHS = 100, 5
"""Training runs whose last checkpoints lay the plane, and of which the whole path is shown."""
MARGIN = 0.08
"""Of the picture around what lies in it, in shares of its width."""
LARGEST = 200_000
"""Parameters of a network for which a plane is made."""


def plane(
    asker: Asker, start_MD: Tensor, best_MD: Tensor, grid: int, symmetry: Symmetry | None, ctx: Context
) -> dict[str, Any] | None:
    """Return the plane of the last checkpoints' and starts' two principal directions; None for large networks.

    Hidden units are in the order nearest to the first run's last checkpoint's; all of a run, and a start and what it
    was turned into, in the same.
    """
    layout = asker.view.zoo.layout
    if layout.dim > LARGEST:
        return None
    order = _Order(asker, symmetry, ctx)
    last_TD = torch.cat([order.of(theta_D, theta_D[None]) for theta_D in order.last_TD])
    pairs_MPD = torch.stack([order.of(pair_PD[1], pair_PD) for pair_PD in torch.stack([start_MD, best_MD], dim=1)])
    paths = [order.of(path_SD[-1], path_SD) for path_SD in _paths(asker)]
    flat = _Plane(layout.to_free(torch.cat([last_TD, pairs_MPD[:, 0]])))
    last_T2, paths_2 = flat.places(layout.to_free(last_TD)), [flat.places(layout.to_free(path)) for path in paths]
    pairs_MP2 = flat.places(layout.to_free(pairs_MPD))
    seen_K2 = torch.cat([last_T2, *paths_2, pairs_MP2.flatten(0, 1)])
    x_G, y_G = (_around(seen_K2[:, axis], grid) for axis in (0, 1))
    points_GG2 = torch.stack(torch.meshgrid(x_G, y_G, indexing="xy"), dim=-1)
    theta_KD = layout.from_free(flat.points(points_GG2.flatten(0, 1))).float()
    values_GG = asker.measured(theta_KD, SCORED).view(grid, grid)
    return {
        "shares": numbers(flat.shares_2), "x": numbers(x_G), "y": numbers(y_G), "values": numbers(values_GG),
        "last": numbers(last_T2), "paths": [numbers(path) for path in paths_2], "pairs": numbers(pairs_MP2),
        "matched": symmetry is not None,
    }  # fmt: skip


class _Order:
    """Brings networks' hidden units in the order of one training run."""

    def __init__(self, asker: Asker, symmetry: Symmetry | None, ctx: Context):
        self.layout, self.symmetry = asker.view.zoo.layout, symmetry
        self.last_TD, self.generator = last_checkpoints(asker.view, RUNS), ctx.generator("plane")
        self.reference = self.layout.tensors(self.last_TD[0])

    def of(self, guide_D: Tensor, theta_KD: Tensor) -> Tensor:
        """Return networks with their units in the order that brings the guide nearest to the reference, `[K, D]`."""
        if self.symmetry is None:
            return theta_KD
        order = match(self.symmetry, self.reference, self.layout.tensors(guide_D), self.generator)
        columns = self.symmetry.permuted(self.layout.tensors(torch.arange(self.layout.dim)), order)
        return theta_KD[:, torch.cat([column.flatten() for column in columns.values()])]


class _Plane:
    """The two principal directions of vectors, and the point in the middle."""

    def __init__(self, x_KD: Tensor):
        from sklearn.decomposition import PCA

        pca = PCA(2, svd_solver="full").fit(x_KD.double().numpy())
        self.middle_D, self.directions_2D = torch.from_numpy(pca.mean_), torch.from_numpy(pca.components_)
        self.shares_2 = torch.from_numpy(pca.explained_variance_ratio_)

    def places(self, x_KD: Tensor) -> Tensor:
        return (x_KD.double() - self.middle_D) @ self.directions_2D.T

    def points(self, places_K2: Tensor) -> Tensor:
        return self.middle_D + places_K2.double() @ self.directions_2D


def _paths(asker: Asker) -> list[Tensor]:
    """Return all checkpoints of a few training runs, `[S, D]` each, the first to the last."""
    zoo = asker.view.zoo
    runs = list(ends((row, index) for index, row in enumerate(zoo.rows)))[:PATHS]
    places: dict[Any, list[int]] = {run: [] for run in runs}
    for index in sorted(range(len(zoo)), key=lambda index: zoo.rows[index]["step"]):
        if zoo.rows[index]["run"] in places and not zoo.rows[index].get("copy"):
            places[zoo.rows[index]["run"]].append(index)
    return [zoo.theta_ND[path] for path in places.values()]


def _around(values: Tensor, count: int) -> Tensor:
    low, high = float(values.min()), float(values.max())
    room = MARGIN * (high - low) or 1.0
    return torch.linspace(low - room, high + room, count, dtype=torch.float64)
