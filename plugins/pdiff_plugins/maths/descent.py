"""A few steps down a gradient, of many networks at once. M networks, D parameters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def sgd(gradient: Callable[[Tensor], Tensor], theta_MD: Tensor, steps: int, rate: float) -> Tensor:
    """Return networks after plain steps."""
    for _ in range(steps):
        theta_MD = theta_MD - rate * gradient(theta_MD)
    return theta_MD


def adam(gradient: Callable[[Tensor], Tensor], theta_MD: Tensor, steps: int, rate: float) -> Tensor:
    """Return networks after steps of Adam; a number whose gradient is 0 stays what it is."""
    theta = theta_MD.clone().requires_grad_()
    optimizer = torch.optim.Adam([theta], rate)
    for _ in range(steps):
        theta.grad = gradient(theta.detach())
        optimizer.step()
    return theta.detach()
