"""The codec of hidden units: reordered units have reordered latents, and what it learns is of networks not seen."""

from __future__ import annotations

import functools

import pytest
import torch

from pdiff.components import KINDS
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.testing.asserts import stored
from pdiff.zoo import Zoo
from pdiff_plugins.latent import space
from pdiff_plugins.reading.codec import UnitAutoencoder
from pdiff_plugins.reading.nets.unit_codec import Table
from pdiff_plugins.reading.units import Units
from tests.reading.helpers import networks

CTX = Context(seed=0, warn=lambda line: None)
SHORT = {"latent": 4, "whole": 3, "width": 16, "edge_width": 8, "rounds": 1, "steps": 8, "batch_size": 8}
KINDS_OF_NETWORKS = {
    "perceptron": ("mlp", {"hidden": (6, 5)}),
    "convolutions": ("strided_cnn", {"channels": (3, 4), "hidden": (5,)}),
    "attention": ("vit_mini", {"side": 16, "dim": 8, "depth": 1, "heads": 2, "head_dim": 4, "mlp_dim": 6}),
}


def codec(**options) -> UnitAutoencoder:
    return UnitAutoencoder(**(SHORT | options))


def zoo_of(theta_ND, bench) -> Zoo:
    layout = bench.objective.layout
    return Zoo(theta_ND, layout, bench.objective.model.state_dict(), [{"run": run} for run in range(len(theta_ND))])


@functools.cache
def learnt(name, count=12, faithful=False, **options):
    architecture, changes = KINDS_OF_NETWORKS[name]
    theta_ND, bench = networks(architecture, count=count, **changes)
    return theta_ND, bench, codec(**options).on(zoo_of(theta_ND, bench), faithful, True, bench, CTX)


@functools.cache
def units_of(name):
    architecture, changes = KINDS_OF_NETWORKS[name]
    return Units(networks(architecture, **changes)[1], "test", balance=False)


def reordered(theta_ND, units, generator):
    """Return the same networks with their units in one other order, and that order of each group."""
    layout = units.layout
    orders = units.symmetry.random(generator)
    moved = [layout.vector(units.symmetry.permuted(layout.tensors(theta_D), orders)) for theta_D in theta_ND]
    return torch.stack(moved), orders


