"""Image classification sets: CIFAR, MNIST, Fashion-MNIST, STL-10, and folders of images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from pdiff import hookimpl
from pdiff.components import Dataset
from pdiff.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.data import DatasetSplits, Split
    from pdiff_plugins.images import Transform

PerChannel = tuple[float, ...]
Mean = Annotated[PerChannel, Field(min_length=1, max_length=3, description="subtracted per channel, from x in 0..1")]
Std = Annotated[PerChannel, Field(min_length=1, max_length=3, description="divided by per channel, after the mean")]
Side = Annotated[int, Field(gt=0, description="side in pixels of what the network sees")]
Channels = Annotated[Literal[1, 3], Field(description="1, or 3 equal ones for networks that expect colour")]
Validation = Annotated[float, Field(ge=0, lt=1, description="part of train held out for validation; 0 holds out none")]
Augment = Annotated[
    Literal["crop_flip", "crop", "pad_crop_flip", "none"],
    Field(description="training transform: random resized crop with or without flip, 4-pixel shift and flip, or none"),
]
FileAugment = Annotated[
    Literal["crop_flip", "crop", "none"],
    Field(description="training transform: random resized crop with or without flip, or none"),
]

HALF = (0.5, 0.5, 0.5)
CIFAR_MEAN, CIFAR_STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
REPLACE = "put the whole files there, or delete the folder and run again with run.download = true"


class ImageDataset(Dataset):
    """What the image sets of this package share; itself no dataset."""

    image_size: Side = 224
    mean: Mean = HALF
    std: Std = HALF
    augment: Augment = "crop_flip"
    crop_scale: tuple[float, float] = Field((0.08, 1.0), description="least and greatest part of the area in a crop")
    validation: Validation = 0.1

    @model_validator(mode="after")
    def _consistent(self):
        for key, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.shape[0]):
                raise ValueError(f"{key} has {len(values)} values; give one, or {self.shape[0]}: one per channel")
        if min(self.std) <= 0:
            raise ValueError(f"std = {list(self.std)}: each must be above 0")
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale = {list(self.crop_scale)}: give 0 < least <= greatest <= 1")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Input shape (C, S, S)."""
        return getattr(self, "channels", 3), self.image_size, self.image_size

    def transform(self) -> Transform:
        """Return the transforms that the options describe."""
        from pdiff_plugins.images import Transform

        return Transform(self.image_size, self.mean, self.std, self.augment, self.crop_scale, self.shape[0])

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

    def splits(self, train: Labelled, test: Labelled, outputs: int, ctx: Context) -> DatasetSplits:
        """Return the splits of images in memory, given as (uint8 `[E, C, H, W]`, int64 `[E]`)."""
        from pdiff.data import DatasetSplits
        from pdiff_plugins.images import ImageSplit

        (images, targets), transform = train, self.transform()
        parts = [(images[part], targets[part]) for part in self.cut(len(images), ctx)]
        made = (ImageSplit(*part, transform) for part in [*parts, test])
        return DatasetSplits(*made, input_shape=self.shape, outputs=outputs)


Labelled = tuple["torch.Tensor", "torch.Tensor"]


class Cifar10(ImageDataset):
    """CIFAR-10: 60,000 colour images of 32 x 32 in ten classes."""

    name = "cifar10"
    source: ClassVar[str] = "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images"
    mean: Mean = CIFAR_MEAN
    std: Std = CIFAR_STD

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        from torchvision.datasets import CIFAR10

        return self.splits(*_cifar(CIFAR10, self.name, ctx), 10, ctx)


class Cifar100(ImageDataset):
    """CIFAR-100: 60,000 colour images of 32 x 32 in a hundred classes."""

    name = "cifar100"
    source: ClassVar[str] = "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images"
    mean: Mean = CIFAR_MEAN
    std: Std = CIFAR_STD

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        from torchvision.datasets import CIFAR100

        return self.splits(*_cifar(CIFAR100, self.name, ctx), 100, ctx)


