"""Denoisers: published sizes, what they read, and that they find what they are trained on."""

from __future__ import annotations

import pytest
import torch

from pdiff.context import Context
from pdiff.training.loop import train
from pdiff_plugins.backbones.denoisers import Conv1dDenoiser, MlpDenoiser
from pdiff_plugins.backbones.transformers import TransformerDenoiser
from pdiff_plugins.maths.diffusion import Schedule, draw, loss, sample
from tests.backbones.helpers import SMALL, named, size

DENOISERS = [
    MlpDenoiser(width=32, depth=2), Conv1dDenoiser(channels=(4, 8, 16), kernel=5),
    TransformerDenoiser(token=4, **SMALL), TransformerDenoiser(token=4, time="additive", **SMALL),
]  # fmt: skip


@pytest.mark.parametrize(
    ("latent", "published"),
    [(128, 2_462_977), (256, 2_545_153), (512, 2_807_809), (768, 3_201_537), (1024, 3_726_337)],
)
def test_conv1d_denoiser_has_the_size_of_the_original(latent, published):
    assert size(Conv1dDenoiser().build(dim=latent)) == published


@pytest.mark.parametrize("dim", [1, 7, 33])
@pytest.mark.parametrize("condition_dim", [0, 4])
@pytest.mark.parametrize("denoiser", DENOISERS, ids=named)
def test_denoiser_shapes_and_absent_condition(denoiser, condition_dim, dim):
    module = denoiser.build(dim=dim, condition_dim=condition_dim).eval()
    z, t = torch.randn(3, dim), torch.tensor([0.0, 500.0, 999.0])
    out = module(z, t, None)
    assert out.shape == (3, dim)
    if condition_dim:
        torch.testing.assert_close(out, module(z, t, torch.zeros(3, condition_dim)))


@pytest.mark.parametrize("denoiser", DENOISERS, ids=named)
def test_denoiser_reads_time_and_condition(denoiser):
    torch.manual_seed(0)
    module = denoiser.build(dim=6, condition_dim=2).eval()
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.3)
    z, t, c = torch.randn(3, 6), torch.full((3,), 10.0), torch.ones(3, 2)
    assert not torch.allclose(module(z, t, c), module(z, t + 500, c))
    assert not torch.allclose(module(z, t, c), module(z, t, -c))


@pytest.mark.parametrize("denoiser", [MlpDenoiser(), *DENOISERS[2:]])
def test_denoiser_starts_at_zero(denoiser):
    assert not denoiser.build(dim=5)(torch.randn(2, 5), torch.zeros(2)).any()


@pytest.mark.parametrize(("denoiser", "batch", "steps"), [
    (MlpDenoiser(width=64, depth=2), 256, 400),
    (TransformerDenoiser(token=1, **SMALL), 128, 300),
    (TransformerDenoiser(token=1, time="additive", **SMALL), 128, 300),
], ids=["mlp", "adaln", "additive"])  # fmt: skip
def test_a_denoiser_finds_both_modes(denoiser, batch, steps):
    torch.manual_seed(0)
    modes = torch.tensor([[-1.0, 1.0], [1.0, -1.0]])
    schedule, module = Schedule(steps=200, beta_end=0.1), denoiser.build(dim=2)

    def step_loss(step, generator):
        z0 = modes[torch.randint(2, (batch,), generator=generator)] + 0.1 * torch.randn(batch, 2, generator=generator)
        return loss(module, z0, draw(batch, 2, schedule, generator), "epsilon")

    train(module, step_loss, steps=steps, ctx=Context(seed=0), what="denoiser", lr=2e-3, ema=0.99)
    g = torch.Generator().manual_seed(0)
    z, _ = sample(module, torch.randn(400, 2, generator=g), schedule, prediction="epsilon", steps=200, generator=g)
    near = torch.cdist(z, modes) < 0.5
    assert near.any(1).float().mean() > 0.9
    assert (near.float().mean(0) > 0.35).all()


def test_one_time_for_all_rows_is_the_same_as_one_for_each():
    z, t = torch.randn(6, 32), torch.tensor(17.0)
    for component in (MlpDenoiser(), Conv1dDenoiser(channels=(4, 8)), *DENOISERS[2:]):
        model = component.build(dim=32).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        torch.testing.assert_close(model(z, t.expand(6), None), model(z, t.repeat(6), None), atol=1e-4, rtol=1e-4)


def test_conv1d_denoiser_is_a_u_of_one_dimensional_layers():
    torch.manual_seed(0)
    module = Conv1dDenoiser(channels=(4, 8, 16), kernel=5).build(dim=20).train()
    z, t = torch.randn(7, 20), torch.arange(7.0)
    embedding = module.embedding(t)[:, None]

    def plain(layer, h):
        convolution, norm, _ = layer
        h = torch.nn.functional.batch_norm(convolution(h + embedding), None, None, norm.weight, norm.bias, True)
        return torch.nn.functional.elu(h)

    first, second, third = module.down
    a = plain(first, z[:, None])
    b = plain(second, a)
    h = plain(module.up[0], plain(third, b)) + b
    h = plain(module.up[1], h) + a
    torch.testing.assert_close(module(z, t), module.leave(h + embedding)[:, 0], rtol=1e-4, atol=1e-5)
