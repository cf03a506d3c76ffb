"""Splits of whatever a user's data are: torch Datasets, arrays, tensors, lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from pdiff.data import Batch, DatasetSplits, Split, TensorSplit, each, holdout, leaves
from pdiff.errors import UserError
from pdiff_plugins.own.draws import drawing

WANTED = "dataset: give (train, validation, test) or (train, test), each a torch Dataset or a pair (inputs, targets)"
NAMES = {"train": ("train",), "validation": ("validation", "val", "valid"), "test": ("test",)}
TARGETS = ("targets", "target", "labels", "label", "y")
"""Keys under which a dict of an example, or of a split, may have its targets."""
MOST_BYTES = 2**30
"""Examples of a torch Dataset that together take no more are kept in memory."""


def splits_of(given: Any, validation: float, outputs: int, generator: torch.Generator) -> DatasetSplits:
    """Return the splits of what a user gives; see `PythonDataset`. Raises UserError that names split and example."""
    if isinstance(given, DatasetSplits):
        return given
    parts = {name: split_of(part, name) for name, part in parts_of(given).items()}
    train = parts["train"]
    if "validation" not in parts:
        kept, held = holdout(len(train), validation, generator)
        parts["train"], parts["validation"] = _some(train, kept), _some(train, held)
    if isinstance(train, TensorSplit):
        first: Any = train.inputs
    else:
        first = train.batch(torch.zeros(min(1, len(train)), dtype=torch.int64), torch.device("cpu")).inputs
    shape = each(lambda tensor: tuple(tensor.shape[1:]), first)
    return DatasetSplits(
        parts["train"], parts["validation"], parts["test"], shape, outputs or outputs_for(train.targets)
    )


def outputs_for(targets: Tensor) -> int:
    """Return how many outputs targets ask for: the largest class + 1, or their width; of rows of 0 and 1 that too."""
    if not len(targets):
        raise UserError("dataset: the train split is empty")
    labels = targets.ndim == 2 and targets.shape[1] > 1 and bool(((targets == 0) | (targets == 1)).all())
    if not targets.is_floating_point() and not labels:
        return max(int(targets.max()) + 1, 1)
    return targets.shape[1] if targets.ndim > 1 else 1


def parts_of(given: Any) -> dict[str, Any]:
    """Return what is given by split; `validation` may be absent. Raises UserError for what is no splits."""
    if isinstance(given, Mapping):
        found = {split: given[name] for split, names in NAMES.items() for name in names if name in given}
        unknown = [str(name) for name in given if not any(name in names for names in NAMES.values())]
        if unknown or not {"train", "test"} <= found.keys():
            raise UserError(f"{WANTED}; the dict has {', '.join(map(str, given)) or 'nothing'}")
        return found
    if isinstance(given, tuple | list) and len(given) in (2, 3) and not _arrays(given):
        names = ("train", "validation", "test") if len(given) == 3 else ("train", "test")
        return dict(zip(names, given, strict=True))
    what = f"{len(given)} values" if isinstance(given, tuple | list) else f"a {type(given).__name__}"
    raise UserError(f"{WANTED}, not {what}{' that are arrays' if _arrays(given) else ''}")


def _arrays(given: Any) -> bool:
    return isinstance(given, tuple | list) and any(isinstance(part, Tensor | np.ndarray) for part in given)


def _some(split: Split, index: Tensor) -> Split:
    if isinstance(split, TensorSplit):
        return TensorSplit(each(lambda tensor: tensor[index], split.inputs), split.targets[index])
    assert isinstance(split, Items)
    return Items(split.items, split.name, index, split.known[index])


def split_of(part: Any, name: str) -> Split:
    """Return the split that a part of the data is. Raises UserError."""
    if isinstance(part, DataLoader):
        part = part.dataset
    if hasattr(part, "batch") and hasattr(part, "targets") and hasattr(part, "__len__"):
        return part
    if isinstance(part, TensorDataset):
        *inputs, targets = part.tensors
        part = (inputs[0] if len(inputs) == 1 else tuple(inputs), targets)
    if isinstance(part, Mapping):
        inputs, targets = parted(part, f"the {name} split")
        return _of_arrays(inputs, targets, name)
    if isinstance(part, tuple | list) and len(part) == 2:
        return _of_arrays(part[0], part[1], name)
    if isinstance(part, IterableDataset):
        raise UserError(f"dataset: the {name} split is an IterableDataset, which has no order; give one with a length")
    if is_read_by_item(part):
        return _of_items(part, name)
    raise UserError(f"{WANTED}; the {name} split is a {type(part).__name__}")


def is_read_by_item(part: Any) -> bool:
    """Whether a part of the data is a torch Dataset, or the like, and neither arrays nor a split."""
    if isinstance(part, list):
        return len(part) > 2 and isinstance(part[0], tuple | Mapping)  # a list of examples
    if isinstance(part, TensorDataset | IterableDataset | Mapping | tuple) or hasattr(part, "batch"):
        return False
    return hasattr(part, "__getitem__") and hasattr(part, "__len__")


def parted(example: Mapping[Any, Any], what: str) -> tuple[Any, Any]:
    """Return (inputs, targets) of a dict. Raises UserError where it has no targets."""
    key = next((key for key in TARGETS if key in example), None)
    inputs = {str(name): value for name, value in example.items() if name != key}
    if key is None or not inputs:
        raise UserError(f"dataset: {what} is a dict of {', '.join(map(str, example))}; one must be called 'targets'")
    return (next(iter(inputs.values())) if len(inputs) == 1 else inputs), example[key]


def _of_arrays(inputs: Any, targets: Any, name: str) -> TensorSplit:
    what = f"the {name} split"
    if isinstance(inputs, tuple) and all(isinstance(each, Tensor | np.ndarray) for each in inputs):
        read: Any = tuple(tensor_of(each, f"inputs of {what}") for each in inputs)
    elif isinstance(inputs, Mapping):
        read = {str(key): tensor_of(value, f"{key} of {what}") for key, value in inputs.items()}
    else:
        read = tensor_of(inputs, f"inputs of {what}")
    labels = tensor_of(targets, f"targets of {what}", floats=False)
    for tensor in leaves(read):
        if not tensor.ndim or not labels.ndim or len(tensor) != len(labels):
            counts = [len(each) if each.ndim else "no" for each in (tensor, labels)]
            raise UserError(f"dataset: {what} has {counts[0]} inputs and {counts[1]} targets; give as many of each")
    return TensorSplit(read, labels)


def tensor_of(value: Any, what: str, floats: bool = True) -> Tensor:
    """Return a tensor : fractions as float32, whole numbers as int64; with `floats` uint8 and bool as float32."""
    try:
        tensor = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(_array(value))
    except (TypeError, ValueError, RuntimeError) as error:
        why = " ".join(str(error).split())[:160]
        raise UserError(f"dataset: {what} cannot be made a tensor ({why}); give numbers, all of one shape") from None
    if tensor.is_floating_point() or (floats and tensor.dtype in (torch.uint8, torch.bool)):
        return tensor.float()
    return tensor.long()


def _array(value: Any) -> np.ndarray:
    if isinstance(value, list | tuple) and any(isinstance(each, Tensor) for each in value):
        value = [each.numpy() if isinstance(each, Tensor) else each for each in value]
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"it holds {type(value).__name__ if array.dtype == object else array.dtype}")
    return np.array(array, array.dtype.newbyteorder("="), order="C", copy=True)


def _of_items(items: Any, name: str) -> Split:
    """Return the split of a torch Dataset: in memory where it is small and draws nothing, else read item by item."""
    if not len(items):
        raise UserError(f"dataset: the {name} split is empty")
    (first, other), wide = (example_of(items, 0, seed, name)[0] for seed in (0, 1)), len(items)
    draws = any(not torch.equal(a, b) for a, b in zip(leaves(first), leaves(other), strict=True))
    kept = sum(tensor.nbytes for tensor in leaves(first)) * wide <= MOST_BYTES
    if kept and not draws:
        inputs, targets = stacked(items, range(wide), range(wide), name)
        return TensorSplit(inputs, targets)
    labels = [example_of(items, number, number, name)[1] for number in range(wide)]
    return Items(items, name, torch.arange(wide), torch.stack(labels))


def example_of(items: Any, number: int, seed: int, name: str) -> tuple[Any, Tensor]:
    """Return (inputs, target) of an example, its random draws from the seed. Raises UserError that names it."""
    what = f"example {number} of the {name} split"
    try:
        with drawing(seed):
            item = items[number]
    except Exception as error:
        raise UserError(f"dataset: {what} cannot be read ({type(error).__name__}: {error})") from error
    if isinstance(item, Mapping):
        inputs, target = parted(item, what)
    elif isinstance(item, tuple | list) and len(item) >= 2:
        *inputs, target = item
        inputs = inputs[0] if len(inputs) == 1 else tuple(inputs)
    else:
        raise UserError(f"dataset: {what} is a {type(item).__name__}; it must be (input, target)")
    if type(inputs).__module__.startswith("PIL"):
        raise UserError(
            f"dataset: {what} is a picture; give the dataset a transform that makes tensors, such as ToTensor"
        )
    if isinstance(inputs, Mapping):
        read: Any = {str(key): tensor_of(value, f"{key} of {what}") for key, value in inputs.items()}
    elif isinstance(inputs, tuple):
        read = tuple(tensor_of(value, f"input of {what}") for value in inputs)
    else:
        read = tensor_of(inputs, f"input of {what}")
    return read, tensor_of(target, f"target of {what}", floats=False)


def stacked(items: Any, numbers: Sequence[int], seeds: Sequence[int], name: str) -> tuple[Any, Tensor]:
    """Return (inputs, targets) of examples. Raises UserError that names the first of another shape."""
    examples = [example_of(items, number, seed, name) for number, seed in zip(numbers, seeds, strict=True)]
    shapes = [each(lambda tensor: tuple(tensor.shape), example) for example in examples]
    odd = next((place for place, shape in enumerate(shapes) if shape != shapes[0]), None)
    if odd is not None:
        here, there = (f"{shape[0]} (target {shape[1]})" for shape in (shapes[odd], shapes[0]))
        raise UserError(
            f"dataset: example {numbers[odd]} of the {name} split has the shape {here}, example {numbers[0]} {there}; "
            "give all of one shape"
        )
    return each(lambda *tensors: torch.stack(tensors), examples[0], *examples[1:])


class Items:
    """Examples of a torch Dataset, read when they are asked for.

    What is drawn at random in reading one follows its number, or for training the generator.
    """

    def __init__(self, items: Any, name: str, numbers_E: Tensor, targets_E: Tensor):
        self.items, self.name, self.numbers, self.known = items, name, numbers_E, targets_E

    @property
    def targets(self) -> Tensor:
        return self.known

    def __len__(self) -> int:
        return len(self.numbers)

    def batch(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Batch:
        """Return the examples `index`; see `pdiff.data.Split`."""
        numbers = seeds = self.numbers[index].tolist()
        if augment is not None:
            seeds = torch.randint(2**31, (len(index),), generator=augment).tolist()
        inputs, targets = stacked(self.items, numbers, seeds, self.name)
        return each(lambda tensor: tensor.to(device), Batch(inputs, targets))
