"""The data set of the user's own captures: posed pictures of scenes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, FiniteFloat, PositiveFloat, model_validator

from pdiff.components import IF_SET, NEVER, Dataset
from pdiff.files import folder_below

if TYPE_CHECKING:
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.data import DatasetSplits

RAY_BYTES = 36
"""Of a ray and its colour."""
LARGE_GIB = 4
"""From which on a note says so."""


class PosedImages(Dataset):
    """Your own captures: pictures of scenes, and where their cameras stood.

    They are read as instant-ngp, nerfstudio and Blender write them. A folder that holds transforms.json, or
    transforms_train.json with _val and _test beside it, is one scene; else each of its subfolders is. A scene is called
    what its folder is called, unless description.json (an object: text, label, further numbers and words) or
    caption.txt (a sentence in each line) stands in it. Views for scores and for selection are those that the files
    name; where they name none, every `hold`-th view is for scores and the one behind it for selection, by the pictures'
    names; where they name one of the two, it is for scores, and every `hold`-th of the others is for selection.

    A scene is what lies within the ball of radius 1 about the origin; what is seen behind it, such as a room's walls,
    is taken for what is in it, and fits badly: cut it out (transparent is white), or set `near` and `far`, which look
    at each ray between these distances from its camera instead. `scale` = "auto" moves the point that the cameras look
    at into the origin and the cameras to `distance` from it, on average.

    Pixels are taken as they are stored, as cameras are calibrated: an orientation in EXIF is not followed. Depths and
    masks are not read. A ray and its colour take 36 bytes for each scene.
    """

    name = "posed_images"
    dim: ClassVar[int] = 3
    source: ClassVar[str] = (
        "transforms.json of Mueller et al. 2022, arXiv 2201.05989, and of nerfstudio, Tancik et al. 2023, arXiv "
        "2302.04264; Blender scenes of NeRF, arXiv 2003.08934; lenses: OpenCV, camera calibration"
    )
    root: str = Field(
        min_length=1,
        examples=["captures"],
        json_schema_extra=NEVER,
        description="folder of one scene, or of a folder for each; relative to run.data",
    )
    side: int = Field(
        0, ge=0, description="pixels along each side of pictures, cut to squares about their middles; 0: as they are"
    )
    hold: int = Field(8, ge=3, description="of views that no file assigns, one in so many is for scores")
    scale: Literal["auto", "file"] | PositiveFloat = Field(
        "auto",
        description="what places are multiplied by; auto: see there; file: as instant-ngp's scale, offset and "
        "aabb_scale say",
    )
    offset: tuple[FiniteFloat, FiniteFloat, FiniteFloat] = Field(
        (0.0, 0.0, 0.0), json_schema_extra=IF_SET, description="what is added to places then, with scale a number"
    )
    distance: float = Field(3.0, gt=1, description="of cameras from the origin, on average, with scale = 'auto'")
    near: float = Field(0.0, ge=0, json_schema_extra=IF_SET, description="where rays begin, after scaling; with far")
    far: float = Field(0.0, ge=0, json_schema_extra=IF_SET, description="where rays end, after scaling; 0: at the ball")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if any(self.offset) and isinstance(self.scale, str):
            raise ValueError(f"offset = {list(self.offset)} goes with a number as scale; set that, or leave it out")
        if (self.near or self.far) and self.near >= self.far:
            raise ValueError(f"near = {self.near}, far = {self.far}: rays end before they begin; raise far")
        return self

    def content(self, data_root: Path) -> str:
        """Return a digest of the names and bytes of all files that are read."""
        from pdiff.files import sha256_of
        from pdiff_plugins.radiance.captures.folder import files_of

        root = folder_below(data_root, self.root)
        listing = (f"{os.path.relpath(file, root)} {sha256_of(file)}" for file in files_of(root))
        return hashlib.sha256(os.fsencode("\n".join(listing))).hexdigest()

    def foresee(self, ahead: Ahead) -> None:
        """See `Component.foresee`. Raises Faults with a line for all that is wrong with the files."""
        from pdiff_plugins.radiance.captures.placing import ready

        scenes = ready(self, folder_below(ahead.data_root, self.root))
        lenses = [view.lens.resized(self.side) for scene in scenes for views in scene.views.values() for view in views]
        rays = sum(lens.width * lens.height for lens in lenses)
        if (size := RAY_BYTES * rays / 2**30) > LARGE_GIB:
            ahead.note(f"{ahead.key}: {rays:,} pixels are rays of {size:.1f} GiB in memory; side makes them fewer")

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. Raises Faults with a line for all that is wrong with the files."""
        from pdiff_plugins.radiance.captures.placing import ready
        from pdiff_plugins.radiance.captures.views import splits

        return splits(self, ready(self, folder_below(ctx.data_root, self.root)), ctx)