class Mnist(ImageDataset):
    """MNIST: 70,000 handwritten digits of 28 x 28."""

    name = "mnist"
    source: ClassVar[str] = "LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition"
    image_size: Side = 32
    channels: Channels = 3
    mean: Mean = (0.5,)
    std: Std = (0.5,)
    augment: Augment = "crop"

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        from torchvision.datasets import MNIST

        return self.splits(*_mnist(MNIST, self.name, ctx), 10, ctx)


class FashionMnist(ImageDataset):
    """Fashion-MNIST: 70,000 grey images of clothes of 28 x 28 in ten classes."""

    name = "fashion_mnist"
    source: ClassVar[str] = "Xiao et al. 2017, arXiv 1708.07747"
    image_size: Side = 32
    channels: Channels = 3
    mean: Mean = (0.5,)
    std: Std = (0.5,)

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        from torchvision.datasets import FashionMNIST

        return self.splits(*_mnist(FashionMNIST, self.name, ctx), 10, ctx)


class Stl10(ImageDataset):
    """STL-10: 5,000 training and 8,000 test images of 96 x 96 in ten classes."""

    name = "stl10"
    source: ClassVar[str] = "Coates et al. 2011, An Analysis of Single-Layer Networks in Unsupervised Feature Learning"

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        import torch
        from torchvision.datasets import STL10

        class LabelledStl10(STL10):
            # The 100,000 unlabelled images (2.6 GB) are not read, so they need not be there.
            train_list = STL10.train_list[:2]

        required = [*LabelledStl10.train_list, *LabelledStl10.test_list]
        _require(LabelledStl10, STL10.base_folder, required, self.name, ctx, split="train")
        sets = [LabelledStl10(ctx.data_root, split=split) for split in ("train", "test")]
        train, test = ((torch.from_numpy(s.data), torch.from_numpy(s.labels).long()) for s in sets)
        return self.splits(train, test, 10, ctx)


