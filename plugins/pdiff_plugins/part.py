"""A part of another dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pdiff import hookimpl
from pdiff.components import Dataset

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.data import Batch, DatasetSplits, Split


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
        import torch

        most = getattr(self, name)
        if not most or most >= len(split):
            return split
        chosen = torch.randperm(len(split), generator=ctx.generator("part", name))[:most].sort().values
        return Chosen(split, chosen)


@dataclass(frozen=True)
class Chosen:
    """Some examples of a split."""

    of: Split
    chosen_E: Tensor

    @property
    def targets(self) -> Tensor:
        return self.of.targets[self.chosen_E]

    def __len__(self) -> int:
        return len(self.chosen_E)

    def batch(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Batch:
        """Return the examples `index`; see `pdiff.data.Split`."""
        return self.of.batch(self.chosen_E[index], device, augment)


@hookimpl
def register_datasets(register: Any) -> None:
    register(Part)
