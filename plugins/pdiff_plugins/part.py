"""A part of another dataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pdiff import hookimpl
from pdiff.components import Dataset

if TYPE_CHECKING:
    from torch import nn

    from pdiff.context import Context
    from pdiff.data import DatasetSplits, Split


class Part(Dataset):
    """Examples drawn at random from each split of another dataset, for quick tries."""

    name = "part"
    of: Dataset = Field(description="the dataset, a table with its name and options")
    train: int = Field(0, ge=0, description="training examples at most; 0: all")
    validation: int = Field(0, ge=0, description="validation examples at most; 0: all")
    test: int = Field(0, ge=0, description="test examples at most; 0: all")

    def content(self, data_root: Path) -> str:
        return self.of.content(data_root)

    def preprocess(self) -> nn.Module | None:
        return self.of.preprocess()

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        whole = self.of.load(ctx)
        return replace(
            whole,
            train=self._cut(whole, "train", self.train, ctx),
            validation=self._cut(whole, "validation", self.validation, ctx),
            test=self._cut(whole, "test", self.test, ctx),
        )

    def _cut(self, whole: DatasetSplits, name: str, most: int, ctx: Context) -> Split:
        from pdiff.data import some

        return some(whole.split(name), most, ctx.generator("part", name))


@hookimpl
def register_datasets(register: Any) -> None:
    register(Part)