class ImageFolder(ImageDataset):
    """Your own images: train/ and test/ (or val/), one subfolder per class."""

    name = "image_folder"
    source: ClassVar[str] = "layout of torchvision.datasets.ImageFolder"
    root: str = Field(min_length=1, description="folder that holds train/ and test/ or val/; relative to run.data")
    mean: Mean = IMAGENET_MEAN
    std: Std = IMAGENET_STD
    augment: FileAugment = "crop_flip"
    memory_gib: float = Field(2.0, ge=0, description="decoded images kept in memory at most, in GiB")

    def content(self, data_root: Path) -> str:
        """Return a digest of the files' names and sizes."""
        root = data_root / Path(self.root).expanduser()
        files = sorted(path for path in root.rglob("*") if path.is_file())
        listing = "\n".join(f"{path.relative_to(root)} {path.stat().st_size}" for path in files)
        return hashlib.sha256(listing.encode()).hexdigest()

    def identity(self) -> dict[str, Any]:
        """Leave out the memory budget, which changes no result."""
        return {key: value for key, value in super().identity().items() if key != "memory_gib"}

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`. Without test/, val/ is the test split, and validation is always cut from train."""
        import torch

        from pdiff.data import DatasetSplits
        from pdiff_plugins.images import Decoder, FileSplit

        root = ctx.data_root / Path(self.root).expanduser()
        folders = {name: _listed(root / name) for name in ("train", "test", "val") if (root / name).is_dir()}
        _same_classes(root, folders)
        decoder, transform = Decoder(int(self.memory_gib * 2**30)), self.transform()

        def split(samples: Sequence[tuple[str, int]]) -> Split:
            targets = torch.tensor([target for _, target in samples], dtype=torch.int64)
            return FileSplit([Path(path) for path, _ in samples], targets, transform, decoder)

        train = folders["train"].samples
        if "test" in folders and "val" in folders:
            if "validation" in self.model_fields_set:
                ctx.warn(f"dataset.validation = {self.validation} is ignored: {root / 'val'} is the validation split")
            parts = [train, folders["val"].samples]
        else:
            parts = [[train[i] for i in part.tolist()] for part in self.cut(len(train), ctx)]
        test = folders.get("test", folders.get("val")).samples
        made = (split(samples) for samples in [*parts, test])
        return DatasetSplits(*made, input_shape=self.shape, outputs=len(folders["train"].classes))


def _cifar(reader: Any, name: str, ctx: Context) -> Iterable[Labelled]:
    """Return (images, targets) of train and test."""
    import torch

    required = [*reader.train_list, *reader.test_list, (reader.meta["filename"], reader.meta["md5"])]
    _require(reader, reader.base_folder, required, name, ctx)
    sets = [reader(ctx.data_root, train=train) for train in (True, False)]
    return [(torch.from_numpy(s.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(s.targets)) for s in sets]


def _mnist(reader: Any, name: str, ctx: Context) -> Iterable[Labelled]:
    """Return (images, targets) of train and test."""
    from torchvision.datasets.mnist import read_image_file, read_label_file

    raw, sets = f"{reader.__name__}/raw", []
    files = [(f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte") for part in ("train", "t10k")]
    _require(reader, raw, [(file, None) for pair in files for file in pair], name, ctx)
    for pair in files:
        paths = [ctx.data_root / raw / file for file in pair]
        images, labels = (_idx(*each) for each in zip(paths, (read_image_file, read_label_file), strict=True))
        if not len(images) or len(images) != len(labels) or labels.max() > 9:
            raise UserError(f"{paths[0]}: {len(images)} images, but {len(labels)} labels in {pair[1]}; {REPLACE}")
        sets.append((images[:, None], labels))
    return sets


def _idx(path: Path, read: Any) -> Tensor:
    try:
        return read(path)
    except (RuntimeError, ValueError, TypeError, AssertionError, KeyError):
        raise UserError(f"{path}: not a whole idx file; {REPLACE}") from None


def _require(
    reader: Any, folder: str, required: Sequence[tuple[str, str | None]], name: str, ctx: Context, **options: str
) -> None:
    """Raise UserError unless all required files lie there whole; download them first where none is there."""
    from filelock import FileLock
    from torchvision.datasets.utils import check_integrity

    from pdiff.files import make_folder

    where, note = ctx.data_root / folder, ""
    if ctx.download and not any((where / file).exists() for file, _ in required):
        make_folder(ctx.data_root)
        with FileLock(ctx.data_root / f".{name}.lock"):  # of two runs, the second finds what the first fetched
            if not any((where / file).exists() for file, _ in required):
                note = _download(reader, ctx.data_root, options)
    bad = [file for file, md5 in required if not check_integrity(where / file, md5)]
    if not bad:
        return
    present = (where / bad[0]).is_file()
    files = ", ".join(file for file, _ in required)
    step = f"delete {where} to download it again, or " if ctx.download and not note else ""
    raise UserError(
        f"dataset {name}: {where / bad[0]} is {'damaged (md5 differs)' if present else 'missing'}{note}; {step}"
        f"put the files {files} into {where}, or set run.data (now {ctx.data_root}) to the folder that holds {folder}"
    )


def _download(reader: Any, root: Path, options: dict[str, str]) -> str:
    """Let torchvision download; return what went wrong, ready to be put into a message, or nothing."""
    import tarfile
    from http.client import HTTPException

    try:
        reader(root, download=True, **options)
    except (OSError, RuntimeError, EOFError, HTTPException, tarfile.TarError) as error:
        return f", and the download failed ({' '.join(str(error).split())[:200]})"
    return ""


def _listed(folder: Path) -> Any:
    from torchvision import datasets

    try:
        return datasets.ImageFolder(folder)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{folder}: {reason}; put one subfolder of images per class there") from None


def _same_classes(root: Path, folders: dict[str, Any]) -> None:
    if "train" not in folders or len(folders) < 2:
        found = ", ".join(f"{name}/" for name in folders) or "neither"
        raise UserError(f"dataset.root = {root}: needs train/ and test/ (or val/), has {found}; add what is missing")
    classes = set(folders["train"].classes)
    for name, listed in folders.items():
        if odd := sorted(classes ^ set(listed.classes)):
            there, absent = ("train", name) if odd[0] in classes else (name, "train")
            raise UserError(
                f"dataset.root = {root}: class {odd[0]!r} is in {there}/ and not in {absent}/; make the classes agree"
            )


@hookimpl
def register_datasets(register: Any) -> None:
    """Register the image sets."""
    for dataset in (Cifar10, Cifar100, Mnist, FashionMnist, Stl10, ImageFolder):
        register(dataset)
