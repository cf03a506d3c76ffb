"""Cost of a training step of the paper's two networks (2,048 parameters, latent 128, batch 50), and of a whole fit.

    python benchmarks/training_step.py [--device cuda] [--steps 10]

CPU: CPU-seconds (user and system) of the process on one thread; CUDA: seconds. `by layers` calls the same layers one
by one, as torch has them. `small` is the step of an MLP with 1,000 parameters, in turn with torch.manual_seed at each
step and as it is; their ratio is what that call costs. A fit of the paper's method is 500 steps of the codec and 2,000
of the denoiser, scaled from the steps above it (bfloat16); the default's is measured.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from common import Idle, add_device, finish, header
from torch import nn

from pdiff.context import Context
from pdiff.running.device import device_for
from pdiff.services import Absent
from pdiff.training import loop
from pdiff.training.loop import train
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.backbones.codecs import Conv1dCodec
from pdiff_plugins.backbones.denoisers import Conv1dDenoiser
from pdiff_plugins.latent.pdiff import PDiff
from pdiff_plugins.maths import diffusion

DIM, LATENT, BATCH, CHECKPOINTS, WARM_UP = 2048, 128, 50, 300, 2
CODEC_STEPS, DENOISER_STEPS = 500, 2000


class Layers(nn.Module):
    """The codec's layers, called one by one."""

    def __init__(self, codec: nn.Module):
        super().__init__()
        self.codec, self.latent_dim = codec, codec.latent_dim

    def encode(self, x_BD: torch.Tensor) -> torch.Tensor:
        return self.codec.encoder(x_BD[:, None])

    def decode(self, z_BZ: torch.Tensor) -> torch.Tensor:
        return self.codec.decoder(z_BZ)[:, 0]


def codec(steps: int, ctx: Context, wrap: Callable[[nn.Module], nn.Module] = lambda module: module) -> None:
    component = Conv1dCodec(latent=LATENT, steps=steps, batch_size=BATCH)
    component.fit(wrap(component.build(dim=DIM)), torch.randn(CHECKPOINTS, DIM), Absent("a codec alone"), ctx)


def denoiser(steps: int, ctx: Context) -> None:
    module = Conv1dDenoiser().build(dim=LATENT).to(ctx.device).train()
    z_BZ, schedule = torch.randn(BATCH, LATENT, device=ctx.device), diffusion.Schedule()
    train(
        module, lambda *drawn: diffusion.loss(lambda z, t: module(z, t, None), z_BZ, drawn, "epsilon"),
        steps=steps, ctx=ctx, what="diffusion", lr=1e-4,
        draw=lambda step, generator: diffusion.draw(BATCH, LATENT, schedule, generator),
    )  # fmt: skip


def default_fit(ctx: Context) -> None:
    theta_ND = torch.randn(CHECKPOINTS, 40) @ torch.randn(40, DIM)
    rows = [{"run": 0, "step": step, "metrics": {}} for step in range(CHECKPOINTS)]
    zoo = Zoo(theta_ND, Layout((Entry("w", (DIM,), 0),)), {"w": theta_ND[0]}, rows)
    PDiff().fit(zoo, Idle(zoo), ctx)


def small(steps: int, ctx: Context) -> None:
    module = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16)).to(ctx.device)
    train(
        module, lambda x: module(x).square().mean(), steps=steps, ctx=ctx, what="small", lr=1e-3,
        draw=lambda step, generator: (torch.randn(BATCH, 16, generator=generator),),
    )  # fmt: skip


def seeding_cost(ctx: Context, steps: int = 500, repeats: int = 5) -> tuple[float, float]:
    """Return the seconds of a small step, seeded by torch.manual_seed and as it is; medians, in turn."""
    ours, costs = loop.seed_torch, ([], [])
    try:
        for _ in range(repeats):
            for seed, each in zip((lambda value, device: torch.manual_seed(value), ours), costs, strict=True):
                loop.seed_torch = seed
                each.append(step_cost(small, steps, ctx))
    finally:
        loop.seed_torch = ours
    return statistics.median(costs[0]), statistics.median(costs[1])


def seconds(work: Callable[[], object], device: torch.device) -> float:
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    finish(device)
    start = clock()
    work()
    finish(device)
    return clock() - start


def step_cost(case: Callable[..., None], steps: int, ctx: Context, *more: object) -> float:
    """Return the seconds of one step: what more steps take beyond the first few."""
    few, many = (seconds(lambda n=n: case(n, ctx, *more), ctx.device) for n in (WARM_UP, WARM_UP + steps))
    return (many - few) / steps


CASES = {
    ("codec", "ours"): (codec,), ("codec", "by layers"): (codec, Layers), ("denoiser", "ours"): (denoiser,)
}  # fmt: skip
ORIGINAL = {"codec": 0.79, "denoiser": 0.48}
"""CPU-seconds of the authors' code in bfloat16 on one core of an AMD EPYC (Zen 4)."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_device(parser)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3, help="of everything, in turn; the median is told")
    options = parser.parse_args(arguments)
    device = device_for(options.device)
    print(f"load average at the start: {os.getloadavg()[0]:.1f}")
    header(device, "network", "precision", "way", "s per step", "original, bfloat16")
    costs: dict[tuple[str, str, str], list[float]] = {}
    for _ in range(options.repeats):
        for precision in ("bfloat16", "float32"):
            ctx = Context(seed=0, device=device, threads=1, precision=precision, warn=lambda _: None)
            for (network, way), (case, *more) in CASES.items():
                costs.setdefault((network, precision, way), []).append(step_cost(case, options.steps, ctx, *more))
    medians = {key: statistics.median(values) for key, values in costs.items()}
    for (network, precision, way), cost in medians.items():
        print(f"| {network} | {precision} | {way} | {cost:.4f} | {ORIGINAL[network]} |", flush=True)
    before, now = seeding_cost(Context(seed=0, device=device, threads=1, warn=lambda _: None))
    print(f"\nsmall: {1e6 * before:.0f} us with torch.manual_seed, {1e6 * now:.0f} us, ratio {before / now:.2f}")
    paper = (
        CODEC_STEPS * medians["codec", "bfloat16", "ours"] + DENOISER_STEPS * medians["denoiser", "bfloat16", "ours"]
    )
    own = seconds(lambda: default_fit(Context(seed=0, device=device, threads=1, warn=lambda _: None)), device)
    print(f"\nfit: the paper's method {paper:.0f} s, pdiff's default {own:.1f} s, ratio {paper / own:.0f}")


if __name__ == "__main__":
    main()
