"""Memory: how much is free, and going on with less when it runs out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

CGROUP = Path("/sys/fs/cgroup")


def free_bytes(device: torch.device) -> int:
    """Return the bytes that can still be taken on a device: for a CPU, within its container's limit."""
    if device.type == "cuda":
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserved
    return min(_available(), _left_in_group())


def _available() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):  # not Linux: a guess that fits a laptop
        return 4 * 2**30


def _left_in_group() -> int:
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return int(limit) - int(used) if limit != "max" else 2**63
    except (OSError, ValueError):
        return 2**63


def ran_out(error: BaseException) -> bool:
    """True for an error that says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def in_chunks(function: Callable[[Tensor], Tensor], rows: Tensor, size: int) -> Tensor:
    """Return `function` of all rows, at most `size` at a time, and half as many whenever memory runs out.

    Raises the error of one row alone, where even that is too much.
    """
    done: list[Tensor] = []
    start = 0
    while start < len(rows) or not done:
        try:
            done.append(function(rows[start : start + size]))
            start += size
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not ran_out(error):
                raise
            size = (size + 1) // 2
    return torch.cat(done)
