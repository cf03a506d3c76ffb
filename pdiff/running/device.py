"""The device of a run."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pdiff.errors import Faults
from pdiff.running.memory import keep_freed
from pdiff.running.ranks import here, local_rank


def device_for(wanted: str, precision: str = "auto") -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda` or `cuda:N`. Raises UserError when it is not there.

    On CUDA it is made the current one, and deterministic kernels are asked for: the same recipe gives the same bytes on
    the same machine, but for operations that have no such kernel. Convolutions round to TF32 with bfloat16 alone. On a
    CPU freed memory is kept.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(f"cuda:{local_rank()}" if wanted == "cuda" else wanted)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise Faults([f"run.device = {wanted!r}: torch finds no CUDA device; write 'auto' or 'cpu'"])
        if here() > 1 and wanted != "cuda":
            raise Faults([f"run.device = {wanted!r}: of {here()} processes each takes a GPU of its own; write 'auto'"])
        if (device.index or 0) >= (count := torch.cuda.device_count()):
            raise Faults(
                [f"run.device = {str(device)!r}: there are {count} CUDA devices, from 0 on; each process takes one"]
            )
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        # A launch for every empty tensor.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = precision == "bfloat16"
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
    else:
        keep_freed()
    return device


def steady_attention(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Within it, attention is computed on CUDA by the one kernel whose gradient is the same each time."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cuda" else contextlib.nullcontext()


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on a device; to CUDA by way of pinned memory, for which nothing waits."""
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.contiguous().pin_memory()
    return tensor.to(device, non_blocking=True)


def seed_torch(seed: int, device: torch.device) -> None:
    """Seed the generators that torch draws from on the CPU and on the device.

    torch.manual_seed gives the same numbers, and takes 0.1 to 0.4 ms: it remembers the stack for each kind of device.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)


def precision_for(wanted: str, device: torch.device) -> str:
    """Return the precision of training: `auto` is bfloat16 on CUDA and float32 elsewhere."""
    if wanted != "auto":
        return wanted
    return "bfloat16" if device.type == "cuda" else "float32"


def placed(model: nn.Module, device: torch.device) -> nn.Module:
    """Return the network on the device; one of convolutions in channels-last order where that is quick.

    That is on CUDA, and on a CPU where BatchNorm stands between them: 1.1 to 2.7 times, while a LayerNorm over whole
    images would turn them back. No trial decides, because the orders differ in the last bits.
    """
    needed = nn.Conv2d if device.type == "cuda" else nn.BatchNorm2d
    if not any(isinstance(module, needed) for module in model.modules()):
        return model.to(device)
    return model.to(device).to(memory_format=torch.channels_last)
