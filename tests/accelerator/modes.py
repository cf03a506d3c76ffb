"""The two modes of the pretence, and what of torch is replaced while they are on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, _pop_mode, _push_mode
from torch.utils import checkpoint
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from tests.accelerator.graphs import Capture, Graph
from tests.accelerator.pretence import Pretence
from tests.accelerator.tags import CPU, leaves


class Done(TorchDispatchMode):
    """Told of every operation."""

    def __init__(self, pretence: Pretence):
        super().__init__()
        self.pretence = pretence

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunction():
            return self.pretence.run(func, args, kwargs or {})


class Asked(TorchFunctionMode):
    """Told of every call from Python."""

    def __init__(self, pretence: Pretence):
        super().__init__()
        self.pretence, self.device = pretence, pretence.tags.device
        self.answers = {
            Tensor.device.__get__: self.device, Tensor.is_cuda.__get__: lambda t: self.device(t).type == "cuda",
            Tensor.is_cpu.__get__: lambda t: self.device(t).type == "cpu",
            Tensor.to: self.to, Tensor.type_as: self.to, Tensor.cpu: lambda t, **_: pretence.moved(t, CPU),
            Tensor.cuda: lambda t, *index: pretence.moved(t, pretence.device_of(*index)),
            Tensor.numpy: self.numpy, Tensor.__array__: lambda t, *a: self.numpy(t).astype(*a) if a else self.numpy(t),
            Tensor.tolist: lambda t: pretence.moved(t, CPU).tolist(), Tensor.__deepcopy__: self.deepcopy,
            Tensor.pin_memory: self.pin, Tensor.is_pinned: pretence.tags.pinned, Tensor.backward: self.backward,
            torch.tensor: self.made(torch.tensor), torch.as_tensor: self.made(torch.as_tensor),
        }  # fmt: skip

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in self.answers:
            return self.answers[func](*args, **kwargs)
        if getattr(func, "__name__", "") in ("__get__", "__set__"):
            return func(*args, **kwargs)
        wanted, traced = kwargs.get("device"), isinstance(func, torch._ops.OpOverload)
        if wanted is not None and not traced:
            wanted = torch.device(wanted)
            wanted = self.pretence.device_of(wanted) if wanted.type == "cuda" else wanted
            with self.pretence.frame(wanted, True):
                return func(*args, **kwargs | ({"device": CPU} if wanted.type == "cuda" else {}))
        devices = [device for tensor in leaves((args, kwargs)) if (device := self.device(tensor)).type == "cuda"]
        # A traced graph's factories: the device was the CPU when it was traced; the thread's own is meant.
        chosen = traced and wanted is not None and self.pretence.local.current is not None
        home = self.pretence.device_of() if chosen else CPU
        with self.pretence.frame(devices[0] if devices else home):
            return func(*args, **kwargs)

    def to(self, tensor: Tensor, *args: Any, copy: bool = False, **kwargs: Any) -> Tensor:
        other = args[0] if args else kwargs.get("other")
        if isinstance(other, Tensor):
            quick = kwargs.get("non_blocking", args[1] if len(args) > 1 else False)
            return self.pretence.moved(tensor, self.device(other), other.dtype, quick, copy=copy)
        device, dtype, quick, layout = torch._C._nn._parse_to(*args, **kwargs)
        layout = torch.preserve_format if layout is None else layout
        return self.pretence.moved(tensor, device, dtype, quick, copy=copy, memory_format=layout)

    def made(self, function: Any) -> Any:
        return lambda *args, device=None, **kwargs: self.pretence.moved(function(*args, **kwargs), device)

    def numpy(self, tensor: Tensor, **options: Any) -> Any:
        if self.device(tensor).type == "cuda":
            self.pretence.faults.append("numpy: of a tensor on a device")
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
        return tensor.numpy(**options)

    def deepcopy(self, tensor: Tensor, memo: Any) -> Tensor:
        copied = tensor.__deepcopy__(memo)
        if self.device(tensor).type == "cuda":
            self.pretence.tags.mark(copied, self.device(tensor))
        return copied

    def pin(self, tensor: Tensor) -> Tensor:
        pinned = tensor.clone()
        self.pretence.tags.mark(pinned, CPU, pinned=True)
        return pinned

    def backward(self, tensor: Tensor, gradient: Any = None, **options: Any) -> None:
        engine = torch.autograd.Variable._execution_engine  # torch.autograd.backward would come back here
        slope, again = torch.ones_like(tensor) if gradient is None else gradient, bool(options.get("retain_graph"))
        with self:  # else backward passes that are written in Python would see the CPU
            engine.run_backward((tensor,), (slope,), again, False, (), allow_unreachable=True, accumulate_grad=True)


def _grouped(original: Any, pretence: Pretence) -> Any:
    """Return torch's grouping of tensors, by the pretended device."""

    def grouped(lists: Any, with_indices: bool = False) -> Any:
        found = original(lists, with_indices)
        return {(pretence.tags.device(group[0][0][0]), dtype): group for (_, dtype), group in found.items()}

    return grouped