@pytest.mark.parametrize("name", KINDS_OF_NETWORKS)
@pytest.mark.parametrize("faithful", [False, True])
def test_reordered_units_have_reordered_latents(name, faithful):
    theta_ND, bench, (fitted, *_) = learnt(name, faithful=faithful)
    units = units_of(name)
    moved_ND, orders = reordered(theta_ND, units, torch.Generator().manual_seed(3))
    ours_NZ, theirs_NZ = (fitted.encode(theta, bench, CTX) for theta in (theta_ND, moved_ND))
    ours, theirs = (fitted.inner.codec.latents(z_NZ) for z_NZ in (ours_NZ, theirs_NZ))
    assert len(ours) == len(orders) + 1
    for own_NnL, other_NnL, order in zip(ours, theirs, [*orders, torch.zeros(1).long()], strict=True):
        torch.testing.assert_close(own_NnL[:, order], other_NnL, rtol=1e-3, atol=1e-4)
    decoded_ND, again_ND = (fitted.decode(z_NZ, CTX) for z_NZ in (ours_NZ, theirs_NZ))
    expected_ND, _ = reordered(decoded_ND, units, torch.Generator().manual_seed(3))
    torch.testing.assert_close(expected_ND, again_ND, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(decoded_ND, again_ND, atol=1e-3)


@pytest.mark.parametrize("name", KINDS_OF_NETWORKS)
def test_it_comes_back_from_its_tensors(name):
    theta_ND, bench, (fitted, z_NZ, kept, log) = learnt(name)
    assert z_NZ.shape[1] == kept["latent"] == 4 * sum(units_of(name).symmetry.sizes) + 3
    assert log[-1]["part"] == "codec" and kept["variance"] > 0
    tensors = stored(fitted.tensors())
    assert all(key.startswith("span.") for key in tensors)
    again = space.rebuilt(codec(), tensors, zoo_of(theta_ND, bench).subset([0]), False)
    assert torch.equal(again.decode(z_NZ, CTX), fitted.decode(z_NZ, CTX))
    assert torch.equal(again.encode(theta_ND, bench, CTX), fitted.encode(theta_ND, bench, CTX))


def of_codes(units, count, generator):
    """Return networks whose weights tell of a code of three numbers for each unit, by fixed random tensors."""
    codes = [torch.randn(count, size, 3, generator=generator) for size in units.symmetry.sizes]
    theta_ND = 0.1 * torch.randn(count, units.layout.dim, generator=generator)
    for held, columns in zip(units.held, units.columns(), strict=True):
        fixed = torch.randn(*[3] * len(held.groups), held.channels, generator=generator)
        if len(held.groups) == 1:
            theta_ND[:, columns] += codes[held.groups[0]] @ fixed
        elif held.groups:
            ends = (codes[group] for group in held.groups)
            theta_ND[:, columns] += torch.einsum("bni,bmj,ijc->bnmc", *ends, fixed)
    return theta_ND


@pytest.mark.parametrize("name", ["perceptron", "convolutions"])
def test_networks_that_were_not_learnt_are_kept(name):
    """What ties units to units, too: it alone has most of the numbers of convolutions."""
    architecture, changes = KINDS_OF_NETWORKS[name]
    _, bench = networks(architecture, **changes)
    theta_ND = of_codes(units_of(name), 150, torch.Generator().manual_seed(4))
    learnt_ND, new_ND, units = theta_ND[:120], theta_ND[120:], units_of(name)
    options = {"steps": 120, "lr": 8e-3, "batch_size": 24, "edge_width": 16, "weight_decay": 0.01, "noise": 0.1}
    fitted, _, kept, log = codec(**options).on(zoo_of(learnt_ND, bench), False, True, bench, CTX)
    assert log[-1]["loss"] < 0.7 * log[0]["loss"] and kept["explained"] > 0.6
    lost_ND = fitted.decode(fitted.encode(new_ND, bench, CTX), CTX) - new_ND
    spread_ND = new_ND - learnt_ND.mean(dim=0)
    for held, columns in zip(units.held, units.columns(), strict=True):
        if len(held.groups) > 1:
            assert lost_ND[:, columns].square().sum() < 0.7 * spread_ND[:, columns].square().sum()
    assert lost_ND.square().sum() < 0.4 * spread_ND.square().sum()


def test_the_whole_has_a_latent_where_no_entry_is_its_own():
    table = Table(1, [(0,)], [torch.arange(12).view(3, 4)])
    module = codec().of(table)
    x_BD = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    latents = module.latents(module.encode(x_BD))
    assert [list(part.shape) for part in latents] == [[5, 3, 4], [5, 1, 3]]
    module.start(x_BD)
    torch.testing.assert_close(module.decode(module.encode(x_BD)), x_BD)


def test_with_balance_scales_tell_nothing():
    theta_ND, bench, (fitted, z_NZ, *_) = learnt("perceptron", balance=True)
    layout = bench.objective.layout
    scaled_ND = theta_ND.clone()
    for key, factor in (("1.weight", 3.0), ("1.bias", 3.0), ("3.weight", 1 / 3)):
        layout.tensors(scaled_ND)[key].mul_(factor)
    torch.testing.assert_close(fitted.encode(scaled_ND, bench, CTX), z_NZ, rtol=1e-3, atol=1e-3)
    answer = bench.objective.outputs(scaled_ND, torch.ones(1, 1, 8, 8))
    torch.testing.assert_close(answer, bench.objective.outputs(theta_ND, torch.ones(1, 1, 8, 8)))


def test_what_has_no_units_is_refused_in_one_line():
    theta_ND, bench = networks("mlp", hidden=())
    with pytest.raises(UserError, match=r"^method.codec: equivariant: no hidden units.*; or take codec 'transformer'$"):
        codec().on(zoo_of(theta_ND, bench), False, True, bench, CTX)
    with pytest.raises(UserError, match=r"^method.codec: equivariant needs the networks' graph.*use it with pdiff"):
        codec().build(dim=4, layout=bench.objective.layout)


def test_what_is_no_network_is_refused_in_one_line():
    theta_ND, bench = networks("mlp", hidden=(6, 5))
    around = KINDS["codec"].model_validate({"name": "quantised", "codec": {"name": "equivariant"} | SHORT})
    with pytest.raises(UserError, match=r"^method.codec: equivariant: what it is to learn is no network as it is"):
        around.on(zoo_of(theta_ND, bench), False, True, bench, CTX)
