"""The cart-pole: its motion against closed forms and another implementation, episodes, and policies that learn."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.networks import build_network
from pdiff.populations.predictor import Predictor
from pdiff.testing import bench_of
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.collectors.seeds.collector import Seeds
from pdiff_plugins.control.cartpole import (
    CART,
    DT,
    FARTHEST,
    FORCE,
    GRAVITY,
    HALF_LENGTH,
    POLE,
    STEEPEST,
    State,
    advance,
    episodes,
    mean_reward,
    trajectory,
)  # fmt: skip
from pdiff_plugins.control.data import Cartpole
from pdiff_plugins.control.task import Control
from pdiff_plugins.networks.small import Mlp
from pdiff_plugins.symmetry.permutations import Symmetry

BALANCING = torch.tensor([[0.15], [0.3], [3.0], [0.8]])
"""Gains, in action per state, that keep the pole up and bring the cart back."""


def still(state_B4):
    return torch.zeros(len(state_B4), 1)


def balancing(state_B4):
    return state_B4 @ BALANCING.to(state_B4.dtype)


def moving(dt, seconds=1.0):
    """Return the energies of a pole let go on a free cart, before and after."""
    state = State(*torch.tensor([0.0, 0.3, 0.5, -0.2], dtype=torch.float64))
    before = energy(state)
    for _ in range(round(seconds / dt)):
        state = advance(state, torch.zeros(()), dt)
    return before, energy(state)


def energy(state):
    """Return the energy of the cart and of a uniform rod of twice the half length."""
    across = state.speed + HALF_LENGTH * state.spin * state.angle.cos()
    down = HALF_LENGTH * state.spin * state.angle.sin()
    turning = POLE * HALF_LENGTH**2 / 3 * state.spin**2
    height = GRAVITY * HALF_LENGTH * state.angle.cos()
    return float((CART * state.speed**2 + POLE * (across**2 + down**2) + turning) / 2 + POLE * height)


def test_an_undriven_pole_keeps_its_energy():
    coarse, fine = (abs(after - before) for before, after in map(moving, (1e-3, 5e-4)))
    assert coarse < 1e-3 and fine == pytest.approx(coarse / 2, rel=0.05)


def test_a_nearly_upright_pole_falls_at_the_rate_of_the_linear_equation():
    rate = math.sqrt(GRAVITY / (HALF_LENGTH * (4 / 3 - POLE / (CART + POLE))))
    zero, angle = torch.zeros(1, dtype=torch.float64), torch.full((1,), 1e-6, dtype=torch.float64)
    state = State(zero, zero, angle, rate * angle)
    for _ in range(1000):
        state = advance(state, zero, 1e-3)
    assert float(state.angle) == pytest.approx(1e-6 * math.exp(rate), rel=1e-2)


box = st.tuples(*(st.floats(-own, own) for own in Cartpole().spread))


@given(st.lists(box, min_size=1, max_size=4))
@settings(max_examples=20)
def test_left_and_right_are_alike_to_an_odd_policy(starts):
    start_B4 = torch.tensor(starts, dtype=torch.float64)

    def policy(state_B4):
        return (state_B4 @ torch.tensor([[0.2], [-0.4], [1.0], [0.3]], dtype=torch.float64)).sin()

    there, mirrored = (trajectory(policy, sign * start_B4, 20) for sign in (1, -1))
    assert all(torch.allclose(a, -b, atol=1e-12) for a, b in zip(there, mirrored, strict=True))
    assert torch.allclose(episodes(policy, start_B4, 20), episodes(policy, -start_B4, 20), atol=1e-12)


def by_hand(gains, start, steps):
    """Return an episode's (return, steps) in plain Python: Barto, Sutton and Anderson's equations."""
    (x, v, a, w), total = start, 0.0
    for step in range(steps):
        force = FORCE * math.tanh(sum(g * s for g, s in zip(gains, (x, v, a, w), strict=True)))
        push = (-force - POLE * HALF_LENGTH * w * w * math.sin(a)) / (CART + POLE)
        wdot = GRAVITY * math.sin(a) + math.cos(a) * push
        wdot /= HALF_LENGTH * (4 / 3 - POLE * math.cos(a) ** 2 / (CART + POLE))
        vdot = (force + POLE * HALF_LENGTH * (w * w * math.sin(a) - wdot * math.cos(a))) / (CART + POLE)
        v, w = v + DT * vdot, w + DT * wdot
        x, a = x + DT * v, a + DT * w
        if abs(x) > FARTHEST or abs(a) > STEEPEST:
            return total - 2, step
        total += 1 - a * a - 0.01 * abs(v) - 0.005 * abs(w)
    return total, steps


@pytest.mark.parametrize("gains", [(0.0, 0.0, 0.0, 0.0), (0.15, 0.3, 3.0, 0.8), (0.0, 0.0, 2.0, 0.4)])
def test_episodes_are_those_of_a_plain_loop(gains):
    start_B4 = Cartpole(test=8).load(Context(seed=0)).test.inputs.double()
    policy = torch.tensor(gains, dtype=torch.float64)[:, None]
    ours_B2 = episodes(lambda state_B4: state_B4 @ policy, start_B4, 200)
    theirs_B2 = torch.tensor([by_hand(gains, start, 200) for start in start_B4.tolist()], dtype=torch.float64)
    assert torch.equal(ours_B2[:, 1], theirs_B2[:, 1])
    assert torch.allclose(ours_B2[:, 0], theirs_B2[:, 0], atol=1e-6)


def test_a_stabilising_controller_lasts_and_a_still_cart_does_not():
    starts, task = Cartpole().load(Context(seed=0)).test.inputs, Control()
    predictions_MB2 = torch.stack([task.predict(policy, starts) for policy in (balancing, still)])
    good, bad = task.score(predictions_MB2, starts)
    assert good > 0.95 and bad < 0.3
    assert [bool(wrong_B.any()) for wrong_B in task.wrong(predictions_MB2, starts)] == [False, True]
    assert task.wrong(predictions_MB2, starts)[1].all()
    measured = task.measured(predictions_MB2, starts).mean(dim=1)[:, 0]
    assert measured.tolist() == pytest.approx([500 * float(good), 500 * float(bad)])


def test_nothing_is_earned_after_failure_nor_by_a_network_of_no_numbers():
    start_B4 = torch.tensor([[0.0, 0.0, 0.1, 0.0]])
    assert torch.equal(episodes(still, start_B4, 100), episodes(still, start_B4, 400))
    unknown = episodes(lambda state_B4: state_B4[:, :1] * math.nan, start_B4, 5)
    assert unknown.tolist() == [[-2.0, 0.0]]


def test_the_gradient_is_that_of_differences():
    start_B4 = Cartpole(test=4).load(Context(seed=0)).test.inputs.double()
    gains = BALANCING.double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda gains: mean_reward(lambda s: s @ gains, start_B4, 10), gains)


def test_networks_together_are_networks_alone():
    data = Cartpole(validation=4).load(Context(seed=0))
    nets = [build_network(Mlp(hidden=(6, 6), activation="selu"), data, seed) for seed in range(5)]
    layout, task = Layout.of(nets[0], list(nets[0].state_dict())), Control(steps=60)
    theta_MD = torch.stack([layout.vector(net.state_dict()) for net in nets])
    inputs = data.validation.inputs

    def one(entries):
        return task.predict(lambda x: torch.func.functional_call(nets[0], entries, (x,)), inputs)

    alone = Predictor(nets[0], layout, task).predict(theta_MD, data.validation, Context(seed=0), "predict")
    assert torch.allclose(torch.vmap(one)(layout.tensors(theta_MD)), alone, atol=1e-3)


def test_a_policys_hidden_units_can_be_reordered():
    data = Cartpole().load(Context(seed=0))
    network = build_network(Mlp(hidden=(3, 5), activation="selu"), data, 0)
    assert Symmetry.of(network, data.train.inputs[:2]).sizes == [3, 5]


def test_starts_fill_their_box_evenly_and_the_test_split_is_alike_for_every_seed():
    a, b = (Cartpole(spread=(1.0, 2.0, 0.5, 4.0)).load(Context(seed=seed)) for seed in (0, 1))
    assert torch.equal(a.test.inputs, b.test.inputs)
    assert not torch.equal(a.validation.inputs, b.validation.inputs)
    unit_E4 = a.train.inputs / torch.tensor([1.0, 2.0, 0.5, 4.0])
    assert unit_E4.abs().max() <= 1 and unit_E4.mean(dim=0).abs().max() < 0.01
    assert unit_E4.square().mean(dim=0).tolist() == pytest.approx([1 / 3] * 4, abs=0.01)


def test_policies_learn_by_the_gradient_of_the_motion():
    data = Cartpole(train=32, validation=8).load(Context(seed=0))
    architecture, task = Mlp(hidden=(8,), activation="selu"), Control(steps=100, horizon=6)
    model = build_network(architecture, data, 0)
    layout = Layout.of(model, list(model.state_dict()))
    ctx, bench = Context(seed=0, threads=1), bench_of(Zoo.of_one(model.state_dict(), layout), architecture, task, data)
    seeds = Seeds(count=4, steps=20, lr=0.03, optimizer="adam", batch_size=8, include_start=True)
    zoo = seeds.collect(model, data=data, task=task, layout=layout, bench=bench, ctx=ctx)
    predictions = Predictor(model, layout, task).predict(zoo.theta_ND, data.validation, ctx, "predict")
    before_R, after_R = task.score(predictions, data.validation.targets).view(4, 2).unbind(dim=1)
    assert (after_R > 1.5 * before_R).all()


@pytest.mark.parametrize(("shape", "outputs", "said"), [((3,), 1, "are no states"), ((4,), 2, "not .1., a force")])
def test_other_data_and_networks_are_refused(shape, outputs, said):
    policy = nn.Linear(shape[0], outputs)
    with pytest.raises(UserError, match=said):
        Control(steps=2).predict(policy, torch.zeros(5, *shape))


def test_starts_that_have_failed_are_refused():
    with pytest.raises(ValidationError, match="lets episodes begin beyond"):
        Cartpole(spread=(3.5, 1.0, 0.1, 0.1))
