"""Networks that stand ready: copied, and initialised anew."""

from __future__ import annotations

import copy
import re
from typing import Any

import torch
from torch import nn

from pdiff_plugins.own.targets import fault_in

OF_SIZES = re.compile(r"shape|size|channel|dimension", re.IGNORECASE)


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


def check_takes(model: nn.Module, input_shape: Any, target: str) -> None:
    """Raise UserError, with the line, where a network cannot take inputs of the data's size; not for several inputs.

    What other fault it shows on zeros may be none on examples, and is left to show on them.
    """
    if not isinstance(input_shape, tuple) or not all(isinstance(side, int) for side in input_shape):
        return
    trained, faults = model.training, list[Exception]()
    for kind in (torch.float32, torch.int64):  # numbers, or tokens
        try:
            with torch.no_grad():
                model.eval()(torch.zeros(2, *input_shape, dtype=kind))
            faults.clear()
            break
        except Exception as error:
            faults.append(error)
    model.train(trained)
    of_sizes = next((fault for fault in faults if OF_SIZES.search(str(fault))), None)
    if of_sizes:
        raise fault_in(of_sizes, target, f"architecture, given inputs {[2, *input_shape]}") from of_sizes
