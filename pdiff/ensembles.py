"""Ensemble: networks of one architecture as one module, whose predictions are the average of theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pdiff.data import arguments
from pdiff.errors import UserError

if TYPE_CHECKING:
    from pdiff.components import Task


class Ensemble(nn.Module):
    """Averages the predictions of its members.

    Called as one of them. Where the task has classes it returns the logarithm of the members' mean probabilities
    `[B, K]`, which can stand wherever logits can: its softmax is that mean, and its largest entry the class. Elsewhere
    it returns the mean of their outputs. It is in eval mode, and its state dict is that of its `members`.
    """

    def __init__(
        self, members: Sequence[nn.Module], task: Task, preprocess: nn.Module | None = None, raw: bool = False
    ):
        """`preprocess` makes inputs of raw examples; with `raw` the ensemble does so itself. Raises UserError."""
        super().__init__()
        if not members:
            raise UserError("an ensemble of no networks; ask for at least 1")
        if raw and preprocess is None:
            raise UserError("raw: the dataset says no preprocessing; hand over inputs as its splits have them")
        self.members, self.preprocess = nn.ModuleList(members), preprocess
        self._task, self._raw = task, raw
        self.eval()

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """Return the average; see the class."""
        return self._average(inputs, named)[0]

    def _average(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Tensor, bool]:
        """Return the average, and whether it is of probabilities, and their logarithm."""
        if self._raw and self.preprocess is not None:
            inputs = (self.preprocess(*inputs),)
        taken: Any = named or (inputs if len(inputs) > 1 else inputs[0])
        logs = [self._task.log_probabilities(member, taken) for member in self.members]
        known = [log for log in logs if log is not None]
        if known:
            return torch.stack(known).logsumexp(dim=0) - math.log(len(known)), True
        outputs = [member(*inputs, **named) for member in self.members]
        if not all(isinstance(output, Tensor) for output in outputs):
            raise UserError(f"networks of task {self._task.name} do not give one tensor to average; use networks()")
        return torch.stack(outputs).mean(dim=0), False

    @torch.no_grad()
    def predict(self, x: Any, batch_size: int = 256) -> Any:
        """Return the mean probabilities `[E, K]`, or outputs, of all examples: an array for arrays, else a tensor.

        `x`: inputs as the splits have them, or raw ones for a raw ensemble: arrays, tensors, a tuple or a dict of such.
        """
        x = np.asarray(x) if isinstance(x, list) else x
        arrays = isinstance(pytree.tree_leaves(x)[0], np.ndarray)
        inputs = pytree.tree_map(torch.as_tensor, x)
        device = next((value.device for value in self.state_dict().values()), torch.device("cpu"))
        parts = []
        for start in range(0, len(pytree.tree_leaves(inputs)[0]), batch_size):
            rows = slice(start, start + batch_size)
            batch = pytree.tree_map(lambda value, rows=rows: _read(value[rows]).to(device), inputs)
            positional, named = arguments(batch)
            output, logs = self._average(positional, named)
            parts.append((output.exp() if logs else output).cpu())
        outputs = torch.cat(parts)
        return outputs.numpy() if arrays else outputs


def _read(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value
