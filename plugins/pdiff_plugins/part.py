"""A part of another dataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pdiff import hookimpl
from pdiff.components import Dataset

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.data import DatasetSplits, Split


SPLITS = ("train", "validation", "test")


class Part(Dataset):
    """Examples drawn at random from each split of another dataset, for quick tries."""

    name = "part"
    of: Dataset = Field(description="the dataset, a table with its name and options")
    train: int = Field(0, ge=0, description="training examples at most; 0: all")
    validation: int = Field(0, ge=0, description="validation examples at most; 0: all")
    test: int = Field(0, ge=0, description="test examples at most; 0: all")

    def content(self, data_root: Path) -> str:
        return self.of.content(data_root)

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        whole = self.of.load(ctx)
        return replace(whole, **{name: self._cut(whole.split(name), name, ctx) for name in SPLITS})

    def _cut(self, split: Split, name: str, ctx: Context) -> Split:
        from pdiff.data import some

        return some(split, getattr(self, name), ctx.generator("part", name))


@hookimpl
def register_datasets(register: Any) -> None:
    register(Part)
