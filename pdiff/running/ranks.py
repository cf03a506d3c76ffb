"""Ranks: the processes of one run, as torchrun starts them, which walk through it in step.

Each does the same work from the same seeds, but for what is shared out by rows: then each does a block of them, and all
have the whole. Rank 0, the leader, alone writes results and speaks. Alone, a process is a leader of nobody.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

ADDRESS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What a process is told of the others, by torchrun or by hand."""
WAITS = datetime.timedelta(days=30)
"""For the slowest, at most: the leader may wait for another run. Where a process dies, the others know at once."""
FINDS = datetime.timedelta(minutes=5)
"""For all to be there."""
AT_ONCE = 2**26
"""Bytes that are sent at a time."""
LOST = "gloo", "connection"
"""Words of gloo's errors, which have no kind of their own."""
OWN = "snapshot-rank-"
"""Begins the name of the folder, below a stage that is computed, of a rank that is not the leader."""

_stores: list[Any] = []
"""Of the groups that this process was in: where they find each other."""
_joined = False


def rank() -> int:
    """Return this process's number, 0 where it is alone."""
    return _number("RANK")


def local_rank() -> int:
    """Return this process's number among those of its machine."""
    return _number("LOCAL_RANK")


def _number(name: str) -> int:
    value = os.environ.get(name, "0") if all(name in os.environ for name in ADDRESS) else "0"
    if not value.isdecimal():
        raise UserError(f"{name} = {value!r}: is no number of a process; unset it, or start by torchrun")
    return int(value)


def leader() -> bool:
    """True in the process that writes and speaks."""
    return rank() == 0


def world() -> int:
    """Return how many processes walk in step: one outside of `group`."""
    return int(os.environ["WORLD_SIZE"]) if _joined else 1


def here() -> int:
    """Return how many of them share this machine's cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if _joined else 1


@contextlib.contextmanager
def group() -> Iterator[None]:
    """Within it the processes that torchrun started walk in step; CPU tensors go by gloo, those of GPUs by NCCL."""
    global _joined
    if not all(name in os.environ for name in ADDRESS) or os.environ["WORLD_SIZE"] == "1" or _joined:
        yield
        return
    import torch
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    if distributed.is_initialized():
        raise UserError(
            "torch.distributed is in use already: a run that failed, too, ends its process; start a new one"
        )
    try:
        store, number, count = next(rendezvous("env://", timeout=FINDS))
    except (RuntimeError, ValueError) as error:
        place, among = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}", os.environ["WORLD_SIZE"]
        why = " ".join(str(error).split())[:100]
        mend = f"unset {' and '.join(ADDRESS[:2])} for one process"
        raise UserError(
            f"process {os.environ['RANK']} of {among} did not find the others at {place} ({why}); {mend}"
        ) from None
    with told_when_lost():
        _stores.append(PrefixStore(f"pdiff/{len(_stores)}", store))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, store=_stores[-1], rank=number, world_size=count, timeout=WAITS)
    _joined = True
    if not leader():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    try:
        yield
        barrier()
    finally:
        _joined = False
    distributed.destroy_process_group()  # after a failure the others must see this process go


def tells() -> bool:
    """Return whether this process says why the run ends: the first that fails, and one that is alone, does."""
    if not _stores:
        return True
    try:
        return int(_stores[-1].add("failed", 1)) == 1
    except RuntimeError:  # who kept the store is gone, and may have said nothing
        return True


@contextlib.contextmanager
def told_when_lost() -> Iterator[None]:
    """Say in one line that another process is gone, which torch tells as its connections break."""
    try:
        yield
    except RuntimeError as error:
        if not _stores:
            raise
        from torch.distributed import DistError

        if not isinstance(error, DistError) and not any(word in str(error).lower() for word in LOST):
            raise
        raise UserError("another process of the run has ended; the same command goes on from what is stored") from error


def leave(code: int) -> None:
    """End a process that walked with others at once: while the interpreter goes, torch 2.14 was seen to crash."""
    if _stores:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def barrier() -> None:
    """Wait for all."""
    if _joined:
        import torch

        summed([torch.zeros(1)])


@contextlib.contextmanager
def alone() -> Iterator[bool]:
    """Within it each process is alone; give whether this one leads, and so does what no other does."""
    global _joined
    before, _joined = _joined, False
    try:
        yield leader()
    finally:
        _joined = before


@contextlib.contextmanager
def leader_first() -> Iterator[None]:
    """Let the leader do a thing before the others, who find what it fetched or made."""
    if not leader():
        barrier()
    yield
    if leader():
        barrier()


def agreed(value: Any) -> Any:
    """Return the leader's value, small and JSON-ready, in every process."""
    if not _joined:
        return value
    import torch

    text = torch.frombuffer(bytearray(json.dumps(value), "utf-8"), dtype=torch.uint8)
    size = torch.tensor([len(text)])
    _send(size, 0)
    text = text if leader() else torch.empty(int(size), dtype=torch.uint8)
    _send(text, 0)
    return json.loads(bytes(text.tolist()))


