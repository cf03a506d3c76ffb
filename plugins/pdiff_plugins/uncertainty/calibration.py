"""Temperatures of ensembles, fitted on other examples than they are scored on.

R ensembles, E examples, K classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pdiff_plugins.maths.tempering import all_right, temperatures


@dataclass(frozen=True)
class Calibration:
    """Where temperatures come from: examples apart, or, where there are none, the other half of those scored."""

    targets_E: Tensor
    known_F: Tensor
    """Targets of the examples apart."""
    half_E: Tensor | None = None
    """bool: which half a scored example is in; None where there are examples apart."""

    def unknown(self, logp_REK: Tensor, known_RFK: Tensor) -> bool:
        """Return whether an ensemble has a temperature that no error tells; see `of`."""
        if self.half_E is None:
            return bool(all_right(known_RFK, self.known_F).any())
        return any(
            bool(all_right(logp_REK[:, half], self.targets_E[half]).any()) for half in (~self.half_E, self.half_E)
        )

    def of(self, logp_REK: Tensor, known_RFK: Tensor) -> Tensor:
        """Return temperatures `[R, 1]`; by halves `[R, E]`, and `known_RFK` is not looked at.

        By halves: Ashukha et al. 2020, arXiv 2002.06470, section 3, test-time cross-validation.
        """
        if self.half_E is None:
            return temperatures(known_RFK, self.known_F)[:, None]
        first_R, second_R = (
            temperatures(logp_REK[:, half], self.targets_E[half]) for half in (~self.half_E, self.half_E)
        )
        return torch.where(self.half_E, first_R[:, None], second_R[:, None])
