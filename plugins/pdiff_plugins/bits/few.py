"""One network whose matrices have few bits, or keep few of their weights: as the loss sees it, and as it is kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pdiff.zoo import Layout
from pdiff_plugins.bits import masks
from pdiff_plugins.bits.grid import matrices, seen


class Few:
    """A network in training, called as itself; it learns as if its weights were not rounded."""

    def __init__(self, model: nn.Module, layout: Layout, bits: int, keep: float):
        """`keep`: share of its matrices' weights that it keeps, the largest it has now."""
        self.model, self.layout, self.bits = model, layout, bits
        self.axes = {entry.key: len(entry.shape) for entry in matrices(layout)}
        theta_1D = layout.joined(model.state_dict())[None]
        mask_D = masks.largest(theta_1D.abs(), layout, keep)[0]
        self.mask = {key: layout.tensors(mask_D)[key] for key in self.axes}

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        parameters = dict(self.model.named_parameters(remove_duplicate=False))
        few = self._few({key: parameters[key] for key in self.axes if key in parameters})
        return functional_call(self.model, few, arguments, options)

    @torch.no_grad()
    def theta(self) -> Tensor:
        """Return theta_D as the loss sees it, on the device."""
        state = self.model.state_dict()
        return self.layout.joined({**state, **self._few({key: state[key] for key in self.axes})})

    def _few(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        kept = {key: value.masked_fill(~self.mask[key], 0.0) for key, value in tensors.items()}
        return seen(kept, self.axes, self.bits) if self.bits else kept
