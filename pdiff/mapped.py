"""Vectors that are too many to be held: tensors whose memory is a file, read by windows of columns or by rows.

What was read of a file counts as the process's memory until it is let go; the functions here let go as they read. They
take every tensor, and do the same with small ones and with those in memory. N or M rows, D columns.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdiff.errors import UserError

COLUMNS = 65_536
"""Columns of a zoo that are held in float64 at a time."""
LARGE = 2**26
"""Bytes from which new vectors get a file, and read ones are let go."""
MADV_DONTNEED = 4


def empty(count: int, dim: int, folder: Path | None) -> Tensor:
    """Return new vectors `[count, dim]`, float32; large ones lie in a file of that folder, which goes with them."""
    size = 4 * count * dim
    if size < LARGE or folder is None:
        return torch.empty(count, dim)
    handle, name = tempfile.mkstemp(suffix=".tmp", dir=folder)
    try:
        return _mapped(Path(name), handle, size).view(count, dim)
    finally:
        os.close(handle)
        if os.name != "nt":  # else the file goes with the stage
            os.unlink(name)


def kept(path: Path, count: int, dim: int) -> Tensor:
    """Return vectors `[count, dim]` that lie in a file and outlive the process; what is there already stays."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        return _mapped(path, handle, 4 * count * dim).view(count, dim)
    finally:
        os.close(handle)


def _mapped(path: Path, handle: int, size: int) -> Tensor:
    """Return a float32 tensor over a file of that size, whose place on the disk is taken at once."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, size)  # a map of a full disk ends the process
        os.ftruncate(handle, size)
        numbers = torch.from_file(str(path), shared=True, size=size // 4, dtype=torch.float32)
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", "") or error
        raise UserError(
            f"{path.parent}: {size / 2**30:,.1f} GiB cannot be written there ({why}); make room, then run again"
        ) from None
    return numbers


def windows(*thetas_MD: Tensor, width: int = COLUMNS) -> Iterator[tuple[Any, ...]]:
    """Yield (columns, the first tensor's, the second's...): views of at most `width` columns, from left to right."""
    read, dim = 0, thetas_MD[0].shape[1]
    for start in range(0, dim, width):
        columns = slice(start, min(start + width, dim))
        parts = tuple(theta_MD[:, columns] for theta_MD in thetas_MD)
        yield columns, *parts
        read += sum(part.numel() * part.element_size() for part in parts)
        if read >= LARGE or columns.stop == dim:
            read = 0
            release(*thetas_MD)


def rows(theta_MD: Tensor) -> Iterator[Tensor]:
    """Yield theta_D of each row, a view."""
    read = 0
    for theta_D in theta_MD:
        yield theta_D
        read += theta_D.numel() * theta_D.element_size()
        if read >= LARGE:
            read = 0
            release(theta_MD)
    release(theta_MD)


def finite_rows(theta_MD: Tensor) -> Tensor:
    """Return which rows hold no NaN or Inf, `[M]`."""
    return torch.tensor([all(bool(part.isfinite().all()) for part in row.split(COLUMNS)) for row in rows(theta_MD)])


def mean_of(theta_MD: Tensor) -> Tensor:
    """Return the average row, `[D]` in float32, summed in float64."""
    mean_D = torch.empty(theta_MD.shape[1])
    for columns, part_MD in windows(theta_MD):
        mean_D[columns] = part_MD.double().mean(dim=0)
    return mean_D


def release(*tensors: Tensor) -> None:
    """Let go of what was read of tensors whose memory is a file; nothing that was written is lost."""
    for tensor in tensors:
        size = tensor.element_size() * (
            1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
        )
        if not sys.platform.startswith("linux") or size < LARGE or tensor.device.type != "cpu":
            continue
        start, page = tensor.data_ptr(), os.sysconf("SC_PAGE_SIZE")
        stop = (start + size) // page * page
        start = math.ceil(start / page) * page
        if _is_clean_file(start, stop):
            ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), MADV_DONTNEED)


def _is_clean_file(start: int, stop: int) -> bool:
    """Return whether these addresses are a file's, and hold nothing that the file does not."""
    found = False
    with open("/proc/self/smaps", encoding="utf-8") as lines:
        for line in lines:
            if ":" not in line.split(" ", 1)[0]:  # a range's first line: address perms offset dev inode path
                low, high = (int(end, 16) for end in line.split(" ", 1)[0].split("-"))
                if found or low > start:
                    return False
                about = line.split()
                found = low <= start and stop <= high and about[4] != "0"
                if found and about[1].endswith("s"):
                    return True
            elif found and line.startswith("Private_Dirty:"):
                return int(line.split()[1]) == 0
    return False


def file_of(tensor: Tensor) -> Path | None:
    """Return the file that is the memory of the tensor, from its first byte to its last, and shared; else None."""
    if not sys.platform.startswith("linux") or not tensor.is_contiguous():
        return None
    with open("/proc/self/maps", encoding="utf-8") as lines:
        for line in lines:
            about = line.rstrip("\n").split(maxsplit=5)
            low = int(about[0].split("-")[0], 16)
            if low == tensor.data_ptr() and about[1].endswith("s") and about[4] != "0":
                return Path(about[5])
    return None
