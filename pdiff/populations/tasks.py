"""What else a network can be asked on a batch than its predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pdiff.components import Task


class LogProbabilities:
    """A task that predicts log-probabilities, in float32."""

    def __init__(self, task: Task):
        self.task = task

    def predict(self, model: Any, inputs: Any) -> Tensor:
        logp_BK = self.task.log_probabilities(model, inputs)
        assert logp_BK is not None, f"task {type(self.task).__name__} has no classes"
        least = torch.finfo(torch.float32).min  # also of a network that has diverged
        return logp_BK.float().nan_to_num(nan=least).clamp_min(least)

    def reduce(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return predictions


class Measured:
    """A task whose predictions are the sums of its measures over a batch, `[M, batches, measures]`."""

    def __init__(self, task: Task):
        self.task = task

    def predict(self, model: Any, inputs: Any) -> Tensor:
        return self.task.examine(model, inputs)

    def reduce(self, examined: Tensor, targets: Tensor) -> Tensor:
        return self.task.measured(examined, targets).double().sum(dim=1, keepdim=True)
