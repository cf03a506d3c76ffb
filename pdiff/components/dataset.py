"""Examples."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pdiff.components.base import Component

if TYPE_CHECKING:
    from torch import nn

    from pdiff.context import Context
    from pdiff.data import DatasetSplits


class Dataset(Component):
    """Examples in three splits: train, validation, test."""

    kind: ClassVar[str] = "dataset"

    def content(self, data_root: Path) -> str:
        """Return what tells the user's own files apart, for the keys of stages; nothing for published sets."""
        return ""

    def preprocess(self) -> nn.Module | None:
        """Return what makes a network's inputs of raw examples, without any parameters; None where nobody knows.

        Where it has a method `plain`, an exported ensemble takes raw examples too: that returns the source of a module
        in plain torch whose `preprocess(examples, **options)` does the same, and these options, as JSON.
        """
        return None

    @abstractmethod
    def load(self, ctx: Context) -> DatasetSplits:
        """Return the splits; the validation split is cut from train by `ctx.seed`. Raises UserError when absent."""
