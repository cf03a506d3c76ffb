"""Measures a fresh process: the peak memory of a few training steps.

`python -m pdiff_plugins.evaluators.memory_probe` reads what to measure as JSON, and prints MiB.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from pathlib import Path
from typing import cast

import torch

from pdiff.components import Method
from pdiff.context import Context
from pdiff.plugins.discovery import registry
from pdiff.plugins.files import find_file
from pdiff.services import Absent
from pdiff.training.loop import train
from pdiff_plugins.backbones.codec_module import CodecModule
from pdiff_plugins.latent.pdiff import PDiff
from pdiff_plugins.latent.pdiff_fit import schedule_of
from pdiff_plugins.maths import diffusion


def peak(device: torch.device) -> int:
    """Return the bytes that torch allocated at most on CUDA, or the process's peak resident size."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    peak_kib = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.is_file() else None
    if peak_kib:  # of this program alone; what getrusage says is inherited from the one that started it
        return 1024 * int(peak_kib[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure(part: str, method: PDiff, dim: int, steps: int, device: str, precision: str) -> int:
    """Return the MiB by which a few training steps raise this process's peak; `dim` parameters, random values."""
    warnings.simplefilter("ignore")
    where = torch.device(device)
    torch.optim.AdamW([torch.zeros(1)])  # imports much
    ctx = Context(seed=0, device=where, precision=precision, graphs=False, warn=lambda _: None)
    before = peak(where)
    {"codec": _codec, "denoiser": _denoiser}[part](method, dim, steps, ctx)
    return (peak(where) - before) // 2**20


def _codec(method: PDiff, dim: int, steps: int, ctx: Context) -> None:
    codec = method.codec
    if "steps" in type(codec).model_fields:
        codec = codec.model_copy(update={"steps": steps})
    codec.fit(
        codec.build(dim=dim), torch.randn(method.batch_size, dim), Absent("a probe of memory has random weights"), ctx
    )


def _denoiser(method: PDiff, dim: int, steps: int, ctx: Context) -> None:
    """Train the denoiser beside the codec's weights, as a run does."""
    codec = method.codec.build(dim=dim).to(ctx.device)
    latent = cast(CodecModule, codec).latent_dim
    z_NZ, schedule = torch.randn(method.batch_size, latent, device=ctx.device), schedule_of(method)
    module = method.denoiser.build(dim=latent).to(ctx.device).train()
    train(
        module, lambda *noisy: diffusion.loss(lambda z, t: module(z, t, None), z_NZ, noisy, method.prediction),
        steps=steps, ctx=ctx, what="diffusion", lr=method.lr,
        draw=lambda step, generator: diffusion.draw(len(z_NZ), latent, schedule, generator),
    )  # fmt: skip


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    registry().use_files([find_file(file, [Path()]) for file in asked.pop("plugins")])
    print(measure(method=cast(PDiff, Method.model_validate(asked.pop("method"))), **asked))
