"""Image classification sets that are read file by file: Flowers-102, Pets, Food-101, ImageNet, and your own folders."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, model_validator

from pdiff import hookimpl
from pdiff.components import IF_SET, NEVER
from pdiff.errors import UserError, did_you_mean
from pdiff.files import folder_below
from pdiff_plugins.images.dataset import ImageDataset, Mean, Samples, Std, renumbered
from pdiff_plugins.images.published import Published, of_torchvision, require

if TYPE_CHECKING:
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.data import DatasetSplits, Split

FileAugment = Annotated[
    Literal["crop_flip", "crop", "none"],
    Field(description="training transform: random resized crop with or without flip, or none"),
]
Read = Callable[[Path, str], Samples]
"""(folder of the set, name of a subset) -> what it holds."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET_CLASSES = 1000
SUBSETS = ("train", "test", "val")
"""Folders of an image folder; nothing else in it is looked at."""


class FileDataset(ImageDataset):
    """What the sets of image files share; itself no dataset."""

    augment: FileAugment = "crop_flip"
    memory_gib: float = Field(
        2.0, ge=0, description="decoded images kept in memory at most, in GiB", json_schema_extra=NEVER
    )

    def file_splits(
        self, train: Samples, validation: Samples | None, test: Samples, outputs: int, ctx: Context,
        names: tuple[str, ...] = (),
    ) -> DatasetSplits:  # fmt: skip
        """Return the splits; validation is cut from train where it is None."""
        import torch

        from pdiff.data import DatasetSplits
        from pdiff_plugins.images.splits import Decoder, FileSplit

        decoder, transform = Decoder(int(self.memory_gib * 2**30)), self.transform()
        left, cut = self.left(outputs), validation is None
        train, validation, test = (renumbered(samples, left) for samples in (train, validation or (), test))

        def split(samples: Samples) -> Split:
            targets = torch.tensor([target for _, target in samples], dtype=torch.int64)
            return FileSplit([path for path, _ in samples], targets, transform, decoder)

        if cut:
            train, validation = ([train[i] for i in indices.tolist()] for indices in self.cut(len(train), ctx))
        test = [test[i] for i in self.tested(len(test), ctx).tolist()]
        names = tuple(names[number] for number in left) if names else ()
        return DatasetSplits(split(train), split(validation), split(test), self.shape, len(left), names)

    def listed_splits(
        self, where: Path, listings: Mapping[str, str], read: Read, outputs: int, ctx: Context
    ) -> DatasetSplits:
        """Return the splits of a published set in `where`; `listings` has train and test, each with its file."""
        train, test = (_whole(self.name, where, subset, listing, read, outputs) for subset, listing in listings.items())
        return self.file_splits(train, None, test, outputs, ctx)


class Flowers102(FileDataset):
    """Flowers-102: 1,020 training and 6,149 test images of flowers in 102 classes.

    The official validation part (1,020 images) is not used, as in the p-diff authors' code.
    """

    name = "flowers102"
    source: ClassVar[str] = "Nilsback & Zisserman 2008, Automated Flower Classification over a Large Number of Classes"

    def published(self) -> Published:
        def reader() -> tuple[Any, dict[str, str]]:
            from torchvision.datasets import Flowers102 as Reader

            return Reader, dict(Reader._file_dict.values())

        url = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/102flowers.tgz"
        files = ["setid.mat", "imagelabels.mat"]
        return Published(self.name, reader, "flowers-102", files, url, beside="jpg/*.jpg")

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        require(self.published(), ctx)
        listings = {"trnid": "setid.mat", "tstid": "setid.mat"}
        return self.listed_splits(ctx.data_root / "flowers-102", listings, _flowers, 102, ctx)


