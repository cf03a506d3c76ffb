"""Capture: a step of fixed shapes, replayed on CUDA as one graph so that the device never waits for the host."""

from __future__ import annotations

import contextlib
import re
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

WARM_UP = 3
"""Calls before the capture: libraries set themselves up and optimisers make their state in the first ones."""
MOST = 2
"""Graphs of one step: of whole batches, and of the short one that ends an epoch."""
WAITS = "called a synchronizing CUDA operation"
EMPTY = "The CUDA Graph is empty"
UNSTEADY = re.compile(r"(.+?) (does not have a deterministic implementation|defaults to a non-deterministic)", re.S)

Step = Callable[..., Tensor]
"""Takes tensors, reads and writes others at fixed addresses, and returns one tensor."""


class _Graph(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    output: Tensor

    def replay(self, arguments: Sequence[Tensor]) -> Tensor:
        for buffer, argument in zip(self.inputs, arguments, strict=True):
            buffer.copy_(argument, non_blocking=True)
        self.graph.replay()
        return self.output.clone()


class Captured:
    """Calls a step, for each shape of its arguments from the fourth call on as a replayed graph.

    A step in which the host waits for the device is never captured: the last call before would show it, because a
    capture that fails leaves torch's streams and memory in disorder. Where a capture fails all the same, `undo` is
    called, which forgets gradients that were recorded and never computed. The step then goes on as written, and `warn`
    is told why; also of operations whose results differ from time to time.
    """

    def __init__(self, step: Step, device: torch.device, warn: Callable[[str], None], undo: Callable[[], None]):
        self.step, self.device, self.warn, self.undo = step, device, warn, undo
        self.capturable = True
        self.calls: Counter[Any] = Counter()
        self.graphs: dict[Any, _Graph] = {}
        self.stream = torch.cuda.Stream(device)

    def __call__(self, *arguments: Tensor) -> Tensor:
        shapes = tuple(argument.shape for argument in arguments)
        with torch.cuda.device(self.device):
            if shapes not in self.graphs and self.capturable:
                self.calls[shapes] += 1
                if self.calls[shapes] > WARM_UP and len(self.graphs) < MOST:
                    self._capture(shapes, arguments)
            if shapes in self.graphs:
                return self.graphs[shapes].replay(arguments)
            if not self.capturable or self.calls[shapes] > WARM_UP:
                return self._aside(arguments)
            with _watched() as messages:
                value = self._aside(arguments)
        self._judge(messages, last=self.calls[shapes] == WARM_UP)
        return value

    def _aside(self, arguments: Sequence[Tensor]) -> Tensor:
        """Run the step as written, on the stream that the capture will use."""
        before = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(before)
        with torch.cuda.stream(self.stream):
            value = self.step(*arguments)
        before.wait_stream(self.stream)
        return value

    def _judge(self, messages: list[str], last: bool) -> None:
        """Say what torch warned of in the warm-up."""
        for found in filter(None, map(UNSTEADY.match, messages)):
            self.warn(f"{found[1]} has no deterministic kernel on CUDA: the same recipe may give other bytes")
        if last and any(WAITS in text for text in messages):
            self._give_up("the host waits for the device in it")

    def _give_up(self, why: str) -> None:
        self.capturable = False
        self.warn(f"a step is not replayed as a CUDA graph ({why})")

    def _capture(self, shapes: Any, arguments: Sequence[Tensor]) -> None:
        """Record the step; recording runs nothing. Raises RuntimeError for a step that does nothing on the device."""
        graph, inputs = torch.cuda.CUDAGraph(), [argument.clone() for argument in arguments]
        before = torch.cuda.current_stream(self.device)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=f"(?s){UNSTEADY.pattern}")
                warnings.filterwarnings("error", message=EMPTY)
                with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                    output = self.step(*inputs)
            self.graphs[shapes] = _Graph(graph, inputs, output)
        except UserWarning as warning:
            if EMPTY not in str(warning):
                raise
            raise RuntimeError(f"a step was to be captured and runs nothing on {self.device}") from None
        except RuntimeError as error:
            self.undo()
            self._give_up(" ".join(str(error).split())[:100])
        finally:  # torch.cuda.graph leaves its own where the capture fails at its end
            torch.cuda.set_stream(before)


@contextlib.contextmanager
def _watched() -> Iterator[list[str]]:
    """Collect what torch warns of in this thread: that the host waits, and that a kernel is not deterministic."""
    messages, thread, mode = list[str](), threading.get_ident(), torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def notice(message: Any, *rest: Any, **more: Any) -> None:
            if WAITS not in str(message) and not UNSTEADY.match(str(message)):
                show(message, *rest, **more)
            elif threading.get_ident() == thread:
                messages.append(str(message))

        warnings.showwarning = notice
        for text in (f".*{WAITS}", UNSTEADY.pattern):
            warnings.filterwarnings("always", message=f"(?s){text}")
        warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield messages
        finally:
            torch.cuda.set_sync_debug_mode(mode)


def captured(
    step: Step,
    device: torch.device,
    wanted: bool,
    warn: Callable[[str], None],
    undo: Callable[[], None] = lambda: None,
) -> Step:
    """Return the step captured on a CUDA device where that is wanted, else as it is; `undo`: see `Captured`."""
    return Captured(step, device, warn, undo) if wanted and device.type == "cuda" else step
