"""The data set of procedural scenes in colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pdiff.components import Dataset
from pdiff_plugins.radiance.scenes.traits import combinations

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.data import DatasetSplits


class Scenes3d(Dataset):
    """Balls, boxes and tori in colour, seen from around and described in words.

    They are known exactly. All scenes have the same cameras: some whose views are fitted, others for selection, others
    for scores. A scene's description is the kind, colour, size, height and lean of each thing, and where the first of
    two is: as numbers and words by name (`kind`, `red`, `kind_2`, ...), and as an English sentence with six others that
    mean the same. Things lean to the left or right and lie left or right as seen along y, from where y is below zero.

    In `levels` a sentence determines the scene: colours are ten that have a name, sizes and heights have a word for
    each level, things stand upright or lean by 30 degrees, and no two scenes are alike (though the lean of a ball that
    is nearly as high as wide is hard to see). Without, it determines kinds and places alone: of a colour it says which
    of the ten is nearest, of size and height in which quarter of the range for the kind they are, and of the lean in
    which third, so that many scenes share a sentence, and the numbers alone say which one is meant.
    """

    name = "scenes3d"
    dim: ClassVar[int] = 3
    source: ClassVar[str] = "distances to primitives: Quilez, Distance functions"
    count: int = Field(576, gt=2, description="scenes")
    objects: Literal[1, 2] = Field(1, description="things in a scene: one, or two side by side or one above the other")
    kinds: tuple[Literal["ball", "box", "torus"], ...] = Field(
        ("ball", "box", "torus"), min_length=1, description="kinds of things"
    )
    poses: bool = Field(False, description="things lean, by -35 (left) to 35 (right) degrees")
    levels: Literal[0, 2, 3, 4] = Field(
        0, description="levels of size and of height, in named colours: a sentence determines a scene; 0: continuous"
    )
    side: int = Field(20, ge=4, description="pixels along each side of a view")
    views: int = Field(12, gt=0, description="views that networks are fitted to")
    unseen: int = Field(3, gt=0, description="views for scores, and as many others for selection")

    @model_validator(mode="after")
    def _distinct(self) -> Scenes3d:
        if len(set(self.kinds)) < len(self.kinds):
            raise PydanticCustomError("kinds", "kinds names one twice; name each once")
        if self.levels and self.count > (there := combinations(self)):
            raise PydanticCustomError(
                "count", "count = {c}: levels = {l} gives {n} different scenes; lower it, or raise levels, name more "
                "kinds, or set poses = true or objects = 2", {"c": self.count, "l": self.levels, "n": there},
            )  # fmt: skip
        return self

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        from pdiff_plugins.radiance.scenes.views import splits

        return splits(self, ctx)
