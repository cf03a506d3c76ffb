"""Features of another dataset's examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pdiff.components import Architecture, Dataset

if TYPE_CHECKING:
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.data import DatasetSplits


class Embedded(Dataset):
    """Another dataset's examples, as a frozen network has them before its last layer.

    The network learns to tell some classes apart, from the training split as it is augmented; examples go through it as
    they are evaluated, and each feature is standardised by the training split. The features are kept below `run.data`,
    in `embedded`, by what decides them.
    """

    name = "embedded"
    source: ClassVar[str] = "features of a network trained on base classes: Chen et al. 2019, arXiv 1904.04232"
    of: Dataset = Field(description="dataset of classes")
    architecture: Architecture = Field(
        description="network; its last linear layer's inputs are the features, and it may start from weights"
    )
    classes: tuple[int | str, ...] = Field(
        (), description="classes that the network learns to tell apart, by number or name; empty: all"
    )
    steps: int = Field(1200, ge=0, description="training steps; 0: architecture.weights has a finished network")
    batch_size: int = Field(128, gt=0, description="training examples per step")
    lr: float = Field(1e-3, gt=0, description="learning rate of AdamW, to zero along a cosine")

    def content(self, data_root: Path) -> str:
        return self.of.content(data_root)

    def foresee(self, ahead: Ahead) -> None:
        if not self.steps and not self.architecture.weights:
            ahead.lacks(f"{ahead.key}.steps = 0: nothing trains the network; name its {ahead.key}.architecture.weights")
        super().foresee(ahead)

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. Raises UserError where the dataset has no classes, or not those named."""
        from pdiff_plugins.conditions.shots.embedding import embedded

        return embedded(self, ctx)
