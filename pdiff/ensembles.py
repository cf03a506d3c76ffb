"""Ensemble: networks of one architecture as one module, whose predictions are the average of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pdiff.data import Inputs, arguments, each, leaves
from pdiff.errors import UserError
from pdiff.exporting.ensemble import average, uncertainty

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
        example: Inputs | None = None, about: Mapping[str, Any] | None = None,
    ):  # fmt: skip
        """`preprocess` makes inputs of raw examples; with `raw` the ensemble does so itself. Raises UserError.

        `example`: some of the dataset's inputs, whose types `predict` gives to others. `about`: what the ensemble is,
        as JSON, which `export` writes down: `classes` (names), `temperature` and what else is known.
        """
        super().__init__()
        if not members:
            raise UserError("an ensemble of no networks; ask for at least 1")
        if raw and preprocess is None:
            raise UserError("raw: the dataset says no preprocessing; hand over inputs as its splits have them")
        self.members, self.preprocess = nn.ModuleList(members), preprocess
        self._task, self._raw, self._inputs, self._example = task, raw, example, None if raw else example
        self.about = dict(about or {})
        self.eval()

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """Return the average; see the class."""
        return average(*self._answers(inputs, named))

    def _answers(self, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[str, Tensor]:
        """Return of what kind members' answers are (see `pdiff.exporting.ensemble`), and these, `[M, B, ...]`."""
        if self._raw and self.preprocess is not None:
            inputs = (self.preprocess(*inputs),)
        taken: Any = named or (inputs if len(inputs) > 1 else inputs[0])
        members = [lambda _, member=member: member(*inputs, **named) for member in self.members]
        said = [_said(self._task, member, taken) for member in members]
        return said[0][0], torch.stack([answer for _, answer in said])

    @torch.no_grad()
    def predict(self, x: Any, batch_size: int = 256) -> Any:
        """Return the mean probabilities `[E, K]`, or outputs, of all examples: an array for arrays, else a tensor.

        `x`: inputs as the splits have them, or raw ones for a raw ensemble: arrays, tensors, a tuple or a dict of such.
        Raises UserError where they are none, or the networks cannot take them.
        """
        told = self.uncertainty(x, batch_size, 1.0)
        return told["mean" if "mean" in told else "probabilities"]

    @torch.no_grad()
    def uncertainty(self, x: Any, batch_size: int = 256, temperature: float | None = None) -> dict[str, Any]:
        """Return what `predict` does, and how sure the members are of it, `[E]` or `[E, ...]`, by name.

        Of classes `probabilities`, their `entropy`, and the `mutual_information` of class and member, in nats: what of
        the entropy comes from members that disagree. Of several labels the same of each. Elsewhere `mean` and
        `deviation`, the standard deviation over members. See `pdiff.exporting.ensemble.uncertainty`. `temperature`: of
        the probabilities and their entropy; left out, the one that the run's scores know of such an ensemble, or 1.
        """
        temperature = temperature or self.about.get("temperature") or 1.0
        several = isinstance(self._example, tuple)
        x = (tuple(x) if several else _array(x)) if isinstance(x, list) else x
        arrays = not any(isinstance(value, Tensor) for value in leaves(x))
        parts = [
            uncertainty(*answers, temperature) for answers in self._batches(self._typed(each(_tensor, x)), batch_size)
        ]
        told = {key: torch.cat([part[key].cpu() for part in parts]) for key in parts[0]}
        return {key: value.numpy() for key, value in told.items()} if arrays else told

    def _batches(self, inputs: Any, size: int) -> Iterator[tuple[str, Tensor]]:
        """Yield what members say of so many examples after so many."""
        device = next((value.device for value in self.state_dict().values()), torch.device("cpu"))
        for start in range(0, max(len(leaves(inputs)[0]), 1), size):
            rows = slice(start, start + size)
            positional, named = arguments(each(lambda value, rows=rows: value[rows].to(device), inputs))
            try:
                yield self._answers(positional, named)
            except (RuntimeError, IndexError, TypeError) as error:
                raise UserError(
                    f"predict: the networks cannot take examples of {_told(inputs)}{self._those()} "
                    f"({' '.join(str(error).split())[:160]})"
                ) from error

    def export(self, folder: str | Path, overwrite: bool = False) -> Path:
        """Write the ensemble to a folder that loads with plain torch; its README.md says how. Return the folder.

        Raises UserError where something is there already, and where the network cannot be traced.
        """
        from pdiff.exporting.folder import write

        if self._inputs is None:
            raise UserError("export: an ensemble without an example of its inputs; take that of a run: run.ensemble()")
        task, example = self._task, self._inputs

        def answer(member: nn.Module, inputs: Inputs) -> tuple[str, Tensor]:
            positional, named = arguments(inputs)
            return _said(task, lambda _: member(*positional, **named), inputs)

        return write(list(self.members), answer, example, self.preprocess, self.about, Path(folder), overwrite)

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


def _said(task: Task, member: Callable[[Any], Any], inputs: Inputs) -> tuple[str, Tensor]:
    """Return how members' answers are averaged, and what one says. Raises UserError where that is no tensor."""
    log = task.log_probabilities(member, inputs)
    if log is not None:
        return "classes", log
    answer = task.answer(member, inputs)
    if not isinstance(answer, Tensor):
        raise UserError(f"networks of task {task.name} do not give one tensor to average; use networks()")
    return "labels" if task.each_by_itself else "outputs", answer


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
