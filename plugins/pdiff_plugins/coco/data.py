"""COCO: images with boxes, and with masks of the classes of Pascal VOC."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pdiff import hookimpl
from pdiff.components import NEVER, Dataset
from pdiff.files import folder_below
from pdiff_plugins.images.dataset import Mean, Side, Std, Validation
from pdiff_plugins.images.on_disk import IMAGENET_MEAN, IMAGENET_STD, FileDataset

if TYPE_CHECKING:
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.data import DatasetSplits

COCO = "Lin et al. 2014, Microsoft COCO: Common Objects in Context, arXiv 1405.0312"
Root = Annotated[
    str,
    Field(
        min_length=1,
        json_schema_extra=NEVER,
        description="folder that holds train2017/, val2017/ and annotations/; relative to run.data",
    ),
]


class CocoDetection(Dataset):
    """COCO 2017, or data in its layout: images of any size, with boxes.

    val2017 is the test split. Inputs are images in 0..1, filled up to the largest of a batch with NaN at the bottom
    and on the right. Targets are rows of x1, y1, x2, y2 (pixels), class, iscrowd, area, filled up with class -1.
    """

    name = "coco_detection"
    source: ClassVar[str] = COCO
    root: Root = "coco"
    classes: tuple[str, ...] = Field(
        (), description="names of categories, counted from 1 as given; none: all, numbered as COCO numbers them"
    )
    longest: int = Field(0, ge=0, description="sides longer than this are scaled down to it, with their boxes; 0: none")
    augment: Literal["flip", "none"] = Field("flip", description="training transform: half of the images mirrored")
    validation: Validation = 0.1
    memory_gib: float = Field(
        2.0, ge=0, description="decoded images kept in memory at most, in GiB", json_schema_extra=NEVER
    )

    def content(self, data_root: Path) -> str:
        """Return a digest of the annotations."""
        return _content(folder_below(data_root, self.root))

    def foresee(self, ahead: Ahead) -> None:
        _require(self.name, folder_below(ahead.data_root, self.root))

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. Raises UserError that names the file and what in it is wrong."""
        from pdiff.data import holdout
        from pdiff_plugins.coco.boxes import box_splits
        from pdiff_plugins.coco.files import read

        root = folder_below(ctx.data_root, self.root)
        train, test = (read(self.name, root, subset) for subset in SUBSETS)
        cut = holdout(len(train.images), self.validation, ctx.generator("holdout"))
        return box_splits(self, train, test, cut)


class CocoSegmentation(FileDataset):
    """COCO 2017, or data in its layout: images of one size, with classes of pixels.

    val2017 is the test split. Targets are uint8 `[S, S]`: 0 is background, 255 is not counted (where objects overlap).
    The shorter side is scaled to S and the rest cut off; torchvision's published mIoU is of whole images instead.
    """

    name = "coco_segmentation"
    source: ClassVar[str] = COCO + "; classes and overlaps as in torchvision's reference training"
    root: Root = "coco"
    classes: tuple[str, ...] = Field(
        (), description="names of categories, counted from 1 as given; none: Pascal VOC's, 21 with the background"
    )
    image_size: Side = 480
    mean: Mean = IMAGENET_MEAN
    std: Std = IMAGENET_STD
    crop_scale: tuple[float, float] = Field((0.25, 1.0), description="least and greatest part of the area in a crop")

    @model_validator(mode="after")
    def _all_classes(self) -> Self:
        if self.leave_out:
            raise ValueError("leave_out: an image has pixels of many classes; name those that count in classes")
        return self

    def content(self, data_root: Path) -> str:
        """Return a digest of the annotations."""
        return _content(folder_below(data_root, self.root))

    def foresee(self, ahead: Ahead) -> None:
        _require(self.name, folder_below(ahead.data_root, self.root))

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. Raises UserError that names the file and what in it is wrong."""
        from pdiff_plugins.coco.files import read
        from pdiff_plugins.coco.masks import mask_splits

        root = folder_below(ctx.data_root, self.root)
        train, test = (read(self.name, root, subset) for subset in SUBSETS)
        return mask_splits(self, train, test, self.cut(len(train.images), ctx))


SUBSETS = ("train2017", "val2017")


def _content(root: Path) -> str:
    from pdiff.files import digest_of
    from pdiff_plugins.coco.files import annotation_file

    return " ".join(digest_of(str(annotation_file(root, subset))) for subset in SUBSETS)


def _require(who: str, root: Path) -> None:
    """Raise UserError where a file of annotations is not there."""
    from pdiff_plugins.coco.files import annotation_file, missing

    for subset in SUBSETS:
        if not annotation_file(root, subset).is_file():
            raise missing(who, root, subset)


@hookimpl
def register_datasets(register: Any) -> None:
    """Register COCO with boxes and with masks."""
    register(CocoDetection)
    register(CocoSegmentation)
