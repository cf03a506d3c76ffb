"""The device of a run."""

from __future__ import annotations

import os

import torch
from torch import nn

from pdiff.errors import Faults

COUNTED = ("threads", "precision")
"""Keys of [run] that change the last bits, or more, of what is trained: set, they are part of every stage's key."""


def device_for(wanted: str) -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda` or `cuda:N`. Raises UserError when it is not there.

    On CUDA it asks for deterministic kernels: the same recipe gives the same bytes on the same machine.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(wanted)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise Faults([f"run.device = {wanted!r}: torch finds no CUDA device; write 'auto' or 'cpu'"])
        if (device.index or 0) >= torch.cuda.device_count():
            raise Faults([f"run.device = {wanted!r}: there are {torch.cuda.device_count()} CUDA devices, from 0 on"])
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    return device


def precision_for(wanted: str, device: torch.device) -> str:
    """Return the precision of training: `auto` is bfloat16 on CUDA and float32 elsewhere."""
    if wanted != "auto":
        return wanted
    return "bfloat16" if device.type == "cuda" else "float32"


def placed(model: nn.Module, device: torch.device) -> nn.Module:
    """Return the network on the device; one of convolutions in channels-last order where that is quick: on CUDA."""
    flat = device.type == "cuda" and any(isinstance(module, nn.Conv2d) for module in model.modules())
    if not flat:
        return model.to(device)
    return model.to(device).to(memory_format=torch.channels_last)
