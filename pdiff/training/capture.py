"""Capture: a step of fixed shapes, replayed on CUDA as one graph so that the device never waits for the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UP = 3
"""Calls before the capture: libraries set themselves up and optimisers make their state in the first ones."""

Step = Callable[..., Tensor]
"""Takes tensors, reads and writes others at fixed addresses, and returns one tensor."""


class Captured:
    """Calls a step, from the fourth call on as a replayed graph.

    The first calls, and any whose arguments have other shapes, run as written. Where the step cannot be captured it
    goes on as written, and `warn` is told why.
    """

    def __init__(self, step: Step, warn: Callable[[str], None]):
        self.step, self.warn = step, warn
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: list[Tensor] = []
        self.output = torch.empty(0)
        self.stream = torch.cuda.Stream()

    def __call__(self, *arguments: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == WARM_UP + 1:
            self._capture(arguments)
        if self.graph is None or [a.shape for a in arguments] != [a.shape for a in self.inputs]:
            return self._aside(arguments)
        for buffer, argument in zip(self.inputs, arguments, strict=True):
            buffer.copy_(argument, non_blocking=True)
        self.graph.replay()
        return self.output.clone()

    def _aside(self, arguments: Sequence[Tensor]) -> Tensor:
        """Run the step as written, on the stream that the capture will use."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            value = self.step(*arguments)
        torch.cuda.current_stream().wait_stream(self.stream)
        return value

    def _capture(self, arguments: Sequence[Tensor]) -> None:
        """Record the step; recording runs nothing."""
        graph, self.inputs = torch.cuda.CUDAGraph(), [argument.clone() for argument in arguments]
        try:
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                self.output = self.step(*self.inputs)
        except RuntimeError as error:
            self.warn(f"a step is not replayed as a CUDA graph ({' '.join(str(error).split())[:100]})")
            return
        self.graph = graph


def captured(step: Step, device: torch.device, wanted: bool, warn: Callable[[str], None]) -> Step:
    """Return the step captured on a CUDA device where that is wanted, else as it is."""
    return Captured(step, warn) if wanted and device.type == "cuda" else step
