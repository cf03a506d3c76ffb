"""What image classification sets share: their options, their splits, and classes that are left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, model_validator

from pdiff.components import IF_SET, Dataset
from pdiff.errors import UserError
from pdiff_plugins.images.names import NAMES
from pdiff_plugins.images.published import Published, foresee_files

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.data import DatasetSplits
    from pdiff_plugins.images.splits import Transform

PerChannel = tuple[float, ...]
Mean = Annotated[PerChannel, Field(min_length=1, max_length=3, description="subtracted per channel, from x in 0..1")]
Std = Annotated[PerChannel, Field(min_length=1, max_length=3, description="divided by per channel, after the mean")]
Side = Annotated[int, Field(gt=0, description="side in pixels of what the network sees")]
Channels = Annotated[Literal[1, 3], Field(description="1, or 3 equal ones for networks that expect colour")]
Validation = Annotated[float, Field(ge=0, lt=1, description="part of train held out for validation; 0 holds out none")]
Augment = Annotated[
    Literal["crop_flip", "crop", "pad_crop_flip", "flip", "none"],
    Field(
        description="training transform: random resized crop with or without flip, 4-pixel shift and flip, flip, none"
    ),
]

Labelled = tuple["Tensor", "Tensor"]
"""Images `[E, C, H, W]` of 0..255 and their classes, int64 `[E]`."""
Samples = Sequence[tuple[Path, int]]
"""Image files and their classes, counted from 0."""
HALF = (0.5, 0.5, 0.5)


class ImageDataset(Dataset):
    """What the image sets of this package share; itself no dataset."""

    image_size: Side = 224
    resize: int = Field(
        0, ge=0, json_schema_extra=IF_SET,
        description="side to which an image's shorter one is brought before the central crop of image_size, when it is "
        "evaluated; 0: 256 for 224, else image_size",
    )  # fmt: skip
    mean: Mean = HALF
    std: Std = HALF
    augment: Augment = "crop_flip"
    crop_scale: tuple[float, float] = Field((0.08, 1.0), description="least and greatest part of the area in a crop")
    validation: Validation = 0.1
    test_examples: int = Field(
        0, ge=0, json_schema_extra=IF_SET, description="test images that are read, drawn at random once; 0: all"
    )
    leave_out: tuple[NonNegativeInt, ...] = Field(
        (), json_schema_extra=IF_SET,
        description="classes that no split holds, by number; the others are numbered anew, in their order",
    )  # fmt: skip

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for key, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.shape[0]):
                raise ValueError(f"{key} has {len(values)} values; give one, or {self.shape[0]}: one per channel")
        if min(self.std) <= 0:
            raise ValueError(f"std = {list(self.std)}: each must be above 0")
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale = {list(self.crop_scale)}: give 0 < least <= greatest <= 1")
        if 0 < self.resize < self.image_size:
            raise ValueError(
                f"resize = {self.resize} is less than image_size = {self.image_size}, which is cut from it"
            )
        if why := self._unfit(len(NAMES.get(self.name, ()))):
            raise ValueError(why)
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Input shape (C, S, S)."""
        return getattr(self, "channels", 3), self.image_size, self.image_size

    def published(self) -> Published | None:
        """Return the files of a published set; nothing where it is the user's own."""
        return None

    def foresee(self, ahead: Ahead) -> None:
        if published := self.published():
            foresee_files(published, ahead)

    def transform(self) -> Transform:
        """Return the transforms that the options describe."""
        from pdiff_plugins.images.splits import Transform

        return Transform(
            self.image_size, self.mean, self.std, self.augment, self.crop_scale, self.shape[0], self.resize
        )

    def preprocess(self) -> nn.Module:
        """See `Dataset.preprocess`: resized and normalised as evaluation images are."""
        from pdiff_plugins.images.splits import Preprocess

        return Preprocess(self.transform())

    def cut(self, count: int, ctx: Context) -> tuple[Tensor, Tensor]:
        """Return the indices of train and validation among `count` training examples."""
        from pdiff.data import holdout

        train, validation = holdout(count, self.validation, ctx.generator("holdout"))
        if not len(train) or (self.validation and not len(validation)):
            raise UserError(
                f"dataset.validation = {self.validation} of {count} training images leaves {len(train)} for training "
                f"and {len(validation)} for validation; choose another part, or 0 for no validation split"
            )
        return train, validation

    def tested(self, count: int, ctx: Context) -> Tensor:
        """Return the indices of the test images that are read, in their order, among `count`."""
        import torch

        kept = min(self.test_examples or count, count)
        return torch.randperm(count, generator=ctx.generator("tested"))[:kept].sort().values

    def left(self, outputs: int) -> list[int]:
        """Return the classes, of so many, that are not left out. Raises UserError where these are none, or too many."""
        if why := self._unfit(outputs):
            raise UserError(f"dataset.{why}")
        return [number for number in range(outputs) if number not in self.leave_out]

    def _unfit(self, outputs: int) -> str:
        """Return what is wrong with the classes left out, of so many; 0: nobody knows."""
        if not self.leave_out or not outputs:
            return ""
        if max(self.leave_out) >= outputs:
            return f"leave_out: {max(self.leave_out)} is no class; they are counted 0 to {outputs - 1}"
        count = outputs - len(set(self.leave_out))
        return f"leave_out leaves {count} of {outputs} classes; leave at least two" if count < 2 else ""

    def splits(self, train: Labelled, test: Labelled, outputs: int, ctx: Context) -> DatasetSplits:
        """Return the splits of images in memory."""
        from pdiff.data import DatasetSplits
        from pdiff_plugins.images.splits import ImageSplit

        transform, left = self.transform(), self.left(outputs)
        if self.leave_out:
            train, test = _of_classes(left, train), _of_classes(left, test)

        def split(images: Tensor, targets: Tensor) -> ImageSplit:
            return ImageSplit(images, targets, transform)

        training, validation = (split(train[0][indices], train[1][indices]) for indices in self.cut(len(train[0]), ctx))
        tested = [part[self.tested(len(part), ctx)] for part in test] if self.test_examples else test
        names = NAMES.get(self.name, ())
        names = tuple(names[number] for number in left) if names else ()
        return DatasetSplits(training, validation, split(*tested), self.shape, len(left), names)


def renumbered(samples: Samples, left: Sequence[int]) -> Samples:
    """Return the files of some classes, which are numbered anew, in the order given."""
    numbers = {target: number for number, target in enumerate(left)}
    return [(path, numbers[target]) for path, target in samples if target in numbers]


def _of_classes(left: list[int], labelled: Labelled) -> Labelled:
    """Return the examples of some classes, which are numbered anew."""
    import torch

    images, targets = labelled
    classes = torch.tensor(left)
    kept = torch.isin(targets, classes)
    return images[kept], torch.searchsorted(classes, targets[kept])
