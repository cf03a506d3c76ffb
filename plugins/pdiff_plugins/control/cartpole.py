"""Cart and pole: a pole hinged on a cart that a force pushes along a line. Pure torch, under autograd and vmap.

The equations of motion are those of Barto, Sutton and Anderson 1983 (IEEE SMC-13, appendix) without friction, and the
constants those of Gymnasium's CartPole. Angles are in radians from upright, lengths in m, speeds per second.
Shapes: B episodes, S steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pdiff.errors import UserError

GRAVITY, CART, POLE, HALF_LENGTH = 9.8, 1.0, 0.1, 0.5
"""m/s2, kg, kg, and m from the hinge to the pole's centre."""
FORCE = 10.0
"""Newtons at an action of 1."""
DT = 0.02
"""Seconds between two actions."""
FARTHEST, STEEPEST = 3.0, math.pi / 2
"""Where an episode fails: m from the middle of the track, radians from upright."""
FAILED = -2.0
"""Reward of the step that fails."""


class State(NamedTuple):
    """Where the cart and the pole are and how quick, each `[B]`, or `[S, B]` of S steps."""

    x: Tensor
    speed: Tensor
    angle: Tensor
    spin: Tensor


def accelerations(state: State, force: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cart's (m/s2) and the pole's (radians/s2)."""
    sin, cos, total = state.angle.sin(), state.angle.cos(), CART + POLE
    push = (force + POLE * HALF_LENGTH * state.spin.square() * sin) / total
    pole = (GRAVITY * sin - cos * push) / (HALF_LENGTH * (4 / 3 - POLE / total * cos.square()))
    return push - POLE * HALF_LENGTH / total * pole * cos, pole


def advance(state: State, force: Tensor, dt: float = DT) -> State:
    """Return the state after a step of semi-implicit Euler: first the speeds, then with them the places."""
    cart, pole = accelerations(state, force)
    speed, spin = state.speed + dt * cart, state.spin + dt * pole
    return State(state.x + dt * speed, speed, state.angle + dt * spin, spin)


def reward(state: State) -> Tensor:
    """Return the reward of a step that does not fail: 1 upright and at rest."""
    return 1 - state.angle.square() - 0.01 * state.speed.abs() - 0.005 * state.spin.abs()


def stands(state: State) -> Tensor:
    """Return where the episode goes on, as booleans; not where the state is not a number."""
    return (state.x.abs() <= FARTHEST) & (state.angle.abs() <= STEEPEST)


def trajectory(policy: Callable[[Tensor], Tensor], start_B4: Tensor, steps: int) -> State:
    """Return the states after each of so many steps, `[S, B]`. Raises UserError where an example is not a state."""
    if start_B4.shape[1:] != (4,):
        shape = list(start_B4.shape[1:])
        raise UserError(f"task control: examples of shape {shape} are no states; set dataset.name = 'cartpole'")
    state, path = State(*start_B4.unbind(1)), []
    for _ in range(steps):
        state = advance(state, FORCE * action(policy, state))
        path.append(state)
    return State(*(torch.stack(series) for series in zip(*path, strict=True)))


def action(policy: Callable[[Tensor], Tensor], state: State) -> Tensor:
    """Return the tanh of the policy's output, `[B]` in -1..1. Raises UserError where it has not one output."""
    out_B1 = policy(torch.stack(state, dim=1))
    if out_B1.shape[1:] != (1,):
        shape = list(out_B1.shape[1:])
        raise UserError(f"task control: the network's output is {shape}, not [1], a force; build it with outputs = 1")
    return out_B1[:, 0].tanh()


def episodes(policy: Callable[[Tensor], Tensor], start_B4: Tensor, steps: int) -> Tensor:
    """Return each episode's return and the steps that it lasted, `[B, 2]`; it ends where it fails, or after `steps`."""
    path_SB = trajectory(policy, start_B4, steps)
    going_SB = stands(path_SB).cumprod(0).bool()
    lasted_B = going_SB.sum(0)
    total_B = torch.where(going_SB, reward(path_SB), 0.0).sum(0) + FAILED * (lasted_B < steps)
    return torch.stack([total_B, lasted_B], dim=1)


def mean_reward(policy: Callable[[Tensor], Tensor], start_B4: Tensor, steps: int) -> Tensor:
    """Return the mean reward of the first steps, a scalar to be differentiated: whether they fail is not asked."""
    return reward(trajectory(policy, start_B4, steps)).mean()
