"""Memory of training the paper's two networks (batch 50), in MB, beside the paper's Table 13, and of pdiff's default.

    python benchmarks/memory.py [--device cuda] [--precision float32] [--sizes 2048 30016]

Each number is the growth over a process that has only imported torch: of the peak resident size on a CPU, of the peak
that torch allocated on CUDA (the paper's is nvidia-smi's, with context and cache). `codec, all kept` keeps the output
of every convolution for the backward pass; otherwise a rule on the sizes decides. `denoiser` holds the trained codec's
weights beside it, as a run does. `default` is a whole fit of pdiff's default, its zoo of 300 checkpoints included.
`-`: there is not enough memory.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from common import Idle, add_device, header

from pdiff.context import Context
from pdiff.running.device import device_for
from pdiff.running.memory import free_bytes
from pdiff.services import Absent
from pdiff.training.loop import train
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.backbones.codecs import Conv1dCodec
from pdiff_plugins.backbones.denoisers import Conv1dDenoiser
from pdiff_plugins.backbones.nets import conv_chain
from pdiff_plugins.evaluators.memory_probe import peak
from pdiff_plugins.latent.pdiff import PDiff
from pdiff_plugins.maths import diffusion

PAPER = {  # parameters: (latent, autoencoder, diffusion)
    2_048: (128, 658, 530), 30_016: (256, 3_756, 1_418), 100_288: (512, 13_352, 3_594), 300_288: (1_024, 44_882, 12_942)
}  # fmt: skip
BATCH, CHECKPOINTS, STEPS = 50, 300, 3
SPARE = 2**30
"""Bytes that are left to others."""


def limit(device: torch.device) -> None:
    """Let the process fail rather than the machine run out of memory."""
    if device.type == "cpu":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + free_bytes(device) - SPARE
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def codec(dim: int, latent: int, ctx: Context) -> None:
    component = Conv1dCodec(latent=latent, steps=STEPS, batch_size=BATCH)
    component.fit(component.build(dim=dim), torch.randn(BATCH, dim), Absent("a codec alone"), ctx)


def kept(dim: int, latent: int, ctx: Context) -> None:
    conv_chain.KEPT = math.inf
    codec(dim, latent, ctx)


def denoiser(dim: int, latent: int, ctx: Context) -> None:
    beside = Conv1dCodec(latent=latent).build(dim=dim).to(ctx.device)
    z_NZ, schedule = torch.randn(BATCH, latent, device=ctx.device), diffusion.Schedule()
    module = Conv1dDenoiser().build(dim=latent).to(ctx.device).train()
    train(
        module, lambda *drawn: diffusion.loss(lambda z, t: module(z, t, None), z_NZ, drawn, "epsilon"),
        steps=STEPS, ctx=ctx, what="diffusion", lr=1e-4,
        draw=lambda step, generator: diffusion.draw(BATCH, latent, schedule, generator),
    )  # fmt: skip
    del beside


def default(dim: int, latent: int, ctx: Context) -> None:
    theta_ND = torch.empty(CHECKPOINTS, dim).normal_()
    rows = [{"run": 0, "step": step, "metrics": {}} for step in range(CHECKPOINTS)]
    zoo = Zoo(theta_ND, Layout((Entry("w", (dim,), 0),)), {"w": theta_ND[0]}, rows)
    PDiff(steps=STEPS).fit(zoo, Idle(zoo), ctx)


CASES = {"codec": codec, "kept": kept, "denoiser": denoiser, "default": default}


def measure(case: str, dim: int, options: argparse.Namespace) -> str:
    """Return the MB that a case takes in a process of its own."""
    command = [sys.executable, __file__, "--case", case, "--sizes", str(dim)]
    command += ["--device", options.device, "--precision", options.precision]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode > 0 and "memory" not in done.stderr:
        raise SystemExit(done.stderr)
    return f"{int(done.stdout):,}" if done.returncode == 0 else "-"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_device(parser)
    parser.add_argument("--precision", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(PAPER), choices=list(PAPER))
    parser.add_argument("--case", choices=list(CASES), help="print the MB of one case")
    options = parser.parse_args(arguments)
    device = device_for(options.device)
    if options.case:
        limit(device)
        torch.optim.AdamW([torch.zeros(1)])  # imports much
        before, size = peak(device), options.sizes[0]
        ctx = Context(seed=0, device=device, precision=options.precision, graphs=False, warn=lambda _: None)
        CASES[options.case](size, PAPER[size][0], ctx)
        print((peak(device) - before) // 2**20)
        return
    header(device, "parameters", "latent", "codec", "codec, all kept", "paper", "denoiser", "paper", "default")
    for dim in options.sizes:
        latent, *paper = PAPER[dim]
        own = [measure(case, dim, options) for case in CASES]
        columns = [f"{dim:,}", f"{latent}", *own[:2], f"{paper[0]:,}", own[2], f"{paper[1]:,}", own[3]]
        print("| " + " | ".join(columns) + " |", flush=True)


if __name__ == "__main__":
    main()
