"""CUDA against CPU: the same recipe gives the same networks, within float32's tolerance. Needs a CUDA device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import pdiff

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]


def run(recipe: Path, device: str, folder: str):
    return pdiff.run(recipe, set={"run.device": device, "run.out": str(recipe.parent / folder)}, quiet=True)


def test_cuda_repeats_its_bytes(tiny: Path) -> None:
    first, second = run(tiny, "cuda", "a"), run(tiny, "cuda", "b")
    for source in first.sources:
        assert first.theta(source).equal(second.theta(source)), source


def test_cuda_follows_the_cpu(tiny: Path) -> None:
    cpu, cuda = run(tiny, "cpu", "cpu"), run(tiny, "cuda", "cuda")
    # Rounding differs, and training amplifies it: the first checkpoints agree closely, distributions later on.
    assert cuda.theta("original")[0].allclose(cpu.theta("original")[0], atol=1e-3)
    for source in cpu.sources:
        ours, theirs = (r.scores["networks"][source]["accuracy"]["mean"] for r in (cuda, cpu))
        assert ours == pytest.approx(theirs, abs=0.05), source
    model = cuda.networks(1)[0].cpu()
    assert torch.isfinite(model(torch.zeros(1, 1, 16, 16))).all()
