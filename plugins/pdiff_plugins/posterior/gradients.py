"""Gradients of a step that are taken network by network, so that little is held; see `posterior`.

C Gaussians, Z directions, D parameters, B or M networks of a step, W columns of a window.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import nll_loss

from pdiff.data import Batch
from pdiff.errors import UserError
from pdiff.mapped import COLUMNS, Touched
from pdiff.objective import Objective

HELD = 2**29
"""Bytes up to which the graphs of a step's networks are kept, where the gradient of each needs the answers of all."""


def place(centre_D: Tensor, factors_ZD: Tensor, z_Z: Tensor, x_D: Tensor) -> None:
    """Set x_D to centre + z factors; its last bits are those of its row in a product of many vectors at once."""
    if not len(z_Z):
        x_D.copy_(centre_D)
        return
    torch.bmm(z_Z[None, None], factors_ZD[None], out=x_D[None, None])
    x_D += centre_D


class Drawn(torch.autograd.Function):
    """Vectors of Gaussians on the CPU, one after the other: no factors are copied, and sums keep their order."""

    @staticmethod
    def forward(ctx: Any, centres_CD: Tensor, factors_CZD: Tensor, which_B: Tensor, z_BZ: Tensor) -> Tensor:
        ctx.save_for_backward(which_B, z_BZ)
        ctx.shape = factors_CZD.shape
        x_BD = torch.empty(len(which_B), centres_CD.shape[1])
        for which, z_Z, x_D in zip(which_B.tolist(), z_BZ, x_BD, strict=True):
            place(centres_CD[which], factors_CZD[which], z_Z, x_D)
        return x_BD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        which_B, z_BZ = ctx.saved_tensors
        centres_CD, factors_CZD = torch.zeros(ctx.shape[0], ctx.shape[2]), torch.zeros(ctx.shape)
        for which, z_Z1, grad_D in zip(which_B.tolist(), z_BZ[:, :, None], grads[0], strict=True):
            centres_CD[which] += grad_D
            for factors_ZW, grad_W in zip(factors_CZD[which].split(COLUMNS, dim=1), grad_D.split(COLUMNS), strict=True):
                factors_ZW += z_Z1 * grad_W
        return centres_CD, factors_CZD, None, None


class Taken(torch.autograd.Function):
    """A loss whose gradient by `at` is found with it: `losses` returns both."""

    @staticmethod
    def forward(ctx: Any, at: Tensor, losses: Callable[[Tensor, Batch], tuple[Tensor, Tensor]], batch: Batch) -> Tensor:
        value, slope = losses(at.detach(), batch)
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0] * ctx.saved_tensors[0], None, None


class Members:
    """The loss of networks on a batch, and its gradient by each; `together` weighs that of their ensemble."""

    def __init__(self, objective: Objective, together: float, device: torch.device):
        self.objective, self.together, self.device = objective, together, device
        self.held: bool | None = None
        """Whether the graphs of all networks are kept at once; known from the first step on."""

    @torch.enable_grad()
    def __call__(self, theta_MD: Tensor, grad_MD: Tensor, batch: Batch) -> Tensor:
        """Set grad_MD, and return the losses of the networks `[M]`, or with `together` the weighted loss, a scalar."""
        return (self._jointly if self.together else self._alone)(theta_MD, grad_MD, batch)

    def _leaf(self, stored_D: Tensor) -> Tensor:
        return stored_D.to(self.device).detach().requires_grad_()

    def _alone(self, theta_MD: Tensor, grad_MD: Tensor, batch: Batch) -> Tensor:
        values, touched = [], Touched(theta_MD, grad_MD)
        for stored_D, grad_D in zip(theta_MD, grad_MD, strict=True):
            theta_D = self._leaf(stored_D)
            value = self.objective.losses(theta_D[None], batch)[0]
            grad_D.copy_(torch.autograd.grad(value / len(theta_MD), theta_D)[0])
            values.append(value.detach())
            touched(stored_D, grad_D)
        return torch.stack(values)

    def _jointly(self, theta_MD: Tensor, grad_MD: Tensor, batch: Batch) -> Tensor:
        """What a member's outputs are worth depends on all others'; where graphs are large, it is computed twice."""
        if self.held is None:
            self.held = len(theta_MD) * self._graph_bytes(theta_MD[0], batch) <= HELD
        touched, graphs, rows = Touched(theta_MD, grad_MD), [], []
        with torch.set_grad_enabled(self.held):
            for stored_D in theta_MD:
                graphs.append(self._answer(stored_D, batch) if self.held else None)
                rows.append(graphs[-1][1].detach() if graphs[-1] else self._answer(stored_D, batch)[1])
                touched(stored_D)
        logp_MBK = torch.stack(rows).requires_grad_()
        value = of_log_probabilities(logp_MBK, batch, self.together)
        (slope_MBK,) = torch.autograd.grad(value, logp_MBK)
        for row, (stored_D, grad_D, slope_BK) in enumerate(zip(theta_MD, grad_MD, slope_MBK, strict=True)):
            theta_D, logp_BK = graphs[row] or self._answer(stored_D, batch)
            graphs[row] = None
            grad_D.copy_(torch.autograd.grad(logp_BK, theta_D, slope_BK)[0])
            touched(stored_D, grad_D)
        return value.detach()

    def _answer(self, stored_D: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        theta_D = self._leaf(stored_D)
        return theta_D, probabilities_of(self.objective, theta_D[None], batch)[0]

    def _graph_bytes(self, stored_D: Tensor, batch: Batch) -> int:
        """Return the bytes that the graph of one network keeps beside its vector."""
        sizes = dict[int, int]()

        def note(saved: Tensor) -> Tensor:
            whole = saved.untyped_storage()
            sizes[whole.data_ptr()] = whole.nbytes()
            return saved.detach()

        with saved_tensors_hooks(note, lambda saved: saved):
            self._answer(stored_D, batch)
        sizes.pop(stored_D.untyped_storage().data_ptr(), None)
        return sum(sizes.values())


def probabilities_of(objective: Objective, theta_MD: Tensor, batch: Batch) -> Tensor:
    """Return log-probabilities of classes `[M, B, K]`. Raises UserError where the task has no classes."""
    logp_MBK = objective.log_probabilities(theta_MD, batch.inputs)
    if logp_MBK is None:
        raise UserError(
            "posterior: the task gives no class probabilities to take an ensemble of; set method.together = 0, or use "
            "a method that learns from the checkpoints alone"
        )
    return logp_MBK


def of_log_probabilities(logp_MBK: Tensor, batch: Batch, together: float) -> Tensor:
    """Return the mean loss of networks and that of their ensemble, weighted."""
    mean_BK = logp_MBK.logsumexp(dim=0) - math.log(len(logp_MBK))
    alone = nll_loss(logp_MBK.flatten(0, 1), batch.targets.repeat(len(logp_MBK)))
    return (1 - together) * alone + together * nll_loss(mean_BK, batch.targets)
