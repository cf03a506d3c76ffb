"""Memory: how much is free, and going on with less when it runs out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from pdiff.errors import UserError
from pdiff.mapped import KEPT

CGROUP = Path("/sys/fs/cgroup")
OUT = (
    "can't allocate memory", "out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED", "size calculation overflowed",
    "multiplication overflow",
)  # fmt: skip
"""What torch, CUDA, cuBLAS and cuDNN say; of the last two where a size in bytes is no 64-bit number."""
LOWER = {
    "train": "the sizes in [architecture] and [dataset], or train.batch_size",
    "collect": "collect.count, collect.batch_size, or the sizes in [architecture]",
    "fit": "the sizes and batch_size of the method",
    "sample": "sample.count, or --count",
    "predict": "run.batch_size, or sample.count",
    "measure": "run.batch_size",
    "evaluate": "run.batch_size, sample.count, or the evaluator's own counts",
}
"""What takes memory, by stage."""


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


def keep_freed() -> None:
    """Let glibc keep what is freed for what is taken next, instead of handing each block of a step back to the system.

    It moves its thresholds to what is freed, which it does for at most 32 MiB. Pages that are taken anew at every step
    were two thirds of the time of preparing a batch of images, and up to a third of a training step.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def ran_out(error: BaseException) -> bool:
    """True for an error that says that memory ran out, on any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error) if isinstance(error, RuntimeError) else ""
    return any(words in said for words in OUT)


def needs(what: str, count: int, dim: int, lower: str, folder: Path) -> None:
    """Raise UserError where `count` vectors of `dim` float32 numbers need more than is free on the disk of a folder.

    The folder need not be there yet; vectors that a killed run left in it have their place already.
    """
    there = next((path for path in (folder, *folder.absolute().parents) if path.is_dir()), Path())
    held = sum(path.stat().st_size for path in folder.glob(f"*{KEPT}"))
    needed, free = 4 * count * dim, shutil.disk_usage(there).free + held
    if needed > free:
        size, left = (f"{number / 2**30:,.1f} GiB" for number in (needed, free))
        asked = f"{count:,} networks of {dim:,} parameters need {size}"
        raise UserError(f"{what}: {asked}, {left} are free on the disk of {there}; lower {lower}, or write elsewhere")


@contextmanager
def told_when_out(stage: str) -> Iterator[None]:
    """Raise UserError that names the stage and what to lower where memory runs out in it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        why = " ".join(str(error).split()).rpartition("DefaultCPUAllocator: ")[2][:120] or type(error).__name__
        raise UserError(f"{stage}: memory ran out ({why}); lower {LOWER.get(stage, LOWER['train'])}") from None


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
