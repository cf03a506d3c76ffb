"""Splits as a dataset gave them: checked once, and brought to the types that networks and tasks take."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pdiff.data import Batch, DatasetSplits, Split, TensorSplit, each, leaves, require_finite
from pdiff.errors import UserError

if TYPE_CHECKING:
    from pdiff.components.task import Task

CPU = torch.device("cpu")
READ, AT_ONCE = 2**22, 256
"""Numbers up to which a split that is read example by example is read whole to be checked, and examples at once."""
TYPES = {torch.float64: torch.float32, torch.float16: torch.float32, torch.bfloat16: torch.float32} | dict.fromkeys(
    (torch.int8, torch.int16, torch.uint16, torch.uint32, torch.uint64), torch.int64
)
"""Types of inputs that hardly a layer takes, and what they become; bytes of images stay, as networks may scale them."""


def checked(data: DatasetSplits, name: str, task: Task, needed: Collection[str]) -> DatasetSplits:
    """Return the splits of dataset `name` with inputs and targets of the right types.

    Raises UserError that names the split, the example and what is expected, of a split that is needed.
    """
    splits: dict[str, Split] = {}
    for split in ("train", "validation", "test"):
        splits[split] = data.split(split)
        try:
            if len(splits[split]):
                splits[split] = _checked(splits[split], data, task)
        except UserError as error:
            if split in needed:
                raise UserError(f"dataset {name}: {split} split, {error}") from None
    return replace(data, **splits)  # type: ignore[arg-type]


@contextlib.contextmanager
def told_when_unfit(
    model: nn.Module, data: DatasetSplits, task: Task, architecture: str, dataset: str
) -> Iterator[None]:
    """Say in one line where a network cannot take what the dataset gives, of which torch says where it failed alone."""
    try:
        with torch.no_grad():
            task.check_network(model.eval(), data.example(), data.outputs)
        yield
    except (RuntimeError, IndexError, TypeError) as error:
        inputs = data.example()
        try:
            with torch.no_grad():
                task.predict(model.cpu().eval(), inputs)
        except (RuntimeError, IndexError, TypeError) as again:
            kinds = " and ".join(f"{str(x.dtype)[6:]} {list(x.shape[1:])}" for x in leaves(inputs))
            raise UserError(
                f"architecture {architecture}: its network cannot take an example of dataset {dataset}, "
                f"which is {kinds} ({' '.join(f'{type(again).__name__}: {again}'.split())[:200]})"
            ) from error
        raise


@dataclass(frozen=True)
class Cast:
    """A split whose inputs and targets are brought to other types and shapes as they are read."""

    of: Split
    targets: Tensor

    def __len__(self) -> int:
        return len(self.of)

    def batch(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Batch:
        """Return the examples `index`; see `pdiff.data.Split`."""
        given = self.of.batch(index, device, augment)
        targets = given.targets.reshape(len(index), *self.targets.shape[1:]).to(self.targets.dtype)
        return Batch(_cast(given.inputs), targets)


def _checked(split: Split, data: DatasetSplits, task: Task) -> Split:
    if type(split) is TensorSplit:  # one with a batch() of its own is read by that
        split = TensorSplit(_cast(split.inputs), _tensor(split.targets, "targets"))
    for values in leaves(split.inputs) if type(split) is TensorSplit else [split]:
        if len(values) != len(split.targets):
            raise UserError(f"{len(values)} examples have {len(split.targets)} targets; there must be as many")
    first = split.batch(torch.zeros(1, dtype=torch.int64), CPU)
    if not isinstance(first, Batch):
        raise UserError(f"its batch() gives a {type(first).__name__}; return pdiff.data.Batch(inputs, targets)")
    _check_shape(_cast(first.inputs), data.input_shape, exact=type(split) is TensorSplit)
    targets = task.checked(_tensor(split.targets, "targets"), data.outputs)
    if type(split) is TensorSplit:
        each(lambda values: require_finite(values, "the input"), split.inputs)
        return split if targets is split.targets else TensorSplit(split.inputs, targets)
    if len(split) * sum(values.numel() for values in leaves(first.inputs)) <= READ:
        _read(split)
    before = split.targets  # of another's split perhaps no tensor
    same = isinstance(before, Tensor) and (targets.dtype, targets.shape) == (before.dtype, before.shape)
    casts = [values.dtype for values in leaves(_cast(first.inputs))] != [x.dtype for x in leaves(first.inputs)]
    return split if same and not casts and not isinstance(first.inputs, list) else Cast(split, targets)


def _cast(inputs: Any) -> Any:
    """Return the inputs as tensors of types that networks take."""
    return each(_cast_one, tuple(inputs) if isinstance(inputs, list) else inputs)


def _cast_one(values: Any) -> Tensor:
    tensor = _tensor(values, "inputs")
    tokens = tensor.dtype == torch.uint8 and tensor.ndim <= 2
    wanted = torch.int64 if tokens else TYPES.get(tensor.dtype)
    return tensor.to(wanted) if wanted else tensor


def _tensor(values: Any, what: str) -> Tensor:
    try:
        tensor: Tensor = torch.as_tensor(values)
        return tensor
    except (TypeError, ValueError, RuntimeError):
        raise UserError(f"its {what} are of type {type(values).__name__}; give tensors of numbers") from None


def _check_shape(inputs: Any, input_shape: Any, exact: bool) -> None:
    """Compare one example with what the dataset says; of several inputs, one shape for all says nothing.

    Unless exact, images and rows of tokens may be smaller: those of a batch are then filled up to one size.
    """
    given = [tuple(values.shape[1:]) for values in leaves(inputs)]
    if isinstance(inputs, Tensor):
        wanted = [tuple(input_shape)]
    elif isinstance(input_shape, dict):
        wanted = [tuple(input_shape.get(name, ())) for name in inputs]
    elif all(isinstance(shape, tuple | list) for shape in input_shape):
        wanted = [tuple(shape) for shape in input_shape]
    else:
        return
    exact = exact or any(values.ndim == 2 and values.is_floating_point() for values in leaves(inputs))
    sizes = zip(sum(given, ()), sum(wanted, ()), strict=False)
    if list(map(len, given)) != list(map(len, wanted)) or any(a > b or (exact and a < b) for a, b in sizes):
        raise UserError(f"example 0: its inputs have shape {_told(given)}, and input_shape says {_told(wanted)}")


def _told(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join(str(list(shape)) for shape in shapes)


def _read(split: Split) -> None:
    """Look for numbers that are not finite; a batch may be filled up with such, an example by itself is not."""
    for index in torch.arange(len(split)).split(AT_ONCE):
        if all(values.isfinite().all() for values in leaves(split.batch(index, CPU).inputs)):
            continue
        for number in index:
            for values in leaves(split.batch(number[None], CPU).inputs):
                require_finite(values, "the input", int(number))
