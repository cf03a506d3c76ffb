"""Tags: which pretended device holds a storage; and streams: which work is known to be done before which."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

CPU = torch.device("cpu")
NUMBERS = itertools.count()
MOST_TAGS = 20_000


def leaves(tree: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested lists, tuples and mappings."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, list | tuple):
        for item in tree:
            yield from leaves(item)
    elif isinstance(tree, dict):
        yield from leaves(list(tree.values()))


def address(tensor: Tensor) -> int:
    """Return the address of a tensor's storage, under whatever torch.func has wrapped it in."""
    return plain(tensor).untyped_storage()._cdata


def plain(tensor: Tensor) -> Tensor:
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


class Tag:
    """What is known of one storage. `written` is (stream, count) of its last write, `read` the same of reads since."""

    def __init__(self, tensor: Tensor, device: torch.device, pinned: bool):
        # While a weak reference lives, torch gives the address to no other storage.
        self.reference, self.device, self.pinned = StorageWeakRef(plain(tensor).untyped_storage()), device, pinned
        self.written: tuple[int, int] | None = None
        self.read: dict[int, int] = {}


class Tags:
    """The tags of all storages that are not ordinary memory."""

    def __init__(self) -> None:
        self.known: dict[int, Tag] = {}

    def find(self, tensor: Tensor) -> Tag | None:
        return None if tensor.is_sparse else self.known.get(address(tensor))

    def device(self, tensor: Tensor) -> torch.device:
        """Return the device that a tensor lies on, as Python is told."""
        tag = self.find(tensor)
        return tag.device if tag else plain(tensor).device

    def pinned(self, tensor: Tensor) -> bool:
        tag = self.find(tensor)
        return tag is not None and tag.pinned

    def mark(self, tensor: Tensor, device: torch.device, pinned: bool = False) -> None:
        """Say where a storage lies."""
        if len(self.known) > MOST_TAGS:
            self.known = {key: tag for key, tag in list(self.known.items()) if not tag.reference.expired()}
        self.known[address(tensor)] = Tag(tensor, device, pinned)


def merge(ours: dict[int, int], theirs: dict[int, int]) -> None:
    """Let a clock know what another one knows."""
    for number, count in theirs.items():
        ours[number] = max(count, ours.get(number, 0))


class Stream:
    """A queue of a device's work. Its clock tells how much of every stream's work is done before its next."""

    def __init__(self, device: torch.device, host: dict[int, int]):
        self.device, self.stream_id, self.clock, self.host = device, next(NUMBERS), {}, host
        self.capturing = False

    def wait_stream(self, other: Stream) -> None:
        merge(self.clock, other.clock)

    def synchronize(self) -> None:
        merge(self.host, self.clock)

    def is_capturing(self) -> bool:
        return self.capturing

    def launch(self, read: list[Tag], written: list[Tag]) -> list[str]:
        """Note that work begins which reads and writes so; return what it is not ordered after."""
        merge(self.clock, self.host)
        count = self.clock[self.stream_id] = self.clock.get(self.stream_id, 0) + 1
        before = [("a write", *tag.written) for tag in [*read, *written] if tag.written]
        before += [("a read", *each) for tag in written for each in tag.read.items()]
        for tag in read:
            tag.read[self.stream_id] = count
        for tag in written:
            tag.written, tag.read = (self.stream_id, count), {}
        return [f"{what} on stream {n}" for n_what in before for what, n, at in [n_what] if self.clock.get(n, 0) < at]
