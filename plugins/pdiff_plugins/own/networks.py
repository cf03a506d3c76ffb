"""Networks that stand ready: copied, and initialised anew."""

from __future__ import annotations

import copy

from torch import nn


def copied(model: nn.Module, fresh: bool) -> nn.Module:
    """Return a copy on the CPU; `fresh`: each layer initialised anew from torch's global generator.

    A parameter that no `reset_parameters` knows keeps its value.
    """
    twin = copy.deepcopy(model).cpu()
    if fresh:
        for layer in twin.modules():
            if callable(reset := getattr(layer, "reset_parameters", None)) or callable(
                reset := getattr(layer, "_reset_parameters", None)
            ):
                reset()
    return twin.train()
