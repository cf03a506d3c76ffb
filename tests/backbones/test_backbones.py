"""Codecs and denoisers: published sizes, exactness of PCA, round trips, and that training works."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from pydantic import ValidationError

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.training.loop import train
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.backbones.codecs import Autoencoder, Conv1dCodec, Identity, Pca
from pdiff_plugins.backbones.denoisers import Conv1dDenoiser, MlpDenoiser
from pdiff_plugins.backbones.nets import conv_chain, conv_layer, linear_codec
from pdiff_plugins.backbones.transformers import TransformerCodec, TransformerDenoiser
from pdiff_plugins.maths.diffusion import Schedule, draw, loss, sample

SMALL = {"width": 16, "depth": 1, "heads": 2}
CODECS = [
    Identity(), Pca(latent=5), Autoencoder(latent=5, hidden=16), Conv1dCodec(latent=5, channels=(4, 8), kernel=3),
    TransformerCodec(latent=5, size=9, **SMALL), TransformerCodec(latent=5, size=9, latent_per="network", **SMALL),
    TransformerCodec(latent=5, size=4, window=3, halo=2, **SMALL),
]  # fmt: skip
DENOISERS = [
    MlpDenoiser(width=32, depth=2), Conv1dDenoiser(channels=(4, 8, 16), kernel=5),
    TransformerDenoiser(token=4, **SMALL), TransformerDenoiser(token=4, time="additive", **SMALL),
]  # fmt: skip


def named(component):
    return component.name


def size(module):
    return sum(p.numel() for p in module.parameters())


def low_rank(rows, dim, rank, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, rank, generator=g) @ torch.randn(rank, dim, generator=g) / rank**0.5


@pytest.mark.parametrize(
    ("dim", "latent", "published"),
    [
        (2048, 128, 2_199_201), (24_262, 768, 40_201_505), (80_714, 768, 126_962_081),
        (30_016, 256, 17_169_761), (100_288, 512, 104_960_737), (300_288, 1024, 619_030_049),
    ],
)  # fmt: skip
def test_conv1d_codec_has_the_size_of_the_original_less_its_unused_head(dim, latent, published):
    with torch.device("meta"):
        module = Conv1dCodec(latent=latent).build(dim=dim)
    assert size(module) == published - latent * (latent + 1)


@pytest.mark.parametrize(
    ("latent", "published"),
    [(128, 2_462_977), (256, 2_545_153), (512, 2_807_809), (768, 3_201_537), (1024, 3_726_337)],
)
def test_conv1d_denoiser_has_the_size_of_the_original(latent, published):
    assert size(Conv1dDenoiser().build(dim=latent)) == published


@pytest.mark.parametrize("dim", [1, 7, 130])
@pytest.mark.parametrize("codec", CODECS, ids=named)
def test_codec_shapes(codec, dim):
    module = codec.build(dim=dim).eval()
    z = module.encode(torch.randn(3, dim))
    assert z.shape == (3, module.latent_dim)
    assert module.decode(z).shape == (3, dim)


@pytest.mark.parametrize("dim", [1, 7, 33])
@pytest.mark.parametrize("condition_dim", [0, 4])
@pytest.mark.parametrize("denoiser", DENOISERS, ids=named)
def test_denoiser_shapes_and_absent_condition(denoiser, condition_dim, dim):
    module = denoiser.build(dim=dim, condition_dim=condition_dim).eval()
    z, t = torch.randn(3, dim), torch.tensor([0.0, 500.0, 999.0])
    out = module(z, t, None)
    assert out.shape == (3, dim)
    if condition_dim:
        assert torch.equal(out, module(z, t, torch.zeros(3, condition_dim)))


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


@pytest.mark.parametrize("codec", CODECS, ids=named)
def test_codec_state_goes_into_a_new_module(codec):
    x = low_rank(12, 20, 4)
    small = {"steps": 2, "batch_size": 4} if "steps" in type(codec).model_fields else {}
    codec = codec.model_copy(update=small)
    module, again = codec.build(dim=20), codec.build(dim=20)
    codec.fit(module, x, Context(seed=1))
    again.load_state_dict(module.state_dict(), strict=True)
    assert torch.equal(again.eval().decode(again.encode(x)), module.eval().decode(module.encode(x)))


def pca(x, latent):
    codec = Pca(latent=latent)
    module = codec.build(dim=x.shape[1])
    codec.fit(module, x, Context(seed=0))
    return module


@pytest.mark.parametrize(("rows", "dim"), [(20, 300), (200, 30)])
def test_pca_of_full_rank_is_exact(rows, dim):
    x = 3 + torch.randn(rows, dim, generator=torch.Generator().manual_seed(0))
    module = pca(x, min(rows - 1, dim))
    torch.testing.assert_close(module.decode(module.encode(x)), x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("rows", "dim"), [(20, 300), (200, 30)])
def test_pca_is_sklearns(rows, dim):
    from sklearn.decomposition import PCA

    x = low_rank(rows, dim, 15) + 2
    ours, theirs = pca(x, 6), PCA(6, svd_solver="full").fit(x.double().numpy())
    cosines = (ours.components.double() * torch.tensor(theirs.components_)).sum(1).abs()
    torch.testing.assert_close(cosines, torch.ones(6, dtype=torch.float64), rtol=1e-5, atol=0)
    spread = ours.encode(x).var(0).double()
    torch.testing.assert_close(spread, torch.tensor(theirs.explained_variance_), rtol=1e-4, atol=0)


def test_pca_beyond_the_rank_is_zero_and_its_components_are_orthonormal():
    x = low_rank(10, 50, 4)
    module = pca(x, 30)
    assert module.latent_dim == 30
    expected = torch.diag((torch.arange(30) < 4).float())
    torch.testing.assert_close(module.components @ module.components.T, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(module.decode(module.encode(x)), x, rtol=1e-4, atol=1e-5)


def test_pca_does_not_turn_over_with_the_order_of_the_rows():
    x = low_rank(12, 40, 5)
    torch.testing.assert_close(pca(x.flip(0), 5).components, pca(x, 5).components, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("codec", [
    Conv1dCodec(latent=8, channels=(8, 16, 8), steps=150, lr=3e-3, batch_size=20, latent_noise=0.01),
    Autoencoder(latent=8, hidden=32, steps=150, batch_size=20, latent_noise=0.01, lr=1e-2),
    TransformerCodec(latent=4, size=10, steps=150, batch_size=20, lr=1e-2, contrast=0, noise=0.02, **SMALL),
    TransformerCodec(size=10, steps=150, batch_size=20, lr=1e-2, latent_per="network", bounded=True, **SMALL),
], ids=named)  # fmt: skip
def test_autoencoder_learns_twenty_vectors(codec):
    torch.manual_seed(0)
    x = low_rank(20, 60, 3)
    module = codec.build(dim=60)
    log = codec.fit(module, x, Context(seed=3))
    assert log[-1]["loss"] < 0.2 * log[0]["loss"]
    assert not module.training
    with torch.no_grad():
        error = (module.decode(module.encode(x)) - x).square().mean()
    assert error < 0.25 * x.var(0).mean()


@pytest.mark.parametrize("codec", [Conv1dCodec(), Autoencoder(), TransformerCodec(batch_size=50, **SMALL)], ids=named)
def test_fewer_checkpoints_than_a_batch(codec):
    with pytest.raises(UserError, match=r"^method\.codec\.batch_size: 50 is more than the 12 checkpoints"):
        codec.fit(codec.build(dim=8), torch.zeros(12, 8), Context(seed=0))


def test_kernel_must_be_odd():
    with pytest.raises(ValidationError, match="must be odd"):
        Conv1dDenoiser(kernel=4)


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


def test_all_are_registered():
    from pdiff.plugins.discovery import Plugin, Registry
    from pdiff_plugins.backbones import codecs as backbones

    registry = Registry(found=[])
    plugin = Plugin("backbones", "pdiff", "0", "pdiff_plugins.backbones.codecs")
    registry.register(plugin, backbones)
    registry.plugins.append(plugin)
    assert registry.known("codec") == "autoencoder, conv1d, identity, mlp, pca, probes, transformer"
    assert registry.known("denoiser") == "conv1d, mlp, transformer"
    assert registry.find("codec", "mlp") == (Autoencoder, {})


def test_one_time_for_all_rows_is_the_same_as_one_for_each():
    z, t = torch.randn(6, 32), torch.tensor(17.0)
    for component in (MlpDenoiser(), Conv1dDenoiser(channels=(4, 8)), *DENOISERS[2:]):
        model = component.build(dim=32).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        torch.testing.assert_close(model(z, t.expand(6), None), model(z, t.repeat(6), None), atol=1e-4, rtol=1e-4)


def pair_of_codecs(dtype, dim=200):
    torch.manual_seed(0)
    module = Conv1dCodec(latent=6, channels=(8, 16, 4), kernel=5).build(dim=dim).train().to(dtype)
    for name, parameter in module.named_parameters():
        if ".1." in name:  # norms, which start at one and zero
            torch.nn.init.normal_(parameter, 1.0, 0.3)
    return module, copy.deepcopy(module)


def layer_by_layer(module, x_BD):
    """Call the layers one by one, as torch has them."""
    filled = torch.nn.functional.pad(x_BD, (0, module.padding))
    return module.decoder(module.encoder(filled[:, None]))[:, 0, : module.dim]


def after_a_step(module, forward, x_BD):
    out = forward(x_BD)
    (out - x_BD).square().sum().backward()
    return [out.detach()], [p.grad for p in module.parameters()], list(module.buffers())


@pytest.mark.parametrize("part", [2**26, 2**10], ids=["whole", "parts"])
@pytest.mark.parametrize("kept", [math.inf, 0], ids=["kept", "again"])
def test_conv1d_codec_computes_what_its_layers_compute(monkeypatch, part, kept):
    monkeypatch.setitem(conv_chain.PART, "cpu", part)
    monkeypatch.setattr(conv_chain, "KEPT", kept)
    monkeypatch.setattr(conv_chain, "SUMMED", part)
    module, plain = pair_of_codecs(torch.float64)
    x_BD = torch.randn(11, 200, dtype=torch.float64)
    ours = after_a_step(module, lambda x: module.decode(module.encode(x)), x_BD)
    theirs = after_a_step(plain, lambda x: layer_by_layer(plain, x), x_BD)
    torch.testing.assert_close(ours, theirs)
    assert [int(b) for b in module.buffers() if b.dtype == torch.long] == [1] * 6
    module.eval(), plain.eval()
    torch.testing.assert_close(module.decode(module.encode(x_BD)), layer_by_layer(plain, x_BD))


def test_computing_again_gives_the_same_bits(monkeypatch):
    results = []
    for kept in (math.inf, 0):
        monkeypatch.setattr(conv_chain, "KEPT", kept)
        module = pair_of_codecs(torch.float32)[0]
        codec = Conv1dCodec(latent=6, channels=(8, 16, 4), kernel=5, steps=3, batch_size=9)
        log = codec.fit(module, low_rank(12, 200, 3), Context(seed=1))
        results.append((log, module.state_dict()))
    assert results[0][0] == results[1][0]
    assert all(torch.equal(value, results[1][1][key]) for key, value in results[0][1].items())


def test_statistics_of_a_long_batch():
    c = 3 + torch.randn(5, 2, 1, 500_000, generator=torch.Generator().manual_seed(0))
    mean, variance = conv_chain._statistics(conv_layer.last(c), torch.float64)
    torch.testing.assert_close(mean, c.double().mean((0, 2, 3)), rtol=0, atol=1e-4)
    torch.testing.assert_close(variance, c.double().var((0, 2, 3), correction=0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("codec", [
    Conv1dCodec(latent=8, channels=(8, 16, 8), steps=60, lr=3e-3, batch_size=20, latent_noise=0.01),
    Autoencoder(latent=8, hidden=32, steps=60, batch_size=20, latent_noise=0.01, lr=1e-2),
], ids=named)  # fmt: skip
def test_bfloat16_learns_as_well(codec):
    last = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        module = codec.build(dim=60)
        last[precision] = codec.fit(module, low_rank(20, 60, 3), Context(seed=3, precision=precision))[-1]["loss"]
        assert all(p.dtype == torch.float32 for p in module.parameters())
    assert last["bfloat16"] < 1.2 * last["float32"]


def test_pca_of_blocks_is_that_of_the_whole(monkeypatch):
    x = low_rank(12, 40, 5) + 3
    whole = pca(x, 5)
    monkeypatch.setattr(linear_codec, "COLUMNS", 7)
    torch.testing.assert_close(pca(x, 5).components, whole.components, rtol=1e-5, atol=1e-6)
    assert torch.equal(pca(x, 5).mean, whole.mean)


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


def test_normaliser_and_gaussian_do_not_depend_on_the_blocks(monkeypatch):
    from pdiff_plugins.baselines.plain import Gaussian
    from pdiff_plugins.maths import normalise

    layout = Layout((Entry("w", (3, 5), 0), Entry("running_var", (8,), 15, positive=True)))
    theta = torch.randn(6, 23, generator=torch.Generator().manual_seed(0)).abs()
    zoo = Zoo(theta, layout, {"w": theta[0, :15], "running_var": theta[0, 15:]}, [{}] * 6)
    x = layout.to_free(theta).double()
    drawn = Gaussian().draw(zoo, 4, Context(seed=0))
    monkeypatch.setattr(normalise, "COLUMNS", 4)
    own = normalise.per_column(zoo)
    torch.testing.assert_close(own.mean, x.mean(0).float())
    expected = [(x - x.mean(0))[:, columns].square().mean().sqrt() for columns in (slice(15), slice(15, 23))]
    torch.testing.assert_close(own.scale, layout.per_entry(torch.stack(expected)))
    torch.testing.assert_close(own.decode(own.encode(theta)), theta)
    torch.testing.assert_close(Gaussian().draw(zoo, 4, Context(seed=0)), drawn)
