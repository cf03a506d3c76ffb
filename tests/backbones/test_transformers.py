"""Transformers over tokens: their blocks, latents, windows, and the losses that train them."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from pdiff.components import Architecture
from pdiff.errors import UserError
from pdiff.zoo import Entry, Layout
from pdiff_plugins.backbones.nets.token_denoiser import AdaptiveBlock
from pdiff_plugins.backbones.token_training import masked_error, nt_xent
from pdiff_plugins.backbones.transformers import TransformerCodec, TransformerDenoiser
from pdiff_plugins.maths.schedules import one_cycle

SMALL = {"width": 16, "depth": 1, "heads": 2}


def test_adaptive_blocks_start_as_the_identity():
    block, h = AdaptiveBlock(8, 2), torch.randn(3, 4, 8)
    assert block(h, torch.randn(3, 8)).equal(h)
    torch.nn.init.normal_(block.modulation.weight)
    assert not block(h, torch.randn(3, 8)).allclose(h)


def test_a_width_is_shared_out_among_heads():
    for component in (TransformerCodec, TransformerDenoiser):
        with pytest.raises(ValidationError, match="width = 18 is no multiple of heads = 4; set width = 16"):
            component(width=18)


def test_a_latent_belongs_to_its_token_or_to_its_network():
    layout = Layout((Entry("a.weight", (3, 4), 0), Entry("a.bias", (3,), 12), Entry("b.weight", (2, 3), 15)))
    each = TransformerCodec(latent=2, **SMALL).build(dim=21, layout=layout)
    assert each.token_shape == (5, 2) and each.latent_dim == 10
    whole = TransformerCodec(latent=7, latent_per="network", bounded=True, **SMALL).build(dim=21, layout=layout)
    assert whole.token_shape == (1, 7) and whole.latent_dim == 7
    assert whole.encode(100 * torch.randn(3, 21)).abs().max() <= 1


def test_windows_differ_from_the_whole_by_attention_alone():
    torch.manual_seed(0)
    whole, parts = (
        TransformerCodec(latent=3, size=4, contrast=0, window=window, halo=3, **SMALL).build(dim=37).eval()
        for window in (10, 2)
    )
    parts.load_state_dict(whole.state_dict())
    assert whole.windows.shape == (1, 10) and parts.windows.shape == (5, 8)
    x = torch.randn(2, 37)
    assert not parts.encode(x).allclose(whole.encode(x))
    with torch.no_grad():
        for module in (whole, parts):
            for blocks in (module.read, module.write):
                blocks.layers[0].self_attn.in_proj_weight[-16:].zero_()  # values: no token reads another any more
    z = whole.encode(x)
    torch.testing.assert_close(parts.encode(x), z)
    torch.testing.assert_close(parts.decode(z), whole.decode(z))


def test_the_contrastive_loss_is_that_of_its_definition():
    a, b = torch.randn(5, 3), torch.randn(5, 3)
    p = torch.nn.functional.normalize(torch.cat([a, b]), dim=1)
    similar = (p @ p.T / 0.1).exp()
    losses = [
        -(similar[i, (i + 5) % 10] / (similar[i].sum() - similar[i, i])).log() for i in range(10)
    ]  # fmt: skip
    torch.testing.assert_close(nt_xent(a, b), torch.stack(losses).mean())
    assert nt_xent(a, a) < nt_xent(a, b)


def test_padding_does_not_count():
    given, mask = torch.tensor([[[1.0, 9.0]]]), torch.tensor([[[True, False]]])
    assert masked_error(given, torch.zeros(1, 1, 2), mask) == 1


def test_one_cycle_rises_to_one_and_falls_to_zero():
    factor = one_cycle(100, rise_share=0.3)
    rates = [factor(step) for step in range(100)]
    assert max(rates) == 1 == rates[29] == rates[30] and 0 < rates[0] < 0.01 and 0 < rates[-1] < 0.01
    assert rates[:30] == sorted(rates[:30]) and rates[30:] == sorted(rates[30:], reverse=True)
    assert one_cycle(1, rise_share=0.3)(0) == 1


def hyperdiffusion(**options):
    network = Architecture.model_validate({"name": "hyperdiffusion_mlp"} | options).build(input_shape=(3,), outputs=1)
    return Layout.of(network, list(network.state_dict()))


def test_a_token_per_tensor_as_in_hyperdiffusion():
    settings = {"tokens": "layer", "time": "additive"}
    full = TransformerDenoiser(**settings, width=8, depth=1, heads=2).build(dim=36_737, layout=hyperdiffusion())
    assert [own.in_features for own in full.enter.maps] == [3456, 128, 16384, 128, 16384, 128, 128, 1]
    layout = hyperdiffusion(width=6)
    small = TransformerDenoiser(**settings, width=8, depth=1, heads=2).build(dim=layout.dim, layout=layout)
    assert small.tokens.shape == (8, 6 * 27)
    for own in small.leave.maps:
        torch.nn.init.normal_(own.weight)
    z_BZ = torch.rand(2, layout.dim, generator=torch.Generator().manual_seed(0)).requires_grad_()
    out_BZ = small(z_BZ, torch.zeros(2))
    out_BZ[0, 0].backward()
    assert out_BZ.shape == z_BZ.shape and z_BZ.grad[0].count_nonzero() == layout.dim and not z_BZ.grad[1].any()


def test_a_token_per_tensor_needs_the_tensors():
    with pytest.raises(UserError, match=r"method.denoiser.tokens = 'layer': the latent of 16 numbers is not the netw"):
        TransformerDenoiser(tokens="layer").build(dim=16, layout=hyperdiffusion(width=6))
