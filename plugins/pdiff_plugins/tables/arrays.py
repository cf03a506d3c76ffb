"""Arrays as NumPy saves them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import BadZipFile

from pydantic import Field

from pdiff.components import Ahead, Dataset
from pdiff.errors import UserError
from pdiff.files import folder_below
from pdiff_plugins.tables.options import Predict, Test, Validation, check_classes, existing, parted, shape_of

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.data import DatasetSplits

T = TypeVar("T")
SPLITS = ("train", "validation", "test")


class Arrays(Dataset):
    """Your own arrays in one .npz file: x_train, y_train, x_test, ..., or x and y.

    Whole numbers stay whole, as networks of tokens take them; bytes of images (at least two dimensions an example) are
    scaled to 0..1. Of several inputs each has its name, and a network gets them by it.
    """

    name = "arrays"
    path: str = Field(min_length=1, description=".npz file, relative to run.data")
    predict: Predict
    inputs: str | tuple[str, ...] = Field("x", description="name of the inputs, or names of several: `x_train` or `x`")
    target: str = Field("y", min_length=1, description="name of what is to be predicted: `y_train` or `y`")
    shape: tuple[int, ...] = Field((), description="of one example, such as [1, 28, 28]; none: as the array has it")
    channels_last: bool = Field(False, description="images have their channels last, and get them first")
    test: Test = 0.2
    validation: Validation = 0.2

    def content(self, data_root: Path) -> str:
        """Return the digest of the file."""
        from pdiff.files import sha256_of

        return sha256_of(existing(self.name, folder_below(data_root, self.path)))

    def foresee(self, ahead: Ahead) -> None:
        """See `Component.foresee`: the names of the arrays are read, not the arrays."""
        names = self._read(existing(self.name, folder_below(ahead.data_root, self.path)), lambda found: found.files)
        for name in (self.target, *self._names):
            self._key(names, name, "train" if f"{self.target}_train" in names else "")

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. Validation is cut from train, and test too, where the file has none of its own."""
        from pdiff.data import DatasetSplits, TensorSplit, each

        path = existing(self.name, folder_below(ctx.data_root, self.path))
        found = self._read(path, lambda file: {name: file[name] for name in file.files})
        inputs, targets = {}, {}
        for split in SPLITS if f"{self.target}_train" in found else ("",):
            if split and f"{self.target}_{split}" not in found and split != "train":
                continue
            targets[split] = self._tensor(found, self.target, split)
            given = {name: self._input(found, name, split) for name in self._names}
            inputs[split] = given if len(given) > 1 else next(iter(given.values()))
            self._check_length(given, targets[split], split)
        known = next(iter(targets))
        parts = parted(
            self.name, len(targets[known]), 0.0 if "test" in targets else self.test,
            0.0 if "validation" in targets else self.validation, ctx,
        )  # fmt: skip
        train, validation, test = (
            TensorSplit(inputs[split], targets[split]) if split in targets and split != known
            else TensorSplit(each(lambda x, at=parts[split]: x[at], inputs[known]), targets[known][parts[split]])
            for split in SPLITS
        )  # fmt: skip
        outputs = self._outputs(list(targets.values()))
        return DatasetSplits(train, validation, test, shape_of(inputs[known]), outputs)

    def input(self, path: Path, values: Tensor) -> Tensor:
        """Return inputs `[E, ...]` of an array of another file, as `load` makes them of this one. Raises UserError."""
        return self.model_copy(update={"path": str(path)})._input({"array": values.numpy()}, "array", "")

    @property
    def _names(self) -> tuple[str, ...]:
        return (self.inputs,) if isinstance(self.inputs, str) else self.inputs

    def _read(self, path: Path, what: Callable[[Any], T]) -> T:
        """Return what is asked of the open file."""
        import numpy as np

        try:
            with path.open("rb") as file:
                return what(np.load(file, allow_pickle=False))
        except (ValueError, OSError, AttributeError, EOFError, KeyError, BadZipFile, zlib.error) as error:
            reason = " ".join(str(error).split())[:150]
            raise UserError(f"dataset arrays: {path} is no .npz file of plain arrays ({reason})") from None

    def _key(self, names: Collection[str], name: str, split: str) -> str:
        """Return the name of an array of a split. Raises UserError where it is not there."""
        key = f"{name}_{split}" if split else name
        if key not in names:
            raise UserError(f"dataset arrays: {self.path} has no array {key!r} ({', '.join(names)})")
        return key

    def _tensor(self, found: dict[str, ndarray], name: str, split: str) -> Tensor:
        import torch

        key = self._key(found, name, split)
        array = found[key]
        if array.dtype.kind not in "fiub":
            raise UserError(f"dataset arrays: {key} of {self.path} is of type {array.dtype}; it must hold numbers")
        kinds = {"f": f"f{min(array.itemsize, 8)}", "b": "f4", "i": "i8", "u": "u1" if array.itemsize == 1 else "i8"}
        return torch.from_numpy(array.astype(kinds[array.dtype.kind]))

    def _input(self, found: dict[str, ndarray], name: str, split: str) -> Tensor:
        import torch

        values = self._tensor(found, name, split)
        if self.channels_last:
            if values.ndim != 4:
                raise UserError(f"dataset.channels_last: {name} has shape {list(values.shape)}, which are no images")
            values = values.movedim(-1, 1)
        if self.shape and values.ndim:
            try:
                values = values.reshape(len(values), *self.shape)
            except RuntimeError:
                wanted = f"{list(values.shape[1:])} cannot be {list(self.shape)}"
                raise UserError(f"dataset.shape: an example of {name} with shape {wanted}") from None
        image = values.dtype == torch.uint8 and values.ndim > 2
        return values.float() / 255 if image else values

    def _check_length(self, given: dict[str, Tensor], targets: Tensor, split: str) -> None:
        for name, values in given.items():
            if not values.ndim or not targets.ndim or len(values) != len(targets):
                ours, theirs = (list(x.shape) for x in (values, targets))
                what = f"{name} has shape {ours} and {self.target} {theirs}{f' ({split})' * bool(split)}"
                raise UserError(f"dataset arrays: {self.path}: {what}; there must be as many examples in both")

    def _outputs(self, targets: list[Tensor]) -> int:
        if self.predict == "numbers":
            return int(targets[0].reshape(len(targets[0]), -1).shape[1])
        most: Any = max(float(part.max()) for part in targets if part.numel())
        if most != most:
            return 2  # which of them is no number, the check of the splits says
        return check_classes(self.name, f"{self.target} of {self.path}", int(most) + 1)
