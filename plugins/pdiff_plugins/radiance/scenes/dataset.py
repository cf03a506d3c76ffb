"""The data set of procedural scenes in colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pdiff.components import Dataset

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.data import DatasetSplits


class Scenes3d(Dataset):
    """Balls, boxes and tori in colour, seen by cameras around them: exact truth, described in numbers and in words.

    All scenes have the same cameras: some whose views are fitted, others for selection, others for scores. A scene's
    description is its kind, colour, size and height, as numbers and as an English sentence.
    """

    name = "scenes3d"
    dim: ClassVar[int] = 3
    source: ClassVar[str] = "distances to primitives: Quilez, Distance functions"
    count: int = Field(576, gt=2, description="scenes")
    side: int = Field(20, ge=4, description="pixels along each side of a view")
    views: int = Field(12, gt=0, description="views that networks are fitted to")
    unseen: int = Field(3, gt=0, description="views for scores, and as many others for selection")

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        from pdiff_plugins.radiance.scenes.views import splits

        return splits(self, ctx)
