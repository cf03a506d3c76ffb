"""What the benchmarks share."""

from __future__ import annotations

import argparse
import datetime
import os
import platform

import torch

from pdiff.testing import Points


class Idle(Points):
    """A bench whose scores take neither time nor memory."""

    def score(self, theta_MD: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(theta_MD), dtype=torch.float64)


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")


def finish(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def header(device: torch.device, *titles: str) -> None:
    """Print where and when this is measured, and the head of a table."""
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {os.cpu_count()} cores"
    when = datetime.date.today()
    print(f"{what}; torch {torch.__version__}; Python {platform.python_version()}; {when}\n")
    print("| " + " | ".join(titles) + " |\n|" + " --- |" * len(titles), flush=True)
