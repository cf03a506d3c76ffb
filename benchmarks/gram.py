"""Rates behind a zoo of many checkpoints: digests, blocks of the Gram matrix as wide as the code has, eigenvectors.

    python benchmarks/gram.py [--checkpoints 1000 4000 12000]

CPU seconds of one thread. Eigenvectors and what they hold beside the matrix, in matrices of its size, up to N = 4,000.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import time
from collections.abc import Callable, Sequence

import torch
from common import header

from pdiff_plugins.maths.normalise import NUMBERS

NARROW = 10
"""Columns of a block of 10^5 checkpoints."""


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the CPU seconds of a call, the best of a few."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def block(count: int, width: int) -> float:
    """Return the operations a second of a block's part of the Gram matrix."""
    free_NW, gram_NN = torch.randn(count, width, dtype=torch.float64), torch.zeros(count, count, dtype=torch.float64)
    return 2 * count**2 * width / seconds(lambda: gram_NN.add_(free_NW @ free_NW.T))


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, nargs="+", default=[1000, 4000, 12_000])
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = os.urandom(2**27)
    rate = len(data) / 1e9 / seconds(lambda: hashlib.sha256(data).digest())
    print(f"SHA-256: {rate:.1f} GB a CPU-s; load {os.getloadavg()[0]:.1f}")
    header(torch.device("cpu"), "N", "columns", "GFLOP/s", f"of {NARROW} columns", "eigenvectors s", "matrices held")
    for count in options.checkpoints:
        width, eigen, held = NUMBERS // count, "", ""
        if count <= 4000:
            x_NN = torch.randn(count, count + 10, dtype=torch.float64)
            gram_NN, before = x_NN @ x_NN.T, peak()
            eigen = f"{seconds(lambda gram_NN=gram_NN: torch.linalg.eigh(gram_NN), 1):.1f}"
            held = f"{(peak() - before) / gram_NN.nbytes:.2f}"
        rates = f"{block(count, width) / 1e9:.1f} | {block(count, NARROW) / 1e9:.1f}"
        print(f"| {count:,} | {width} | {rates} | {eigen} | {held} |", flush=True)


if __name__ == "__main__":
    main()