def own_rows(count: int, number: int | None = None) -> slice:
    """Return the block of `count` rows that is this process's, or another's; of fewer rows than processes all."""
    number, processes = rank() if number is None else number, world()
    if processes == 1 or count < processes:
        return slice(0, count)
    return slice(number * count // processes, (number + 1) * count // processes)


def exchange(values: Tensor) -> None:
    """Fill in `values` `[count, ...]`, of which each process has its own block, contiguous on the CPU."""
    import torch

    for number in range(world() if 1 < world() <= len(values) else 0):
        for part in values[own_rows(len(values), number)].reshape(-1).view(torch.uint8).split(AT_ONCE):
            _send(part, number)


def by_rows(count: int, compute: Callable[[slice], Tensor]) -> Tensor:
    """Return `[count, ...]`, of which `compute` gives any block of rows: each process computes its own.

    What was computed by several is on the CPU.
    """
    import torch

    mine = own_rows(count)
    block = compute(mine)
    if len(block) == count:
        return block
    values = torch.empty(count, *block.shape[1:], dtype=block.dtype)
    values[mine] = block
    exchange(values)
    return values


def summed(values: list[Tensor]) -> None:
    """Replace tensors of one kind by their sums over all processes."""
    import torch
    from torch import distributed

    flat = torch.cat([value.reshape(-1) for value in values])
    with told_when_lost():
        distributed.all_reduce(flat)
    for value, part in zip(values, flat.split([value.numel() for value in values]), strict=True):
        value.copy_(part.view_as(value))


def led(compute: Callable[[Callable[[Path], None]], Path], work: Callable[[Path], None]) -> Path:
    """Return the folder that `compute(work)` gives, which the leader decides to call; where it works, all do.

    Others work in a folder of their own below the leader's, which begins with the same snapshots, and is dropped with
    them. Raises UserError where a process cannot see what the leader wrote.
    """
    if not _joined:
        return compute(work)

    def together(folder: Path) -> None:
        agreed({"work": str(folder)})
        barrier()
        work(folder)
        barrier()

    if leader():
        done = compute(together)
        agreed({"done": str(done)})
        return done
    while "done" not in (order := agreed(None)):
        own = _own(_seen(order["work"]))
        barrier()
        work(own)
        barrier()
    return _seen(order["done"])


def _own(folder: Path) -> Path:
    own = folder / f"{OWN}{rank()}"
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir()
    for path in folder.glob("snapshot*"):
        if path.is_file() and not path.name.endswith(".tmp"):
            shutil.copyfile(path, own / path.name)
    return own


def _seen(name: str) -> Path:
    if not Path(name).is_dir():
        raise UserError(f"{name}: process {rank()} does not see it; choose a run.out that all processes share")
    return Path(name)


def _send(values: Tensor, source: int) -> None:
    from torch import distributed

    with told_when_lost():
        distributed.broadcast(values, source)
