"""Codecs of few bits and few weights: whatever comes out is on the grid, and has its masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdiff.components import Ahead
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.testing import Points
from pdiff.testing.asserts import stored
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.backbones.codecs import Autoencoder, Identity, Pca
from pdiff_plugins.bits import grid, masks
from pdiff_plugins.bits.codecs import Quantised, Sparse
from pdiff_plugins.bits.coordinates import Coordinates
from pdiff_plugins.latent import space
from pdiff_plugins.latent.flows import FlowMatching
from pdiff_plugins.latent.pdiff import PDiff

CTX = Context(seed=0, warn=lambda line: None)
LAYOUT = Layout(
    (
        Entry("w", (5, 6), 0),
        Entry("b", (4,), 30),
        Entry("n.running_var", (3,), 34, positive=True),
        Entry("c", (3, 2, 2), 37),
    )
)
SHORT = {"steps": 4, "timesteps": 6, "batch_size": 8}


def dense(count: int = 10, seed: int = 0) -> Zoo:
    generator = torch.Generator().manual_seed(seed)
    theta = torch.randn(49, generator=generator) + 0.5 * torch.randn(count, 49, generator=generator)
    theta[:, 34:37] = theta[:, 34:37].abs() + 0.1
    return Zoo(theta, LAYOUT, {e.key: theta[0, e.columns].view(e.shape) for e in LAYOUT.entries}, [{}] * count)


def quantised(bits: int, count: int = 10, seed: int = 0) -> Zoo:
    own = dense(count, seed)
    return replace(own, theta_ND=grid.rounded(own.theta_ND, LAYOUT, bits))


def sparse(own: Zoo, keep: float = 0.5, shared: bool = False) -> Zoo:
    mask_ND = masks.largest(own.theta_ND.abs(), LAYOUT, keep)
    return replace(own, theta_ND=masks.cut(own.theta_ND, mask_ND[:1] if shared else mask_ND))


def fitted(codec, zoo: Zoo, **changes) -> tuple[space.LatentSpace, torch.Tensor]:
    return space.fit(PDiff(codec=codec, **changes), zoo, Points(zoo), CTX)


def same(theta_MD: torch.Tensor, expected_MD: torch.Tensor) -> None:
    """Check that matrices are the same to the bit, and all else but for rounding."""
    own = masks.columns(LAYOUT)
    assert theta_MD[:, own].equal(expected_MD[:, own])
    torch.testing.assert_close(theta_MD, expected_MD, rtol=1e-4, atol=1e-5)


ZOOS = {
    "bits": (quantised(3), Quantised(codec=Pca(latent=9), bits=3)),
    "own": (sparse(dense()), Sparse(codec=Identity())),
    "shared": (sparse(dense(), shared=True), Sparse(codec=Identity(), keep=0.5)),
    "both": (sparse(quantised(2)), Quantised(codec=Pca(latent=9), bits=2)),
    "identity": (quantised(8), Quantised(codec=Identity(), bits=8)),
}


@pytest.mark.parametrize("name", ZOOS)
@pytest.mark.parametrize("faithful", [False, True])
def test_with_all_directions_what_the_zoo_holds_comes_back(name: str, faithful: bool) -> None:
    zoo, codec = ZOOS[name]
    own, z_NZ = fitted(codec, zoo, faithful=faithful)
    decoded_ND = own.decode(z_NZ, CTX)
    if isinstance(codec, Quantised):
        same(decoded_ND, zoo.theta_ND)
    torch.testing.assert_close(decoded_ND, zoo.theta_ND, rtol=1e-4, atol=1e-5)
    assert masks.kept(decoded_ND, LAYOUT).equal(masks.kept(zoo.theta_ND, LAYOUT))
    torch.testing.assert_close(own.through(zoo.theta_ND, Points(zoo), CTX), decoded_ND, rtol=1e-3, atol=1e-4)
    assert own.facts["codec"]["explained"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", ZOOS)
def test_loaded_it_decodes_the_same_bytes(name: str) -> None:
    zoo, codec = ZOOS[name]
    own, z_NZ = fitted(codec, zoo)
    again = space.load(PDiff(codec=codec), stored(own.tensors()), zoo)
    assert again.decode(z_NZ, CTX).equal(own.decode(z_NZ, CTX))
    assert again.through(zoo.theta_ND, Points(zoo), CTX).equal(own.through(zoo.theta_ND, Points(zoo), CTX))


@pytest.mark.parametrize("inner", [Pca(latent=2), Autoencoder(latent=3, steps=5, hidden=16)], ids=["pca", "trained"])
@given(seed=st.integers(0, 2**31), bits=st.integers(2, 8))
@settings(deadline=None, max_examples=10)
def test_whatever_latent_is_decoded_lies_on_the_grid(inner, seed: int, bits: int) -> None:
    zoo = quantised(bits)
    own, z_NZ = fitted(Quantised(codec=inner, bits=bits), zoo)
    theta_MD = own.decode(3 * torch.randn(4, z_NZ.shape[1], generator=torch.Generator().manual_seed(seed)), CTX)
    assert grid.rounded(theta_MD, LAYOUT, bits).equal(theta_MD)
    assert (theta_MD[:, 34:37] > 0).all() and (theta_MD[:, masks.columns(LAYOUT)] != 0).all()


@given(seed=st.integers(0, 2**31), keep=st.sampled_from([0.0, 0.2, 0.5]))
@settings(deadline=None, max_examples=15)
def test_whatever_latent_is_decoded_has_masks(seed: int, keep: float) -> None:
    zoo = sparse(dense())
    own, _ = fitted(Sparse(codec=Pca(latent=3), keep=keep), zoo)
    theta_MD = own.decode(2 * torch.randn(4, 3, generator=torch.Generator().manual_seed(seed)), CTX)
    share_M = masks.share(theta_MD, LAYOUT)
    assert ((share_M > 0) & (share_M < 1)).all()
    if keep:
        assert share_M.tolist() == pytest.approx([masks.number(42, keep) / 42] * 4)


def test_masks_that_all_networks_share_are_those_of_what_is_drawn() -> None:
    zoo = sparse(dense(), shared=True)
    own, _ = fitted(Sparse(codec=Pca(latent=3)), zoo)
    theta_MD = own.decode(3 * torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), CTX)
    assert masks.kept(theta_MD, LAYOUT).equal(masks.kept(zoo.theta_ND[:1], LAYOUT).expand(6, -1))


def test_what_a_network_has_cut_is_the_mean_of_those_that_keep_it() -> None:
    zoo = sparse(dense())
    coordinates = Coordinates.fitted(zoo, 0)
    x_NC = coordinates.zoo(zoo).theta_ND
    assert [entry.key for entry in coordinates.layout.entries] == ["w", "w.mask", "b", "n.running_var", "c", "c.mask"]
    for column in range(30):
        own_N = zoo.theta_ND[:, column]
        kept = own_N != 0
        assert x_NC[kept, column].equal(own_N[kept])
        if kept.any() and not kept.all():
            expected = own_N[kept].mean().expand(int((~kept).sum()))
            torch.testing.assert_close(x_NC[~kept, column], expected, rtol=1e-5, atol=1e-6)
        assert x_NC[:, 30 + column].equal(torch.where(kept, 1.0, -1.0))


def test_codes_are_what_the_inner_codec_learns() -> None:
    zoo = quantised(2)
    coordinates = Coordinates.fitted(zoo, 2)
    x_NC = coordinates.zoo(zoo).theta_ND
    assert [entry.key for entry in coordinates.layout.entries] == ["w", "w.step", "b", "n.running_var", "c", "c.step"]
    assert set(x_NC[:, :30].flatten().tolist()) <= {-1.5, -0.5, 0.5, 1.5}
    step_NR = x_NC[:, 30:35].exp()
    torch.testing.assert_close(x_NC[:, :30] * step_NR.repeat_interleave(6, 1), zoo.theta_ND[:, :30])


def test_a_row_that_is_cut_whole_comes_back() -> None:
    zoo = quantised(2)
    zoo.theta_ND[:4, :6] = 0
    zoo.theta_ND[:, 12:18] = 0
    own, z_NZ = fitted(Quantised(codec=Pca(latent=9), bits=2), zoo)
    same(own.decode(z_NZ, CTX), zoo.theta_ND)


@pytest.mark.parametrize("method", [PDiff, FlowMatching])
def test_methods_draw_networks_on_the_grid(method) -> None:
    zoo = quantised(2)
    options = {"steps": 4, "batch_size": 8} | ({"timesteps": 6} if method is PDiff else {"sampling_steps": 3})
    own = method(codec=Quantised(codec=Pca(latent=4), bits=2), **options)
    generator = own.fit(zoo, Points(zoo), CTX)
    theta_MD = generator.sample(5, Points(zoo), CTX)
    assert grid.rounded(theta_MD, LAYOUT, 2).equal(theta_MD)
    again = own.load(stored(generator.tensors()), zoo, Points(zoo), CTX)
    assert again.sample(5, Points(zoo), CTX).equal(theta_MD)


def test_what_is_learnt_of_more_than_the_zoo_needs_no_zoo() -> None:
    """With `augment` a method learns of networks that are not there when it is loaded."""
    zoo, codec = ZOOS["both"]
    own, z_NZ = space.fit(PDiff(codec=codec), zoo, Points(zoo), CTX, whole=False)
    less = replace(zoo.subset([3]), theta_ND=zoo.theta_ND[:1] * 0 + 1)
    again = space.load(PDiff(codec=codec), stored(own.tensors()), less)
    assert again.decode(z_NZ, CTX).equal(own.decode(z_NZ, CTX))
    same(again.decode(z_NZ, CTX), zoo.theta_ND)


def test_what_is_wrong_is_said() -> None:
    warned: list[str] = []
    ctx = CTX.replace(warn=warned.append)
    for codec, zoo in ((Quantised(bits=2), quantised(3)), (Sparse(), dense())):
        codec.on(zoo, False, True, Points(zoo), ctx)
    assert "are on no grid of 2 bits" in warned[0] and "no checkpoint has a weight that is zero" in warned[1]
    with pytest.raises(UserError, match=r"quantised takes networks apart .* or take codec 'pca' itself"):
        Quantised().build(dim=49, layout=LAYOUT)


@pytest.mark.parametrize(
    ("collect", "right"), [({"bits": 2}, True), ({"bits": 0}, True), ({}, True), ({"bits": 4}, False)]
)
def test_bits_that_the_collector_does_not_train_are_said_ahead(collect: dict, right: bool) -> None:
    ahead = Ahead(SimpleNamespace(collect=SimpleNamespace(**collect)), "method.codec", Path(), False, None)
    Quantised(bits=2).foresee(ahead)
    told = "method.codec.bits: it is 2, and collect.bits is 4; write the same"
    assert ahead.what("lacks") == ([] if right else [told])