def _without_modes(function: Any) -> Any:
    """Return a function that runs as if there were no accelerator: tracing puts its own modes on."""

    def plainly(*args: Any, **kwargs: Any) -> Any:
        asked = _pop_mode()
        try:
            with _disable_current_modes(), mock.patch("torch.cuda.is_available", lambda: False):
                return function(*args, **kwargs)
        finally:
            _push_mode(asked)

    return plainly


@contextlib.contextmanager
def pretended(devices: int = 2) -> Iterator[Pretence]:
    """Pretend that there are so many CUDA devices."""
    pretence, submit, autocast = Pretence(devices), ThreadPoolExecutor.submit, torch.autocast.__init__
    graph = type("PretendedGraph", (Graph,), {"pretence": pretence})

    def in_thread(function: Any, *args: Any, **kwargs: Any) -> Any:
        with Asked(pretence), Done(pretence):
            return function(*args, **kwargs)

    def on_cpu(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        autocast(self, "cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    names = {
        "is_available": lambda: True, "device_count": lambda: devices,
        "current_device": lambda: pretence.local.current or 0,
        "is_initialized": lambda: True, "_lazy_init": lambda: None, "manual_seed_all": lambda seed: None,
        "default_generators": tuple(torch.Generator() for _ in range(devices)), "empty_cache": lambda: None,
        "current_stream": pretence.current_stream, "set_stream": pretence.set_stream, "Stream": pretence.new_stream,
        "stream": pretence.stream, "device": pretence.device, "set_device": pretence.set_device,
        "synchronize": pretence.synchronize, "CUDAGraph": graph, "graph": Capture,
        "is_current_stream_capturing": lambda: pretence.local.capture is not None,
        "set_sync_debug_mode": pretence.set_debug, "get_sync_debug_mode": lambda: pretence.debug,
        "mem_get_info": lambda device=None: (2**33, 2**34), "is_bf16_supported": lambda *_: True,
        **dict.fromkeys(("memory_reserved", "memory_allocated", "max_memory_allocated"), lambda device=None: 0),
    }  # fmt: skip
    patches = [mock.patch.object(torch.cuda, name, value) for name, value in names.items()] + [
        mock.patch.object(ThreadPoolExecutor, "submit", lambda self, f, *a, **k: submit(self, in_thread, f, *a, **k)),
        # It compares devices, as C++ and as Python see them.
        mock.patch.dict(checkpoint._allowed_determinism_checks_to_fns, {"default": lambda tensor: None}),
        mock.patch.object(torch.accelerator, "current_stream", pretence.current_stream),
        mock.patch.object(torch.autocast, "__init__", on_cpu), mock.patch.dict(os.environ),
        mock.patch.object(torch.export, "export", _without_modes(torch.export.export)),
        mock.patch.object(
            torch.export.ExportedProgram, "run_decompositions",
            _without_modes(torch.export.ExportedProgram.run_decompositions),
        ),
        *(mock.patch.object(module, "_group_tensors_by_device_and_dtype",
                            _grouped(module._group_tensors_by_device_and_dtype, pretence))
          for module in map(import_module, ("torch.optim.optimizer", "torch.nn.utils.clip_grad"))),
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        stack.enter_context(settings_kept())
        for patch in patches:
            stack.enter_context(patch)
        stack.enter_context(Asked(pretence))
        stack.enter_context(Done(pretence))
        yield pretence


@contextlib.contextmanager
def settings_kept() -> Iterator[None]:
    """Put back what a run on CUDA sets for the process."""
    on, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled, tf32 = torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(on, warn_only=warned)
        torch.utils.deterministic.fill_uninitialized_memory, torch.backends.cudnn.allow_tf32 = filled, tf32
