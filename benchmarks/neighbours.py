"""Nearest checkpoints: a Gram matrix and the few pairs that it leaves, against every pair by its differences.

    python benchmarks/neighbours.py [--threads 1] [--rounds 5]

CPU time, best of some rounds in turn. "buffers" is the loop that was in use until 30 November 2026 (memory used again),
"pairs" the one before it. Both measure all pairs, and both answers must be those of the search, to the last bit.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import torch
from common import header
from torch import Tensor

from pdiff.mapped import COLUMNS
from pdiff_plugins.maths.neighbours import neighbours

NUMBERS = 2**18
SIZES = ((100, 300, 5_530, "of samples"), (300, 300, 5_530, "within"), (100, 300, 20_000, ""), (100, 100, 300_000, ""))
Found = tuple[Tensor, Tensor]


def pairs(a_MD: Tensor, b_ND: Tensor, leave_self_out: bool) -> Found:
    least = []
    for index, a_D in enumerate(a_MD):
        parts = zip(b_ND.split(COLUMNS, dim=1), a_D.split(COLUMNS), strict=True)
        squares_N = sum((b - a).double().square_().sum(dim=1) for b, a in parts)
        if leave_self_out:
            squares_N[index] = float("inf")
        least.append(squares_N.min(dim=0))
    return torch.stack([row.values.sqrt() for row in least]), torch.stack([row.indices for row in least])


def buffers(a_MD: Tensor, b_ND: Tensor, leave_self_out: bool) -> Found:
    width = min(COLUMNS, b_ND.shape[1])
    rows, least = max(1, NUMBERS // max(width, 1)), []
    near, wide = (torch.empty(rows * width, dtype=dtype) for dtype in (b_ND.dtype, torch.float64))
    for index, a_D in enumerate(a_MD):
        squares_N = torch.zeros(len(b_ND), dtype=torch.float64)
        for b_nD, sum_n in zip(b_ND.split(rows), squares_N.split(rows), strict=True):
            for b, a in zip(b_nD.split(COLUMNS, dim=1), a_D.split(COLUMNS), strict=True):
                difference, square = (buffer[: b.numel()].view(b.shape) for buffer in (near, wide))
                torch.sub(b, a, out=difference)
                sum_n += square.copy_(difference).square_().sum(dim=1)
        if leave_self_out:
            squares_N[index] = float("inf")
        least.append(squares_N.min(dim=0))
    return torch.stack([row.values.sqrt() for row in least]), torch.stack([row.indices for row in least])


def timed(search: Callable[[Tensor, Tensor, bool], Found], *given: Tensor | bool) -> tuple[float, Found]:
    start = time.process_time()
    found = search(*given)  # type: ignore[arg-type]
    return time.process_time() - start, found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    header(
        torch.device("cpu"), "rows", "of", "columns", "", "pairs ms", "buffers ms", "search ms", "ratios", "identical"
    )
    generator = torch.Generator().manual_seed(0)
    for count, others, dim, what in SIZES:
        b_ND = torch.randn(others, dim, generator=generator)
        within = what == "within"
        a_MD = b_ND if within else torch.randn(count, dim, generator=generator)
        best, identical = [float("inf")] * 3, True
        for number in range(options.rounds):
            a_MD = a_MD.view_as(a_MD)  # another tensor: what was found of one is known
            given = a_MD, a_MD if within else b_ND, within
            rounds = [timed(search, *given) for search in (pairs, buffers, neighbours)]
            best = [min(before, seconds) for before, (seconds, _) in zip(best, rounds, strict=True)]
            *others_found, (_, ours) = rounds
            identical &= all(torch.equal(x, y) for _, found in others_found for x, y in zip(found, ours, strict=True))
            if number and dim > 100_000:
                break
        slowest, slow, quick = (1e3 * seconds for seconds in best)
        print(
            f"| {count} | {others} | {dim:,} | {what} | {slowest:.0f} | {slow:.1f} | {quick:.1f} | "
            f"{slowest / quick:.0f}, {slow / quick:.1f} | bit-identical: {'yes' if identical else 'NO'} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
