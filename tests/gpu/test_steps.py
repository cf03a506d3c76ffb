"""Captured steps on CUDA: what tests/accelerator proves of a pretended device, on a real one. Needs a CUDA device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pdiff.context import Context
from pdiff.running.device import device_for, seed_torch, sent
from pdiff.testing import Points, tiny_zoo
from pdiff.training.loop import train
from pdiff_plugins.backbones.codecs import Pca
from pdiff_plugins.latent.priors import FlowMatching
from tests.accelerator.helpers import fit, plain_loss, waiting, waiting_late

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]


class Full(torch.autograd.Function):
    """Runs out of memory in the backward pass of a capture."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, slope):
        if torch.cuda.is_current_stream_capturing():
            torch.empty(2**45, device=slope.device)
        return slope


@pytest.mark.parametrize("spoil", [waiting, waiting_late, lambda call, value: Full.apply(value)])
def test_a_step_that_cannot_be_captured_changes_nothing(spoil: Callable[[int, Tensor], Tensor]) -> None:
    device_for("cuda")
    said: list[str] = []
    before = torch.cuda.current_stream()
    captured = fit("cuda", spoil, steps=20, said=said)
    assert torch.cuda.current_stream() == before and len(said) == 1
    assert captured.equal(fit("cuda", spoil, graphs=False, steps=20))
    torch.nn.functional.dropout(torch.ones(9, device="cuda"), 0.5)  # the device's generator is not in a capture
    assert fit("cuda", plain_loss).isfinite().all()


def test_both_shapes_of_an_epoch_are_replayed() -> None:
    device_for("cuda")
    assert fit("cuda", count=20, steps=24).equal(fit("cuda", count=20, steps=24))
    torch.testing.assert_close(fit("cuda", count=20), fit("cuda", count=20, graphs=False), atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_the_second_device_trains_as_the_first() -> None:
    first = fit("cuda:0")
    device_for("cuda:1")
    assert fit("cuda:1").equal(first)


def attention(graphs: bool, precision: str) -> Tensor:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True), nn.Linear(64, 64)
    ).cuda()
    x_BTW = torch.randn(32, 130, 64).cuda()
    ctx = Context(seed=1, device=torch.device("cuda"), graphs=graphs, precision=precision, warn=pytest.fail)

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor]:
        return (torch.randperm(32, generator=generator)[:16],)

    def loss(rows: Tensor) -> Tensor:
        return (model(x_BTW[rows]).float() - x_BTW[rows].flip(1)).square().mean()

    train(model, loss, draw=draw, steps=30, ctx=ctx, what="fit", lr=1e-3)
    return torch.cat([value.flatten() for value in model.state_dict().values()])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_attention_repeats_its_bytes(precision: str) -> None:
    device_for("cuda", precision)
    assert attention(True, precision).equal(attention(True, precision))
    assert attention(False, precision).equal(attention(False, precision))


def test_convolutions_are_exact_unless_bfloat16_is_asked_for() -> None:
    x, layer = torch.randn(8, 64, 32, 32), nn.Conv2d(64, 64, 3)
    exact = nn.functional.conv2d(x.double(), layer.weight.double(), layer.bias.double())
    device_for("cuda")
    with torch.no_grad():
        ours = layer.cuda()(x.cuda()).cpu().double()
    assert (ours - exact).abs().max() < 1e-5 * exact.abs().max()  # TF32 has 1e-3


def test_flow_matching_is_replayed_as_it_is() -> None:
    method, samples = FlowMatching(codec=Pca(latent=8), steps=50, sampling_steps=20), []
    for graphs in (True, False):
        ctx = Context(seed=1, device=torch.device("cuda"), graphs=graphs, warn=pytest.fail)
        zoo, bench = tiny_zoo(), Points(tiny_zoo())
        samples.append(method.fit(zoo, bench, ctx).sample(20, bench, ctx))
    torch.testing.assert_close(*samples, atol=1e-3, rtol=1e-3)


def test_a_step_is_seeded_as_torch_does() -> None:
    device, draws = device_for("cuda"), []
    for seed in (torch.manual_seed, lambda value: seed_torch(value, device)):
        seed(7)
        draws.append((torch.rand(3), torch.rand(3, device=device).cpu()))
    assert draws[0][0].equal(draws[1][0]) and draws[0][1].equal(draws[1][1])


def test_sending_does_not_wait() -> None:
    device, x = device_for("cuda"), torch.randn(50, 2048)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        near = sent(x, device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert near.cpu().equal(x)
