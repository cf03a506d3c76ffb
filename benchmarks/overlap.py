"""Overlap of wrong answers of 1,401 networks on 10,000 examples: one matrix product against a double loop.

    python benchmarks/overlap.py [--device cuda] [--networks 1401] [--examples 10000]

The loop is timed on a few networks and scaled. MB: growth of the peak, the answers included, over a process that has
imported torch (on CUDA: what torch allocated).
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence

import torch
from common import add_device, finish, header

from pdiff.running.device import device_for
from pdiff_plugins.maths.overlap import iou

WRONG = 0.3


def looped(wrong_ME: torch.Tensor) -> torch.Tensor:
    """The definition, pair by pair; with Python's own sets it takes some twenty times longer."""
    rows = wrong_ME.numpy()
    return torch.tensor([[(a & b).sum() / (a | b).sum() for b in rows] for a in rows], dtype=torch.float64)


def peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_device(parser)
    parser.add_argument("--networks", type=int, default=1401)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--few", type=int, default=60, help="networks that the loop is timed on")
    options = parser.parse_args(arguments)
    device = device_for(options.device)
    header(device, "networks", "examples", "loop s", "pdiff s", "ratio", "MB", "differ")
    before = peak(device)
    size = (options.networks, options.examples)
    wrong_ME = (torch.randint(100, size, dtype=torch.uint8) < 100 * WRONG).to(device)
    start = time.perf_counter()
    found = iou(wrong_ME, wrong_ME)
    finish(device)
    quick = time.perf_counter() - start
    used = (peak(device) - before) / 2**20
    start = time.perf_counter()
    few = min(options.few, options.networks)
    expected = looped(wrong_ME[:few].cpu())
    slow = (time.perf_counter() - start) * (options.networks / few) ** 2
    differ = int((found[:few, :few].cpu() != expected).sum())
    print(
        f"| {options.networks:,} | {options.examples:,} | {slow:.0f} | {quick:.2f} | {slow / quick:.0f} | {used:.0f} | "
        f"{differ} of {expected.numel()} |"
    )


if __name__ == "__main__":
    main()
