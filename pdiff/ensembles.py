"""Ensemble: networks of one architecture as one module, whose predictions are the average of theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from pdiff.data import Inputs, arguments, each, leaves
from pdiff.errors import UserError

if TYPE_CHECKING:
    from pdiff.components import Task


class Ensemble(nn.Module):
    """Averages the predictions of its members.

    Called as one of them. Where the task has classes it returns the logarithm of the members' mean probabilities
    `[B, K]`, which can stand wherever logits can: its softmax is that mean, and its largest entry the class. Of several
    labels it returns the logits of their mean probabilities, elsewhere the mean of the outputs that count. It is in
    eval mode, and its state dict is that of its `members`.
    """

    def __init__(
        self, members: Sequence[nn.Module], task: Task, preprocess: nn.Module | None = None, raw: bool = False,
        example: Inputs | None = None,
    ):  # fmt: skip
        """`preprocess` makes inputs of raw examples; with `raw` the ensemble does so itself. Raises UserError.

        `example`: some of the dataset's inputs, whose types `predict` gives to others.
        """
        super().__init__()
        if not members:
            raise UserError("an ensemble of no networks; ask for at least 1")
        if raw and preprocess is None:
            raise UserError("raw: the dataset says no preprocessing; hand over inputs as its splits have them")
        self.members, self.preprocess = nn.ModuleList(members), preprocess
        self._task, self._raw, self._example = task, raw, None if raw else example
        self.eval()

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """Return the average; see the class."""
        return self._average(inputs, named)[0]

    def _average(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the average as the class says it, and what `predict` returns of it."""
        if self._raw and self.preprocess is not None:
            inputs = (self.preprocess(*inputs),)
        taken: Any = named or (inputs if len(inputs) > 1 else inputs[0])
        members = [lambda _, member=member: member(*inputs, **named) for member in self.members]
        logs = [self._task.log_probabilities(member, taken) for member in members]
        known = [log for log in logs if log is not None]
        if known:
            log = _log_mean(torch.stack(known))
            return log, log.exp()
        answers = [self._task.answer(member, taken) for member in members]
        if not all(isinstance(answer, Tensor) for answer in answers):
            raise UserError(f"networks of task {self._task.name} do not give one tensor to average; use networks()")
        answer = torch.stack(answers)
        if self._task.each_by_itself:
            logit = _log_mean(logsigmoid(answer)) - _log_mean(logsigmoid(-answer))
            return logit, logit.sigmoid()
        return answer.mean(dim=0), answer.mean(dim=0)

    @torch.no_grad()
    def predict(self, x: Any, batch_size: int = 256) -> Any:
        """Return the mean probabilities `[E, K]`, or outputs, of all examples: an array for arrays, else a tensor.

        `x`: inputs as the splits have them, or raw ones for a raw ensemble: arrays, tensors, a tuple or a dict of such.
        Raises UserError where they are none, or the networks cannot take them.
        """
        several = isinstance(self._example, tuple)
        x = (tuple(x) if several else _array(x)) if isinstance(x, list) else x
        arrays = not any(isinstance(value, Tensor) for value in leaves(x))
        inputs = self._typed(each(_tensor, x))
        device = next((value.device for value in self.state_dict().values()), torch.device("cpu"))
        parts = []
        for start in range(0, max(len(leaves(inputs)[0]), 1), batch_size):
            rows = slice(start, start + batch_size)
            positional, named = arguments(each(lambda value, rows=rows: value[rows].to(device), inputs))
            try:
                parts.append(self._average(positional, named)[1].cpu())
            except (RuntimeError, IndexError, TypeError) as error:
                raise UserError(
                    f"predict: the networks cannot take examples of {_told(inputs)}{self._those()} "
                    f"({' '.join(str(error).split())[:160]})"
                ) from error
        outputs = torch.cat(parts)
        return outputs.numpy() if arrays else outputs

    def _those(self) -> str:
        return "" if self._example is None else f"; the dataset's are {_told(self._example)}"

    def _typed(self, inputs: Any) -> Any:
        """Return inputs in the types that the networks were made for. Raises UserError."""
        if self._example is None:
            return each(lambda value: value.float() if value.is_floating_point() else value, inputs)
        ours, theirs = leaves(inputs), leaves(self._example)
        if len(ours) != len(theirs) or isinstance(inputs, dict) != isinstance(self._example, dict):
            raise UserError(f"predict: given {_told(inputs)}{self._those()}; give as many, in the same form")
        if any(a.ndim != b.ndim for a, b in zip(ours, theirs, strict=True)):
            raise UserError(f"predict: given examples of {_told(inputs)}{self._those()}; the first axis is examples")
        if isinstance(self._example, dict):
            if inputs.keys() != self._example.keys():
                raise UserError(f"predict: given {', '.join(inputs)}; the inputs are {', '.join(self._example)}")
            return {name: _as(inputs[name], like) for name, like in self._example.items()}
        typed = tuple(_as(value, like) for value, like in zip(ours, theirs, strict=True))
        return typed if isinstance(self._example, tuple) else typed[0]


def _log_mean(logs: Tensor) -> Tensor:
    """Return the logarithm of the mean over the first axis of what these are the logarithms of."""
    return logs.logsumexp(dim=0) - math.log(len(logs))


def _as(value: Tensor, like: Tensor) -> Tensor:
    typed = value.to(like.dtype)
    if value.is_floating_point() and not like.is_floating_point() and not torch.equal(typed.to(value.dtype), value):
        raise UserError(f"predict: the networks take whole numbers ({str(like.dtype)[6:]}), not fractions")
    return typed


def _told(inputs: Any) -> str:
    return " and ".join(f"{str(value.dtype)[6:]} {list(value.shape[1:])}" for value in leaves(inputs))


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.from_numpy(_array(value))


def _array(value: Any) -> np.ndarray:
    """Return a new array of numbers. Raises UserError."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise UserError(f"predict: {' '.join(str(error).split())[:160]}; give arrays or tensors of numbers") from None
    if array.dtype.kind not in "fiub" or not array.ndim:
        raise UserError(f"predict: given a {type(value).__name__}; give arrays or tensors of numbers")
    kind = np.float64 if array.dtype.kind == "f" and array.itemsize > 8 else array.dtype.newbyteorder("=")
    return np.array(array, kind, order="C")
