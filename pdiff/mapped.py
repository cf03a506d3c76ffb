"""Vectors that are too many to be held: tensors whose memory is a file, read by windows of columns or by rows.

What was read of a file counts as the process's memory until it is let go; the functions here let go as they read. They
take every tensor, and do the same with small ones and with those in memory. N or M rows, D columns.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

COLUMNS = 65_536
"""Columns of a zoo that are held in float64 at a time."""
LARGE = 2**26
"""Bytes from which new vectors get a file, and read ones are let go."""
HELD = 2**24
"""Bytes that are read of a file before they are let go of; the system maps a few times as many around them."""
HEADER = 4096
"""Bytes before the numbers in a file of `kept` vectors."""
KEPT = "-rows.bin"
MADV_DONTNEED = 4


def empty(count: int, dim: int, folder: Path | None) -> Tensor:
    """Return new vectors `[count, dim]`, float32; large ones lie in a file of that folder, which goes with them."""
    import torch

    size = 4 * count * dim
    if size < LARGE or folder is None or os.name == "nt":  # where an open file cannot lose its name
        return torch.empty(count, dim)
    handle, name = tempfile.mkstemp(suffix=".tmp", dir=folder)
    try:
        return _mapped(Path(name), handle, size).view(count, dim)
    finally:
        os.close(handle)
        os.unlink(name)


def kept(path: Path, count: int, dim: int) -> Tensor:
    """Return vectors `[count, dim]` that lie in a file and outlive the process; what is there already stays.

    The file has room for a header, by which `files.save_rows` makes it a safetensors file.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        return _mapped(path, handle, HEADER + 4 * count * dim)[HEADER // 4 :].view(count, dim)
    finally:
        os.close(handle)


def sync(theta_ND: Tensor) -> None:
    """Write `kept` vectors to the disk, as far as they are filled."""
    file = file_of(theta_ND)
    if file is not None:
        with open(file, "r+b") as out:
            os.fsync(out.fileno())


def _mapped(path: Path, handle: int, size: int) -> Tensor:
    """Return a float32 tensor over a file of that size, whose place on the disk is taken at once."""
    import torch

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


class Touched:
    """Lets go of tensors whenever so much of them was read or written that it counts."""

    def __init__(self, *tensors: Tensor):
        self.tensors, self.size = tensors, 0

    def __call__(self, *parts: Tensor) -> None:
        """Say which parts were read or written."""
        self.size += sum(part.numel() * part.element_size() for part in parts)
        if self.size >= HELD:
            self.end()

    def end(self) -> None:
        """Let go of the rest."""
        self.size = 0
        release(*self.tensors)


def windows(*thetas_MD: Tensor, width: int = COLUMNS) -> Iterator[tuple[Any, ...]]:
    """Yield (columns, the first tensor's, the second's...): views of at most `width` columns, from left to right."""
    touched, dim = Touched(*thetas_MD), thetas_MD[0].shape[1]
    for start in range(0, dim, width):
        columns = slice(start, min(start + width, dim))
        parts = tuple(theta_MD[:, columns] for theta_MD in thetas_MD)
        yield columns, *parts
        touched(*parts)
    touched.end()


def rows(theta_MD: Tensor) -> Iterator[Tensor]:
    """Yield theta_D of each row, a view."""
    touched = Touched(theta_MD)
    for theta_D in theta_MD:
        yield theta_D
        touched(theta_D)
    touched.end()


def finite_rows(theta_MD: Tensor) -> Tensor:
    """Return which rows hold no NaN or Inf, `[M]`."""
    import torch

    return torch.tensor([all(bool(part.isfinite().all()) for part in row.split(COLUMNS)) for row in rows(theta_MD)])


def mean_of(theta_MD: Tensor) -> Tensor:
    """Return the average row, `[D]` in float32, summed in float64."""
    import torch

    mean_D = torch.empty(theta_MD.shape[1])
    for columns, part_MD in windows(theta_MD, width=max(1, min(COLUMNS, 2**22 // len(theta_MD)))):
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


def file_of(theta_ND: Tensor) -> Path | None:
    """Return the file in which `kept` vectors lie, all of them; None of others, and where the system cannot tell."""
    if not sys.platform.startswith("linux") or not theta_ND.is_contiguous() or theta_ND.storage_offset() * 4 != HEADER:
        return None
    whole = theta_ND.untyped_storage()
    if whole.nbytes() != HEADER + theta_ND.nbytes:
        return None
    with open("/proc/self/maps", encoding="utf-8") as lines:
        for line in lines:
            about = line.rstrip("\n").split(maxsplit=5)
            if int(about[0].split("-")[0], 16) == whole.data_ptr() and about[1].endswith("s") and about[4] != "0":
                return Path(about[5])
    return None


def take(theta_ND: Tensor, index: Sequence[int], folder: Path | None) -> Tensor:
    """Return the rows of these numbers: a view where they are evenly spaced, else a copy, in a file as `empty`."""
    steps = {after - before for before, after in itertools.pairwise(index)}
    if len(steps) == 1 and min(steps) > 0:
        return theta_ND[index[0] : index[-1] + 1 : min(steps)]
    chosen_MD = empty(len(index), theta_ND.shape[1], folder)
    touched = Touched(theta_ND, chosen_MD)
    for row, number in enumerate(index):
        chosen_MD[row] = theta_ND[number]
        touched(theta_ND[number], chosen_MD[row])
    touched.end()
    return chosen_MD
