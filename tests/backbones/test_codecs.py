"""Codecs: published sizes, shapes, round trips, and that training works."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from pdiff.context import Context
from pdiff_plugins.backbones.codecs import Autoencoder, Conv1dCodec, Identity, Pca
from pdiff_plugins.backbones.denoisers import Conv1dDenoiser
from pdiff_plugins.backbones.transformers import TransformerCodec
from tests.backbones.helpers import ALONE, SMALL, low_rank, named, size

CODECS = [
    Identity(), Pca(latent=5), Autoencoder(latent=5, hidden=16), Conv1dCodec(latent=5, channels=(4, 8), kernel=3),
    TransformerCodec(latent=5, size=9, **SMALL), TransformerCodec(latent=5, size=9, latent_per="network", **SMALL),
    TransformerCodec(latent=5, size=4, window=3, halo=2, **SMALL),
]  # fmt: skip


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


@pytest.mark.parametrize("dim", [1, 7, 130])
@pytest.mark.parametrize("codec", CODECS, ids=named)
def test_codec_shapes(codec, dim):
    module = codec.build(dim=dim).eval()
    z = module.encode(torch.randn(3, dim))
    assert z.shape == (3, module.latent_dim)
    assert module.decode(z).shape == (3, dim)


@pytest.mark.parametrize("codec", CODECS, ids=named)
def test_codec_state_goes_into_a_new_module(codec):
    x = low_rank(12, 20, 4)
    small = {"steps": 2, "batch_size": 4} if "steps" in type(codec).model_fields else {}
    codec = codec.model_copy(update=small)
    module, again = codec.build(dim=20), codec.build(dim=20)
    codec.fit(module, x, ALONE, Context(seed=1))
    again.load_state_dict(module.state_dict(), strict=True)
    assert torch.equal(again.eval().decode(again.encode(x)), module.eval().decode(module.encode(x)))


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
    log = codec.fit(module, x, ALONE, Context(seed=3))
    assert log[-1]["loss"] < 0.2 * log[0]["loss"]
    assert not module.training
    with torch.no_grad():
        error = (module.decode(module.encode(x)) - x).square().mean()
    assert error < 0.25 * x.var(0).mean()


@pytest.mark.parametrize("codec", [Conv1dCodec(), Autoencoder(), TransformerCodec(batch_size=50, **SMALL)], ids=named)
def test_of_fewer_checkpoints_than_a_batch_holds_all_are_taken(codec):
    x_ND, fitted, said = low_rank(12, 8, 3), [], []
    for most in (50, 12):
        wanted = codec.model_copy(update={"batch_size": most, "steps": 3})
        torch.manual_seed(0)
        fitted.append(wanted.build(dim=8))
        wanted.fit(fitted[-1], x_ND, ALONE, Context(seed=0, warn=said.append))
    assert said == ["method.codec.batch_size = 50 is more than the 12 checkpoints; all 12 are taken instead"]
    assert all(value.equal(fitted[1].state_dict()[key]) for key, value in fitted[0].state_dict().items())


def test_kernel_must_be_odd():
    with pytest.raises(ValidationError, match="must be odd"):
        Conv1dDenoiser(kernel=4)


def test_all_are_registered():
    from pdiff.plugins.discovery import Plugin, Registry
    from pdiff_plugins import backbones

    registry = Registry([])
    plugin = Plugin("backbones", "pdiff", "0", "pdiff_plugins.backbones")
    registry.register(plugin, backbones)
    registry.plugins.append(plugin)
    assert registry.known("codec") == "autoencoder, conv1d, identity, mlp, pca, probes, transformer"
    assert registry.known("denoiser") == "conv1d, mlp, transformer"
    assert registry.find("codec", "mlp") == (Autoencoder, {})
