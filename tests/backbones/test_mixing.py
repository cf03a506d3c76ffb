"""Token networks in which tokens see each other by attention, by a convolution, or not at all."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdiff.context import Context
from pdiff.zoo import Entry, Layout
from pdiff_plugins.backbones.nets.token_denoiser import AdaptiveDenoiser, AdditiveDenoiser
from pdiff_plugins.backbones.nets.transformer import REACH, blocks
from pdiff_plugins.backbones.token_training import picked
from pdiff_plugins.backbones.tokens import Tokens
from pdiff_plugins.backbones.transformers import TransformerCodec
from tests.backbones.helpers import ALONE, low_rank

KINDS = ("attention", "convolution", "none")


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 6), st.integers(0, 3))
@settings(deadline=None, max_examples=40)
def test_picked_tokens_are_the_split_ones_and_padding_is_zero(sizes: list[int], size: int, seed: int) -> None:
    entries, start = [], 0
    for number, length in enumerate(sizes):
        entries.append(Entry(f"e{number}", (length,), start))
        start += length
    tokens = Tokens.of(Layout(tuple(entries)), "layer", size)
    generator = torch.Generator().manual_seed(seed)
    x_ND = torch.randn(4, start, generator=generator)
    rows, at_BL = torch.tensor([2, 0]), torch.randint(tokens.shape[0], (2, 3), generator=generator)
    given_BLS = picked(x_ND, rows, tokens.index_TS[at_BL])
    assert given_BLS.equal(tokens.split(x_ND)[rows[:, None], at_BL])
    assert not given_BLS[~tokens.mask_TS[at_BL]].any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_sees_as_far_as_it_says(kind: str) -> None:
    torch.manual_seed(0)
    network, h_BLE = blocks(8, 1, 2, kind), torch.randn(1, 20, 8)
    changed = h_BLE.clone()
    changed[0, 10] += torch.randn(8)
    seen = ((network(changed) - network(h_BLE)).abs() > 1e-6).any(dim=2)[0].nonzero()[:, 0].tolist()
    reach = {"attention": range(20), "convolution": range(10 - REACH // 2, 11 + REACH // 2), "none": [10]}[kind]
    assert seen == list(reach)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_learns_what_tokens_have_in_common(kind: str) -> None:
    x_ND = low_rank(40, 64, 3)
    codec = TransformerCodec(size=8, latent=4, width=32, mixing=kind, steps=300, lr=3e-3, contrast=0, noise=0)
    torch.manual_seed(0)
    module = codec.build(dim=64)
    codec.fit(module, x_ND, ALONE, Context(seed=0))
    error = (module.decode(module.encode(x_ND)) - x_ND).square().mean() / (x_ND - x_ND.mean(0)).square().mean()
    assert error < 0.3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("net", [AdaptiveDenoiser, AdditiveDenoiser])
def test_denoisers_begin_at_zero_and_have_gradients_everywhere(net: type[torch.nn.Module], kind: str) -> None:
    torch.manual_seed(0)
    denoiser = net(Tokens.chunks(21, 4), 2, 16, 2, 2, mixing=kind)
    z_BZ, t_B, condition_BC = torch.randn(3, 21), torch.tensor([0.0, 5.0, 9.0]), torch.randn(3, 2)
    assert not denoiser(z_BZ, t_B, condition_BC).any()
    torch.nn.init.normal_(denoiser.leave.weight)
    denoiser(z_BZ, t_B, condition_BC).square().sum().backward()
    assert denoiser.leave.weight.grad.abs().sum() > 0 and denoiser.enter.weight.grad.abs().sum() > 0
