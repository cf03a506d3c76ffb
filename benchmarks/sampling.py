"""Sampling: all networks as one batch against one after the other, with the same denoiser.

    python benchmarks/sampling.py [--device cuda] [--networks 200]

One after the other is timed on a few networks and scaled; the paper's denoiser is given fewer steps on a CPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch
from common import Idle, add_device, finish, header

from pdiff.context import Context
from pdiff.running.device import device_for
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.backbones.codecs import Pca
from pdiff_plugins.backbones.denoisers import Conv1dDenoiser, MlpDenoiser
from pdiff_plugins.latent.pdiff import PDiff


def zoo(dim: int) -> Zoo:
    generator = torch.Generator().manual_seed(0)
    theta_ND = torch.randn(300, dim, generator=generator)
    rows = [{"run": 0, "step": step, "metrics": {}} for step in range(300)]
    return Zoo(theta_ND, Layout((Entry("w", (dim,), 0),)), {"w": theta_ND[0]}, rows)


def case(denoiser, latent: int, steps: int, networks: int, few: int, device: torch.device) -> None:
    method = PDiff(codec=Pca(latent=latent), denoiser=denoiser, steps=10, sampling_steps=steps)
    ctx = Context(seed=0, device=device)
    bench = Idle(zoo(2048))
    generator = method.fit(bench.zoo, bench, ctx)
    seconds = {}
    for count, repeat in ((networks, 1), (1, few)):
        generator.sample(count, bench, ctx)
        finish(device)
        start = time.perf_counter()
        for _ in range(repeat):
            generator.sample(count, bench, ctx)
        finish(device)
        seconds[count] = (time.perf_counter() - start) / repeat
    alone, together = networks * seconds[1], seconds[networks]
    head = f"| {denoiser.name} | {latent} | {steps} | {networks} |"
    print(f"{head} {alone:.1f} | {together:.2f} | {alone / together:.1f} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_device(parser)
    parser.add_argument("--networks", type=int, default=200)
    options = parser.parse_args(arguments)
    device = device_for(options.device)
    header(device, "denoiser", "latent", "steps", "networks", "one by one s", "together s", "ratio")
    case(MlpDenoiser(), 32, 1000, options.networks, 5, device)
    case(Conv1dDenoiser(), 128, 1000 if device.type == "cuda" else 10, options.networks, 5, device)


if __name__ == "__main__":
    main()
