"""The one-dimensional codec's own arithmetic: parts, recomputation and bfloat16 change no result."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from pdiff.context import Context
from pdiff_plugins.backbones.codecs import Autoencoder, Conv1dCodec
from pdiff_plugins.backbones.nets import conv_chain, conv_layer
from tests.backbones.helpers import ALONE, low_rank, named


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
        log = codec.fit(module, low_rank(12, 200, 3), ALONE, Context(seed=1))
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
        last[precision] = codec.fit(module, low_rank(20, 60, 3), ALONE, Context(seed=3, precision=precision))[-1][
            "loss"
        ]
        assert all(p.dtype == torch.float32 for p in module.parameters())
    assert last["bfloat16"] < 1.2 * last["float32"]
