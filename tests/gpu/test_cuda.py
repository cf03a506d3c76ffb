"""CUDA against CPU: the same recipe gives the same networks, within float32's tolerance. Needs a CUDA device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import pdiff
from pdiff.context import Context
from pdiff.data import TensorSplit
from pdiff.engine.bench import predictor_of
from pdiff.running.device import placed
from pdiff.running.memory import free_bytes, ran_out
from pdiff.testing import Points, tiny_run, tiny_zoo
from pdiff.training.loop import train
from pdiff.zoo import Layout
from pdiff_plugins.backbones.codecs import Pca
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.latent.pdiff import PDiff
from pdiff_plugins.networks.small import ResNet20
from pdiff_plugins.populations import chooser
from pdiff_plugins.selectors import Entire, LastNorms

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]


def run(recipe: Path, device: str, folder: str):
    values = {"run.device": device, "run.out": str(recipe.parent / folder), "run.precision": "float32"}
    return pdiff.run(recipe, set=values, quiet=True)


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


def fit(graphs: bool, precision: str = "float32", ema: float = 0.0, optimizer: str = "adamw") -> torch.Tensor:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.SiLU(), nn.Linear(32, 1)).cuda()
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(1)).cuda()
    said: list[str] = []
    ctx = Context(seed=3, device=torch.device("cuda"), graphs=graphs, precision=precision, warn=said.append)

    def draw(step: int, generator: torch.Generator) -> tuple[torch.Tensor]:
        count = 16 if step % 7 else 5  # a short batch now and then
        return (torch.randint(64, (count,), generator=generator),)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        return (model(x[rows])[:, 0].float() - x[rows].sum(dim=1)).square().mean()

    train(model, loss, draw=draw, steps=60, ctx=ctx, what="fit", lr=1e-2, clip=1.0, ema=ema, optimizer=optimizer)
    assert not said, said
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("options", [{}, {"precision": "bfloat16"}, {"ema": 0.9}, {"optimizer": "sgd"}])
def test_a_replayed_training_step_is_the_step(options: dict) -> None:
    torch.testing.assert_close(fit(True, **options), fit(False, **options), atol=1e-5, rtol=1e-5)
    assert fit(True, **options).equal(fit(True, **options))


def test_replayed_sampling_is_sampling() -> None:
    method = PDiff(codec=Pca(latent=8), steps=50, timesteps=60)
    samples = []
    for graphs in (True, False):
        ctx = Context(seed=1, device=torch.device("cuda"), graphs=graphs, warn=lambda line: pytest.fail(line))
        zoo, bench = tiny_zoo(), Points(tiny_zoo())
        samples.append(method.fit(zoo, bench, ctx).sample(20, bench, ctx))
    torch.testing.assert_close(*samples, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("selector", [LastNorms(n=2), Entire()], ids=["last norms", "entire"])
def test_populations_are_predicted_as_on_the_cpu(selector, monkeypatch) -> None:
    for limit in ("WORTH_S", "QUICK_S"):
        monkeypatch.setattr(chooser, limit, 0.0)
    monkeypatch.setattr(chooser, "TRIAL", 10.0)
    torch.manual_seed(0)
    model = ResNet20().build(input_shape=(3, 32, 32), outputs=10).eval()
    layout = Layout.of(model, selector.select(model))
    base = layout.to_free(layout.vector(model.state_dict()))
    theta_MD = layout.from_free(base + 0.05 * torch.randn(20, layout.dim))
    split = TensorSplit(torch.randn(300, 3, 32, 32), torch.zeros(300, dtype=torch.long))
    found = []
    for device in ("cpu", "cuda"):
        ctx = Context(seed=0, device=torch.device(device))
        own = placed(model, ctx.device)
        found.append(predictor_of(own, layout, Classification(), ctx).predict(theta_MD, split, ctx, "p"))
    assert (found[0] != found[1]).float().mean() < 0.01


def test_memory_running_out_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**45, device="cuda")
    assert ran_out(caught.value) and free_bytes(torch.device("cuda")) > 2**20


def test_prompts_follow_the_cpu_and_are_replayed_as_graphs(tmp_path: Path) -> None:
    method = {"name": "gpt", "width": 16, "depth": 1, "heads": 2, "steps": 20, "batch_size": 16, "sampling_steps": 10}
    runs = {"name": "seeds", "count": 8, "steps": 20, "lr": 0.1, "batch_size": 20, "include_start": True, "every": 5}
    tables = {"architecture": {"name": "mlp", "hidden": [6]}, "train": {"epochs": 0}, "collect": runs, "method": method}
    pipeline = tiny_run(tmp_path, **tables)
    generator, said = pipeline.generator("gpt"), []
    start_MD, measure_M = pipeline.zoo.theta_ND[:5], pipeline.bench.measures()["loss"][:5]
    ctx = Context(seed=1, warn=said.append)
    on_cpu, on_cuda = (
        generator.prompted(start_MD, measure_M, measure_M - 0.3, ctx.replace(device=torch.device(device)))
        for device in ("cpu", "cuda")
    )
    torch.testing.assert_close(on_cuda, on_cpu, atol=1e-4, rtol=1e-3)
    assert not said
