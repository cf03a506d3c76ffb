"""Whether a task's loss is the likelihood that methods take it for."""

from __future__ import annotations

import torch
from torch.nn.functional import nll_loss

from pdiff.errors import UserError
from pdiff.objective import Objective

FEW = 16
"""Examples that are looked at."""


@torch.no_grad()
def odd_loss(objective: Objective, what: str, instead: str) -> tuple[float, float] | None:
    """Return (the loss, the cross-entropy) where it is not the mean cross-entropy of the log-probabilities, else None.

    Of examples of all the split, which may be in the order of classes, by a good network and by one that is not.
    Raises UserError, of `what` and what to do `instead`, where examples are not of one class each.
    """
    count, state = len(objective.split), objective.model.state_dict()
    index = torch.linspace(0, count - 1, min(count, FEW)).round().long()
    batch = objective.split.batch(index, next(iter(state.values())).device)
    theta_D = objective.layout.joined(state)
    theta_2D = torch.stack([theta_D, -theta_D])
    logp_2BK = objective.log_probabilities(theta_2D, batch.inputs)
    if logp_2BK is None or logp_2BK.ndim != 3 or batch.targets.ndim != 1:
        raise UserError(f"{what}: task {objective.task.name} gives no log-probabilities of one class each; {instead}")
    wanted_2 = torch.stack([nll_loss(logp_BK, batch.targets.long()) for logp_BK in logp_2BK])
    for loss, wanted in zip(objective.losses(theta_2D, batch).float(), wanted_2, strict=True):
        if not torch.isclose(loss, wanted, rtol=1e-3, atol=1e-4, equal_nan=True):
            return float(loss), float(wanted)
    return None