class OxfordPets(FileDataset):
    """Oxford-IIIT Pet: 3,680 training and 3,669 test images in 37 breeds."""

    name = "oxford_pets"
    source: ClassVar[str] = "Parkhi et al. 2012, Cats and Dogs"

    listings: ClassVar[Mapping[str, str]] = {subset: f"annotations/{subset}.txt" for subset in ("trainval", "test")}

    def published(self) -> Published:
        files, url = [*self.listings.values()], "https://www.robots.ox.ac.uk/~vgg/data/pets/data/images.tar.gz"
        reader = of_torchvision("OxfordIIITPet")
        return Published(self.name, reader, "oxford-iiit-pet", files, url, beside="images/*.jpg")

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. The training split is the official trainval."""
        require(self.published(), ctx)
        return self.listed_splits(ctx.data_root / "oxford-iiit-pet", self.listings, _pets, 37, ctx)


class Food101(FileDataset):
    """Food-101: 75,750 training and 25,250 test images of dishes in 101 classes."""

    name = "food101"
    source: ClassVar[str] = "Bossard et al. 2014, Food-101 - Mining Discriminative Components with Random Forests"
    mean: Mean = IMAGENET_MEAN
    std: Std = IMAGENET_STD

    listings: ClassVar[Mapping[str, str]] = {subset: f"meta/{subset}.json" for subset in ("train", "test")}

    def published(self) -> Published:
        files, url = [*self.listings.values()], "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz"
        return Published(self.name, of_torchvision("Food101"), "food-101", files, url, beside="images/*/*.jpg")

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        require(self.published(), ctx)
        return self.listed_splits(ctx.data_root / "food-101", self.listings, _food, 101, ctx)


class ImageNet(FileDataset):
    """ImageNet-1k: train/ and val/ with a folder per class; val/ is the test split.

    Classes are counted in the order of their folders' names (n01440764 is 0), as pretrained networks count them.
    """

    name = "imagenet"
    source: ClassVar[str] = "Russakovsky et al. 2015, arXiv 1409.0575 (ILSVRC 2012)"
    root: str = Field(
        "imagenet", min_length=1, json_schema_extra=NEVER,
        description="folder that holds train/ and val/, a published set; relative to run.data",
    )  # fmt: skip
    mean: Mean = IMAGENET_MEAN
    std: Std = IMAGENET_STD

    def foresee(self, ahead: Ahead) -> None:
        self._folder(ahead)

    def _folder(self, at: Ahead | Context) -> Path:
        """Return where it lies. Raises UserError where it does not."""
        root = folder_below(at.data_root, self.root)
        for subset in ("train", "val"):
            if not (root / subset).is_dir():
                raise UserError(
                    f"dataset imagenet: {root / subset} is missing, and ImageNet is not downloaded here; get it from "
                    f"image-net.org, put train/ and val/, with a folder per class in each, into {root}, or name the "
                    "folder that holds them in dataset.root"
                )
        return root

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        root = self._folder(ctx)
        train, test = (_listed(root / subset) for subset in ("train", "val"))
        if len(train.classes) != IMAGENET_CLASSES:
            raise UserError(
                f"dataset imagenet: {root / 'train'} has {len(train.classes)} class folders, ImageNet-1k has "
                f"{IMAGENET_CLASSES}; put all of them there, or use the dataset image_folder for a part of them"
            )
        _same_classes(root, {"train": train, "val": test})
        return self.file_splits(_samples(train), None, _samples(test), IMAGENET_CLASSES, ctx)


class ImageFolder(FileDataset):
    """Your own images: train/ and test/ (or val/), one subfolder per class.

    A network that knows more classes than the folder holds, such as one of ImageNet with its head, is told by `classes`
    which of its outputs a subfolder is, and by `outputs` how many it has.
    """

    name = "image_folder"
    source: ClassVar[str] = "layout of torchvision.datasets.ImageFolder"
    root: str = Field(
        min_length=1,
        examples=["photos"],
        description="folder that holds train/ and test/ or val/; relative to run.data",
    )
    classes: dict[str, NonNegativeInt] = Field(
        {}, json_schema_extra=IF_SET,
        description="subfolder -> its output, from 0; empty: they are counted in the order of their names",
    )  # fmt: skip
    outputs: int = Field(0, ge=0, json_schema_extra=IF_SET, description="outputs of the network; 0: one for each class")
    mean: Mean = IMAGENET_MEAN
    std: Std = IMAGENET_STD

    @model_validator(mode="after")
    def _within_outputs(self) -> Self:
        if self.leave_out and (self.classes or self.outputs):
            raise ValueError("leave_out numbers classes anew, and classes and outputs say their numbers; take one away")
        for name, number in self.classes.items() if self.outputs else ():
            if number >= self.outputs:
                raise ValueError(
                    f"classes.{name} = {number}: outputs = {self.outputs} are counted 0 to {self.outputs - 1}"
                )
        return self

    def content(self, data_root: Path) -> str:
        """Return a digest of the files' names and bytes, which are read once a process, at about 1 GB/s."""
        from pdiff.files import sha256_of

        root = folder_below(data_root, self.root)
        files = sorted(path for part in SUBSETS for path in (root / part).rglob("*") if path.is_file())
        listing = "\n".join(f"{path.relative_to(root).as_posix()} {sha256_of(path)}" for path in files)
        return hashlib.sha256(os.fsencode(listing)).hexdigest()

    def foresee(self, ahead: Ahead) -> None:
        root = folder_below(ahead.data_root, self.root)
        _same_classes(root, {name: _listed(root / name) for name in SUBSETS if (root / name).is_dir()})

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. Without test/, val/ is the test split, and validation is always cut from train."""
        root = folder_below(ctx.data_root, self.root)
        folders = {name: _listed(root / name) for name in SUBSETS if (root / name).is_dir()}
        _same_classes(root, folders)
        numbers, outputs = self._numbered(root, folders["train"].classes)
        samples = {name: [(path, numbers[at]) for path, at in _samples(listed)] for name, listed in folders.items()}
        validation = None
        if "test" in samples and "val" in samples:
            if "validation" in self.model_fields_set:
                ctx.warn(f"dataset.validation = {self.validation} is ignored: {root / 'val'} is the validation split")
            validation = samples["val"]
        test = samples["test" if "test" in samples else "val"]
        of = dict(zip(numbers, folders["train"].classes, strict=True))
        names = tuple(of.get(number, str(number)) for number in range(outputs))
        return self.file_splits(samples["train"], validation, test, outputs, ctx, names)

    def _numbered(self, root: Path, names: Sequence[str]) -> tuple[list[int], int]:
        """Return the output of each subfolder, and how many there are. Raises UserError where they do not fit."""
        if not self.classes:
            if 0 < self.outputs < len(names):
                raise UserError(
                    f"dataset.outputs = {self.outputs}: {root / 'train'} has {len(names)} classes; "
                    "set it to at least that many"
                )
            return list(range(len(names))), self.outputs or len(names)
        for name in names:
            if name not in self.classes:
                raise UserError(
                    f"dataset.classes: does not name the class {name!r} of {root / 'train'}"
                    f"{did_you_mean(name, self.classes)}; give its output, or take the subfolder away"
                )
        for name in self.classes:
            if name not in names:
                raise UserError(
                    f"dataset.classes.{name}: {root / 'train'} has no such subfolder{did_you_mean(name, names)}; "
                    "add it, or take the line away"
                )
        return [self.classes[name] for name in names], self.outputs or max(self.classes.values()) + 1


def _flowers(where: Path, subset: str) -> Samples:
    """Read a subset of setid.mat, which numbers the images from 1, and their classes from imagelabels.mat."""
    from scipy.io import loadmat

    ids, labels = (loadmat(where / file, squeeze_me=True) for file in ("setid.mat", "imagelabels.mat"))
    return [(where / "jpg" / f"image_{i:05d}.jpg", int(labels["labels"][i - 1]) - 1) for i in ids[subset].tolist()]


def _pets(where: Path, subset: str) -> Samples:
    """Read a list of lines of name, class from 1, species, breed."""
    lines = (where / "annotations" / f"{subset}.txt").read_text(encoding="utf-8").splitlines()
    rows = (line.split() for line in lines)
    return [(where / "images" / f"{name}.jpg", int(label) - 1) for name, label, _, _ in rows]


def _food(where: Path, subset: str) -> Samples:
    """Read a table of class -> files; classes are counted in alphabetical order."""
    table = json.loads((where / "meta" / f"{subset}.json").read_text(encoding="utf-8"))
    target = {name: number for number, name in enumerate(sorted(table))}
    return [(where / "images" / f"{file}.jpg", target[name]) for name, files in table.items() for file in files]


def _whole(name: str, where: Path, subset: str, listing: str, read: Read, classes: int) -> Samples:
    """Return what a subset holds. Raises UserError where its listing is damaged, or an image is not there."""
    step = f"put the whole set into {where}, or delete that folder and run again with run.download = true"
    try:
        samples = read(where, subset)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"dataset {name}: {where / listing} is damaged ({reason}); {step}") from None
    if {target for _, target in samples} != set(range(classes)):
        raise UserError(f"dataset {name}: {where / listing} is damaged (not the set's {classes} classes); {step}")
    if missing := _first_missing([path for path, _ in samples]):
        raise UserError(f"dataset {name}: {missing} is missing, but {listing} lists it; {step}")
    return samples


def _first_missing(files: Sequence[Path]) -> Path | None:
    """Return the first file that is not there; reads each folder once."""
    folders = {file.parent for file in files}
    there = {folder: set(os.listdir(folder)) if folder.is_dir() else set() for folder in folders}
    return next((file for file in files if file.name not in there[file.parent]), None)


def _samples(listed: Any) -> Samples:
    return [(Path(path), target) for path, target in listed.samples]


def _listed(folder: Path) -> Any:
    from torchvision import datasets

    try:
        return datasets.ImageFolder(folder)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{folder}: {reason}; put one subfolder of images per class there") from None


def _same_classes(root: Path, folders: dict[str, Any]) -> None:
    if not root.is_dir():
        raise UserError(f"dataset.root = {root}: no such folder; it is relative to run.data")
    if "train" not in folders or len(folders) < 2:
        present = ", ".join(f"{name}/" for name in folders) or "neither"
        raise UserError(f"dataset.root = {root}: needs train/ and test/ (or val/), has {present}; add what is missing")
    classes = set(folders["train"].classes)
    for name, listed in folders.items():
        if odd := sorted(classes ^ set(listed.classes)):
            there, absent = ("train", name) if odd[0] in classes else (name, "train")
            raise UserError(
                f"dataset.root = {root}: class {odd[0]!r} is in {there}/ and not in {absent}/; make the classes agree"
            )


@hookimpl
def register_datasets(register: Any) -> None:
    """Register the sets of image files."""
    for dataset in (Flowers102, OxfordPets, Food101, ImageNet, ImageFolder):
        register(dataset)
