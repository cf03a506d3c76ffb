"""A pretended accelerator: tensors stay on the CPU, and a tag on their storage says on which device they would lie.

Two modes answer and watch. `Asked` is told of every call from Python: it answers what device a tensor is on, and moves
tensors. `Done` is told of every operation: it refuses what CUDA would, tags what comes out, and keeps the order of
streams. What happens is kept in `Pretence`: faults, syncs, captures, replays.

It proves that no tensor is on the wrong device, that no work reads what another stream may not have written yet, that
a captured step runs nothing that a capture forbids, and how often the host waits. It cannot prove CUDA's numbers, its
kernels, its memory or its speed.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tests.accelerator.graphs import Graph
from tests.accelerator.tags import CPU, Stream, Tags, leaves, merge, plain

SYNCING = {
    "_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "unique_consecutive",
    "bincount", "is_nonzero", "_linalg_eigh", "_linalg_svd",
}  # fmt: skip
COPIES = {"copy_", "_to_copy", "_foreach_copy_", "set_"}
INDEXED = {"index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_"}
SYNCS = "called a synchronizing CUDA operation"
UNSTEADY = {
    "nll_loss2d_forward", "nll_loss2d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward",
    "upsample_linear1d_backward", "upsample_trilinear3d_backward", "grid_sampler_2d_backward", "roi_align_backward",
    "grid_sampler_3d_backward", "cumsum", "put_", "histc", "kthvalue", "median", "_roi_align_backward",
    "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "adaptive_max_pool2d_backward",
    "max_pool3d_with_indices_backward", "reflection_pad1d_backward", "replication_pad2d_backward",
    "_scaled_dot_product_flash_attention_for_cpu_backward", "_scaled_dot_product_efficient_attention_backward",
}  # fmt: skip
"""Operations without a deterministic kernel on CUDA, as torch.use_deterministic_algorithms lists them."""


class Frame(NamedTuple):
    """A call from Python: where what is made within C++ lies, whether the call names it, and copies without waiting."""

    device: torch.device
    named: bool = False
    quick: bool = False


class Local(threading.local):
    """What each thread has for itself."""

    def __init__(self) -> None:
        self.current, self.streams, self.frames = None, {}, []
        self.capture: Graph | None = None


class Pretence:
    """So many pretended devices, and what happened on them."""

    def __init__(self, devices: int = 2):
        self.tags, self.local, self.host = Tags(), Local(), {}
        self.devices = [torch.device("cuda", index) for index in range(devices)]
        self.streams = [Stream(device, self.host) for device in self.devices]
        self.defaults = list(self.streams)
        self.faults: list[str] = []
        self.syncs: list[str] = []
        self.unsteady: set[str] = set()
        self.pageable = self.captures = self.replays = self.debug = 0

    # Streams and devices, as torch.cuda has them.

    def device_of(self, device: Any = None) -> torch.device:
        """Return the device that torch.cuda's functions mean."""
        if isinstance(device, str):
            device = torch.device(device)
        index = device.index if isinstance(device, torch.device) else device
        return self.devices[(self.local.current or 0) if index is None else index]

    def new_stream(self, device: Any = None, priority: int = 0) -> Stream:
        self.streams.append(Stream(self.device_of(device), self.host))
        return self.streams[-1]

    def current_stream(self, device: Any = None) -> Stream:
        device = self.device_of(device)
        return self.local.streams.get(device, self.defaults[device.index])

    def set_stream(self, stream: Stream) -> None:
        self.local.current, self.local.streams[stream.device] = stream.device.index, stream

    def set_debug(self, mode: Any) -> None:
        self.debug = {"default": 0, "warn": 1}.get(mode, mode)

    def set_device(self, device: Any) -> None:
        self.set_stream(self.current_stream(device))

    def device(self, device: Any) -> Any:
        return InStream(self, self.current_stream(device))

    def stream(self, stream: Stream) -> Any:
        return InStream(self, stream)

    def synchronize(self, device: Any = None) -> None:
        for stream in self.streams:
            if stream.device == self.device_of(device):
                merge(self.host, stream.clock)

    # Work.

    def launch(self, device: torch.device, read: list[Any], written: list[Any], what: str) -> None:
        stream = self.current_stream(device)
        for other in stream.launch(read, written):
            self.faults.append(f"race: {what} on stream {stream.stream_id} is not ordered after {other}")

    def synced(self, what: str, device: torch.device) -> None:
        """The host waits for the device's current stream."""
        if self.local.capture:
            self.local.capture.invalid = True
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({what})")
        self.syncs.append(what)
        if self.debug == 1:
            warnings.warn(SYNCS, stacklevel=2)
        merge(self.host, self.current_stream(device).clock)

    @contextlib.contextmanager
    def frame(self, device: torch.device, named: bool = False, quick: bool = False) -> Iterator[None]:
        self.local.frames.append(Frame(device, named, quick))
        try:
            yield
        finally:
            self.local.frames.pop()

    def moved(self, tensor: Tensor, device: Any, dtype: Any = None, quick: bool = False, **options: Any) -> Tensor:
        """Return the tensor on a device, as Tensor.to does."""
        source = self.tags.device(tensor)
        device = source if device is None else torch.device(device)
        device = self.device_of(device) if device.type == "cuda" else device
        if device == source:
            with self.frame(device):
                return tensor.to(dtype or tensor.dtype, **options)
        with self.frame(device, True, quick):
            return tensor.to(dtype or tensor.dtype, **options | {"copy": True})

    def place(self, name: str, args: Any, tensors: list[Tensor]) -> torch.device:
        """Return where an operation runs. Raises RuntimeError for tensors on different devices."""
        devices = [self.tags.device(tensor) for tensor in tensors]
        cuda = list(dict.fromkeys(device for device in devices if device.type == "cuda"))
        if not cuda or name in COPIES:
            return devices[0] if cuda else CPU
        indices = {id(tensor) for tensor in leaves(args[1])} if name in INDEXED else set()
        strange = [t for t in tensors if self.tags.device(t).type != "cuda" and id(t) not in indices]
        if len(cuda) > 1 or any(t.dim() or name in ("cat", "stack") for t in strange):
            self.faults.append(f"mixed: {name} of {[(str(self.tags.device(t)), list(t.shape)) for t in tensors]}")
            raise RuntimeError(f"Expected all tensors to be on the same device: {name}")
        return cuda[0]

    def sync_of(self, name: str, args: Any, tensors: list[Tensor]) -> str:
        """Return why the host waits for an operation, if it does."""
        if name in INDEXED:
            indices = list(leaves(args[1]))
            masks = any(index.dtype in (torch.bool, torch.uint8) for index in indices)
            filled = name.startswith(("index_put", "_index_put")) and args[2].numel() == 1
            away = any(self.tags.device(index).type == "cpu" for index in indices)
            return f"{name} by a mask" if masks and not filled else f"{name} by indices on the host" if away else ""
        return name if name in SYNCING or (name == "repeat_interleave" and len(args) == 1) else ""

    def copied(self, target: torch.device, source: Tensor, quick: bool) -> None:
        """Note a copy between the host and a device."""
        tag = self.tags.find(source)
        device = target if target.type == "cuda" else tag.device
        if target.type == "cuda" and quick and (tag is None or not tag.pinned):
            self.pageable += 1
            if self.local.capture:
                self.synced("copy of pageable memory", device)
        if not (quick and target.type == "cuda"):
            if tag and tag.device.type == "cuda":
                self.launch(device, [tag], [], "copy to the host")
            self.synced("copy to the host" if target.type == "cpu" else "copy from the host", device)

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Do one operation."""
        name, tensors = func._schema.name.split("::")[1], list(leaves((args, kwargs)))
        device, frame = self.place(name, args, tensors), (self.local.frames or [Frame(CPU)])[-1]
        makes = any(argument.name == "device" for argument in func._schema.arguments)
        if makes and (kwargs.get("device") or CPU).type == "cuda":
            device, kwargs = kwargs["device"], kwargs | {"device": CPU}
        elif makes and (frame.named or not tensors):
            device = frame.device
        if isinstance(kwargs.get("generator"), torch.Generator) and device.type == "cuda":
            self.faults.append(f"generator: {name} on {device} with a generator on the CPU")
        if name in ("_to_copy", "copy_") and device.type != self.tags.device(tensors[-1]).type:
            self.copied(device, tensors[-1], frame.quick if name == "_to_copy" else bool(args[2:] and args[2]))
        if device.type != "cuda":
            return func(*args, **kwargs)
        return self._on_device(func, args, kwargs, name, tensors, device)

    def _on_device(self, func: Any, args: Any, kwargs: Any, name: str, tensors: list[Tensor], device: Any) -> Any:
        reason, written, capture = self.sync_of(name, args, tensors), written_by(func, args, kwargs), self.local.capture
        if name in UNSTEADY and torch.are_deterministic_algorithms_enabled():
            self.unsteady.add(name)
            warnings.warn(f"{name} does not have a deterministic implementation, but you set", stacklevel=2)
        if capture and self.current_stream(device) is not capture.stream:
            self.faults.append(f"escaped: {name} on {device} runs while {capture.stream.device} captures")
            capture = None
        if capture and not reason:
            capture.before(written)
        before = [tag for tensor in tensors if (tag := self.tags.find(tensor)) and tag.device.type == "cuda"]
        if reason and not capture:
            self.launch(device, before, [], name)
        if reason:
            self.synced(reason, device)
        outputs = func(*args, **kwargs)
        inputs = {plain(tensor).untyped_storage()._cdata for tensor in tensors}
        fresh = [t for t in leaves(outputs) if t.untyped_storage()._cdata not in inputs]
        for tensor in fresh:
            self.tags.mark(tensor, device)
        if capture:
            capture.record(func, args, kwargs, fresh, outputs, written)
        elif fresh or written:
            tags = [self.tags.find(tensor) for tensor in [*fresh, *written]]
            self.launch(device, before, [tag for tag in tags if tag], name)
        return outputs


def written_by(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """Return the tensors that an operation writes to."""
    if func._schema.name == "aten::native_batch_norm":  # its schema does not say so
        return [tensor for tensor in args[3:5] if tensor is not None and args[5]]
    named = dict(zip([argument.name for argument in func._schema.arguments], args, strict=False)) | kwargs
    writes = [a.name for a in func._schema.arguments if a.alias_info is not None and a.alias_info.is_write]
    return list(leaves([named[name] for name in writes if name in named]))


class InStream:
    """Stands for torch.cuda.stream(...)."""

    def __init__(self, pretence: Pretence, stream: Stream):
        self.pretence, self.stream = pretence, stream

    def __enter__(self) -> None:
        self.before = self.pretence.local.current, dict(self.pretence.local.streams)
        self.pretence.set_stream(self.stream)

    def __exit__(self, *error: object) -> None:
        self.pretence.local.current, self.pretence.local.streams = self.before
