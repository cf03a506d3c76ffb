"""Diffusion over units: exact zeros, equivariance, and what it learns."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.testing.asserts import stored
from pdiff_plugins.gpt.tokens import by_neuron
from pdiff_plugins.widths.encoder import Width
from pdiff_plugins.widths.method import UnitDiffusion
from pdiff_plugins.widths.net import UnitDenoiser
from tests.widths.helpers import CNN, MLP, bench, collect, units_of

SHORT = {"steps": 3, "batch_size": 4, "width": 8, "depth": 1, "heads": 2, "timesteps": 10, "sampling_steps": 3,
         "warmup": 0, "task_examples": 5}  # fmt: skip


def moved_net(architecture, positions: bool = False) -> UnitDenoiser:
    """Return a denoiser whose every layer says something."""
    units = units_of(architecture)
    torch.manual_seed(0)
    net = UnitDenoiser(
        by_neuron(units.layout, units.symmetry), units.mask, widest=units.widest, timesteps=10, width=8, depth=2,
        heads=2, positions=positions,
    )  # fmt: skip
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval().requires_grad_(False)


@given(st.permutations(range(5)))
def test_reordering_units_reorders_what_is_denoised(order: list[int]) -> None:
    units, net = units_of(MLP), moved_net(MLP)
    permutation = torch.tensor([*order, 5, 6, 7])
    x_BD = torch.randn(2, units.layout.dim, generator=torch.Generator().manual_seed(1)) * units.mask(5)
    moved = [units.symmetry.permuted(units.layout.tensors(x_D), [permutation]) for x_D in x_BD]
    moved_BD, t_B = torch.stack([units.layout.vector(state) for state in moved]), torch.tensor([2.0, 7.0])
    before_BD, after_BD = net(x_BD, t_B, 5), net(moved_BD, t_B, 5)
    for before_D, after_D in zip(before_BD, after_BD, strict=True):
        wanted = units.layout.vector(units.symmetry.permuted(units.layout.tensors(before_D), [permutation]))
        torch.testing.assert_close(after_D, wanted, atol=1e-5, rtol=1e-5)
    assert float(before_BD.std()) > 0.01


def test_positions_tell_units_apart() -> None:
    units, net = units_of(MLP), moved_net(MLP, positions=True)
    same_D = units.layout.tensors(torch.ones(units.layout.dim))
    out = units.layout.tensors(net(units.layout.vector(same_D)[None], torch.tensor([2.0]), 8))
    assert not out["1.weight"][0, 0].allclose(out["1.weight"][0, 1], atol=1e-3)


@pytest.mark.parametrize(("architecture", "task"), [(MLP, 0.0), (CNN, 0.5)])
def test_samples_of_any_width_have_exactly_its_units(architecture, task: float) -> None:
    zoo = collect(architecture)
    served = bench(architecture, zoo)
    zoo.condition_NC = served.encode([row["about"] for row in zoo.rows])
    method, units, ctx = UnitDiffusion(task=task, **SHORT), units_of(architecture), Context(seed=1)
    fitted = method.fit(zoo, served, ctx)
    assert fitted.facts.get("examples") == (3 * 4 * 5 if task else None)
    wanted = [5, 8, 3, 5, 4]
    theta_MD = fitted.sample(5, served, ctx, served.encode([{"width": width} for width in wanted]))
    for width, theta_D in zip(wanted, theta_MD, strict=True):
        mask_D = units.mask(width)
        assert not theta_D[~mask_D].any() and theta_D[mask_D].ne(0).all()
    again = method.load(stored(fitted.tensors()), zoo, served, ctx)
    assert again.sample(4, served, ctx).equal(fitted.sample(4, served, ctx))
    with pytest.raises(UserError, match="the widest layer has 8 units"):
        fitted.sample(1, served, ctx, torch.tensor([[9.0]]))


def test_numbers_are_scaled_by_living_units_alone() -> None:
    zoo = collect(MLP)
    served = bench(MLP, zoo)
    fitted = UnitDiffusion(balance=False, **SHORT).fit(zoo, served, Context(seed=1))
    units = units_of(MLP)
    living = torch.cat([units.layout.tensors(theta_D)["1.weight"][:width] for theta_D, width in zip(
        zoo.theta_ND, [row["about"]["width"] for row in zoo.rows], strict=True)])  # fmt: skip
    std = units.layout.tensors(fitted.std_D)["1.weight"]
    torch.testing.assert_close(std[0], living.std(dim=0, correction=0), atol=1e-6, rtol=1e-4)
    assert std[0].equal(std[7])


def test_checkpoints_whose_units_were_reordered_are_refused() -> None:
    zoo, units = collect(MLP), units_of(MLP)
    back = torch.arange(7, -1, -1)
    moved = [units.symmetry.permuted(units.layout.tensors(theta_D), [back]) for theta_D in zoo.theta_ND]
    zoo.theta_ND = torch.stack([units.layout.vector(state) for state in moved])
    with pytest.raises(UserError, match="leave out steps that reorder units"):
        UnitDiffusion(**SHORT).fit(zoo, bench(MLP, zoo), Context(seed=1))


def test_a_width_is_asked_for_as_a_whole_number() -> None:
    assert Width().read({"width": " 18 "}, [], bench(MLP)) == {"width": 18}
    for text in ("0", "1.5", "wide"):
        with pytest.raises(UserError, match="whole number of units"):
            Width().read({"width": text}, [], bench(MLP))


def test_kinds_of_units_are_learnt_in_any_number() -> None:
    """All units of a network are of one kind of two, which is told at a width that no network has."""
    zoo, units = collect(MLP, widths=(4, 8), count=40, held_out=(), steps=1), units_of(MLP)
    kind_N = torch.randint(2, (len(zoo),), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    zoo.theta_ND = torch.stack([
        kind * units.mask(row["about"]["width"]) for kind, row in zip(kind_N, zoo.rows, strict=True)
    ])  # fmt: skip
    served = bench(MLP, zoo)
    zoo.condition_NC = served.encode([row["about"] for row in zoo.rows])
    method = UnitDiffusion(
        steps=200, width=16, depth=1, heads=2, batch_size=32, sampling_steps=10, balance=False, lr=1e-2, ema=0.9,
        warmup=0,
    )  # fmt: skip
    fitted = method.fit(zoo, served, Context(seed=1))
    theta_MD = fitted.sample(20, served, Context(seed=2), torch.full((20, 1), 6.0))[:, units.mask(6)]
    assert float((theta_MD.abs() - 1).abs().mean()) < 0.1
    assert 0.2 < float((theta_MD.mean(dim=1) > 0).float().mean()) < 0.8


@pytest.mark.parametrize(("checkpoints", "same"), [(True, False), (False, True)])
def test_the_task_alone_sees_no_checkpoint(checkpoints: bool, same: bool) -> None:
    zoo, samples = collect(MLP), []
    method = UnitDiffusion(**SHORT, task=0.5, balance=False, checkpoints=checkpoints)
    for order in (range(6), (2, 0, 1, 5, 3, 4)):  # within a width
        one = zoo.subset(list(order))
        one.condition_NC = torch.tensor([[float(row["about"]["width"])] for row in one.rows])
        generator = method.fit(one, bench(MLP, one), Context(seed=1))
        samples.append(generator.sample(4, bench(MLP, one), Context(seed=2), torch.full((4, 1), 5.0)))
    assert torch.allclose(*samples, atol=1e-6) == same
    assert float(samples[0].std(dim=0).max()) > 0, "another noise is another network"


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(ValueError, match="set task above 0"):
        UnitDiffusion(checkpoints=False)
