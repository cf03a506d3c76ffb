"""Graphs: a pretended capture records a step and undoes what it did; a replay runs the record again."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from tests.accelerator.tags import address, leaves

if TYPE_CHECKING:
    from tests.accelerator.pretence import Pretence

EMPTY = "The CUDA Graph is empty. This usually means that the graph was captured on the wrong device or stream."
INVALID = "CUDA error: operation failed due to a previous error during capture"


@contextlib.contextmanager
def as_it_is() -> Iterator[None]:
    """Do without the pretence, and below autograd."""
    with _disable_current_modes(), torch._C.DisableTorchFunction(), torch._C._AutoDispatchBelowAutograd():
        yield


class Graph:
    """Stands for torch.cuda.CUDAGraph."""

    pretence: Pretence

    def __init__(self) -> None:
        self.tape: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], list[Tensor]]] = []
        self.written: dict[int, Tensor] = {}
        self.saved: dict[int, tuple[Tensor, Tensor]] = {}
        self.born: dict[int, Tensor] = {}
        self.invalid = False

    def capture_begin(self) -> None:
        self.random, self.stream = torch.get_rng_state(), self.pretence.current_stream()
        self.pretence.local.capture, self.stream.capturing = self, True
        self.pretence.captures += 1

    def before(self, written: list[Tensor]) -> None:
        """Keep what is in memory that is older than the capture, because recording runs nothing."""
        for tensor in written:
            key = address(tensor)
            if key not in self.born and key not in self.saved:
                whole = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
                self.saved[key] = (whole, whole.clone())

    def record(
        self, func: Any, args: Any, kwargs: Any, fresh: list[Tensor], outputs: Any, written: list[Tensor]
    ) -> None:
        self.born |= {address(tensor): tensor for tensor in fresh}
        self.written |= {address(tensor): tensor for tensor in [*fresh, *written]}
        if fresh or written:
            self.tape.append((func, args, kwargs, [t if any(t is f for f in fresh) else None for t in leaves(outputs)]))

    def capture_end(self) -> None:
        self.pretence.local.capture, self.stream.capturing = None, False
        with as_it_is():
            for whole, before in self.saved.values():
                whole.copy_(before)
            for tensor in self.born.values():  # nothing was computed: who reads it before a replay reads nonsense
                if tensor.is_floating_point():
                    tensor.fill_(torch.nan)
            torch.set_rng_state(self.random)
        if self.invalid:
            raise RuntimeError(INVALID)
        if not self.tape:
            warnings.warn(EMPTY, stacklevel=2)

    def replay(self) -> None:
        """Run the record on the current stream."""
        self.pretence.replays += 1
        tags = [self.pretence.tags.known[key] for key in self.written if key in self.pretence.tags.known]
        read = [tag for _, a, k, _ in self.tape for t in leaves((a, k)) if (tag := self.pretence.tags.find(t))]
        self.pretence.launch(self.stream.device, read, tags, "replay")
        with as_it_is():
            for func, args, kwargs, fresh in self.tape:
                for ours, theirs in zip(fresh, leaves(func(*args, **kwargs)), strict=True):
                    if ours is not None:
                        ours.copy_(theirs)


class Capture:
    """Stands for torch.cuda.graph. As there, a capture that fails at its end does not leave its stream."""

    def __init__(self, cuda_graph: Graph, pool: Any = None, stream: Any = None, capture_error_mode: str = "global"):
        pretence = cuda_graph.pretence
        self.graph, self.context = cuda_graph, pretence.stream(stream or pretence.new_stream())

    def __enter__(self) -> None:
        self.graph.pretence.synchronize()
        self.context.__enter__()
        self.graph.capture_begin()

    def __exit__(self, *error: object) -> None:
        self.graph.capture_end()
        self.context.__exit__(*error)
