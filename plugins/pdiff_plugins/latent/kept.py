"""Captured steps that are kept from one call of a generator to the next."""

from __future__ import annotations

from torch import nn

from pdiff.context import Context
from pdiff.training.capture import Step, captured


class KeptSteps:
    """Steps of one network, captured once for each number of rows while the network stays on its device."""

    def __init__(self, network: nn.Module):
        self.network = network
        self.steps: dict[int, Step] = {}
        self.places: tuple[int, ...] = ()

    def captured(self, step: Step, count: int, ctx: Context) -> Step:
        """Return the step, or for as many rows the equal one of an earlier call. The network lies on the device."""
        if ctx.device.type != "cuda" or not ctx.graphs:
            return step
        places = tuple(tensor.data_ptr() for tensor in (*self.network.parameters(), *self.network.buffers()))
        if places != self.places:  # a graph reads the memory where the parameters lay
            self.steps, self.places = {}, places
        if count not in self.steps:
            self.steps[count] = captured(step, ctx.device, ctx.graphs, ctx.warn)
        return self.steps[count]
