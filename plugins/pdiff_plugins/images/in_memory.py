"""Image classification sets that fit into memory: CIFAR, MNIST, Fashion-MNIST, STL-10 and SVHN."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pdiff import hookimpl
from pdiff.components import IF_SET, Dataset
from pdiff.errors import UserError
from pdiff_plugins.images.names import NAMES
from pdiff_plugins.images.published import Published, foresee_files, of_torchvision, require

if TYPE_CHECKING:
    import torch
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

HALF = (0.5, 0.5, 0.5)
CIFAR_MEAN, CIFAR_STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
REPLACE = "put the whole files there, or delete the folder and run again with run.download = true"


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

    def splits(self, train: Labelled, test: Labelled, outputs: int, ctx: Context) -> DatasetSplits:
        """Return the splits of images in memory, given as (`[E, C, H, W]` of 0..255, int64 `[E]`)."""
        from pdiff.data import DatasetSplits
        from pdiff_plugins.images.splits import ImageSplit

        transform = self.transform()

        def split(images: Tensor, targets: Tensor) -> ImageSplit:
            return ImageSplit(images, targets, transform)

        training, validation = (split(train[0][indices], train[1][indices]) for indices in self.cut(len(train[0]), ctx))
        tested = [part[self.tested(len(part), ctx)] for part in test] if self.test_examples else test
        names = NAMES.get(self.name, ())
        return DatasetSplits(training, validation, split(*tested), self.shape, outputs, names)


Labelled = tuple["torch.Tensor", "torch.Tensor"]


class Cifar10(ImageDataset):
    """CIFAR-10: 60,000 colour images of 32 x 32 in ten classes."""

    name = "cifar10"
    source: ClassVar[str] = "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images"
    mean: Mean = CIFAR_MEAN
    std: Std = CIFAR_STD

    def published(self) -> Published:
        batches = [f"data_batch_{number}" for number in range(1, 6)]
        return _cifar(self.name, "CIFAR10", "cifar-10", [*batches, "test_batch", "batches.meta"], "-batches-py")

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        return self.splits(*_read_cifar(self.published(), ctx), 10, ctx)


class Cifar100(ImageDataset):
    """CIFAR-100: 60,000 colour images of 32 x 32 in a hundred classes."""

    name = "cifar100"
    source: ClassVar[str] = "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images"
    mean: Mean = CIFAR_MEAN
    std: Std = CIFAR_STD

    def published(self) -> Published:
        return _cifar(self.name, "CIFAR100", "cifar-100", ["train", "test", "meta"], "-python")

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        return self.splits(*_read_cifar(self.published(), ctx), 100, ctx)


class Mnist(ImageDataset):
    """MNIST: 70,000 handwritten digits of 28 x 28."""

    name = "mnist"
    source: ClassVar[str] = "LeCun et al. 1998, Gradient-Based Learning Applied to Document Recognition"
    image_size: Side = 32
    channels: Channels = 3
    mean: Mean = (0.5,)
    std: Std = (0.5,)
    augment: Augment = "crop"

    def published(self) -> Published:
        mirrors = ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/")
        return _mnist(self.name, "MNIST", *mirrors)

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        return self.splits(*_read_mnist(self.published(), ctx), 10, ctx)


class FashionMnist(ImageDataset):
    """Fashion-MNIST: 70,000 grey images of clothes of 28 x 28 in ten classes."""

    name = "fashion_mnist"
    source: ClassVar[str] = "Xiao et al. 2017, arXiv 1708.07747"
    image_size: Side = 32
    channels: Channels = 3
    mean: Mean = (0.5,)
    std: Std = (0.5,)

    def published(self) -> Published:
        return _mnist(self.name, "FashionMNIST", "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/")

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        return self.splits(*_read_mnist(self.published(), ctx), 10, ctx)


class Stl10(ImageDataset):
    """STL-10: 5,000 training and 8,000 test images of 96 x 96 in ten classes."""

    name = "stl10"
    source: ClassVar[str] = "Coates et al. 2011, An Analysis of Single-Layer Networks in Unsupervised Feature Learning"

    def published(self) -> Published:
        def reader() -> tuple[Any, dict[str, str]]:
            from torchvision.datasets import STL10

            # The 100,000 unlabelled images (2.6 GB) are not read, so they need not be there.
            labelled: Any = type("LabelledStl10", (STL10,), {"train_list": STL10.train_list[:2]})
            return labelled, dict([*labelled.train_list, *labelled.test_list])

        files = [f"{subset}_{kind}.bin" for subset in ("train", "test") for kind in "Xy"]
        url = "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"
        return Published(self.name, reader, "stl10_binary", files, url, options={"split": "train"})

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        import torch

        published = self.published()
        require(published, ctx)
        reader, _ = published.reader()
        sets = [reader(ctx.data_root, split=split) for split in ("train", "test")]
        train, test = ((torch.from_numpy(s.data), torch.from_numpy(s.labels).long()) for s in sets)
        return self.splits(train, test, 10, ctx)


class Svhn(ImageDataset):
    """SVHN: 73,257 training and 26,032 test digits of house numbers of 32 x 32."""

    name = "svhn"
    source: ClassVar[str] = "Netzer et al. 2011, Reading Digits in Natural Images with Unsupervised Feature Learning"
    image_size: Side = 32
    channels: Literal[1, 3] = Field(3, description="3, or 1: grey (ITU-R 601-2 luma), as in the model zoos")
    centre: int = Field(32, gt=0, le=32, description="side of the central part that is used; 28 in the model zoos")
    mean: Mean = (0.5,)
    std: Std = (0.5,)

    def published(self) -> Published:
        subsets = ("train", "test")

        def reader() -> tuple[Any, dict[str, str]]:
            from torchvision.datasets import SVHN

            def fetch(root: Path, download: bool) -> None:
                for subset in subsets:
                    SVHN(root / self.name, split=subset, download=download)

            return fetch, dict(tuple(SVHN.split_list[subset][1:]) for subset in subsets)

        files = [f"{subset}_32x32.mat" for subset in subsets]
        return Published(self.name, reader, self.name, files, f"http://ufldl.stanford.edu/housenumbers/{files[0]}")

    def load(self, ctx: Context) -> DatasetSplits:
        """See `Dataset.load`."""
        from torchvision.datasets import SVHN

        require(self.published(), ctx)
        train, test = (self._labelled(SVHN(ctx.data_root / self.name, split=subset)) for subset in ("train", "test"))
        return self.splits(train, test, 10, ctx)

    def _labelled(self, subset: Any) -> Labelled:
        import torch

        start = round((32 - self.centre) / 2)  # as torchvision's CenterCrop
        within = slice(start, start + self.centre)
        images = torch.from_numpy(subset.data)[:, :, within, within].contiguous()
        return _grey(images) if self.channels == 1 else images, torch.from_numpy(subset.labels)


def _cifar(name: str, reader_name: str, archive: str, files: list[str], end: str) -> Published:
    def reader() -> tuple[Any, dict[str, str]]:
        found, _ = of_torchvision(reader_name)()
        return found, dict([*found.train_list, *found.test_list, (found.meta["filename"], found.meta["md5"])])

    return Published(name, reader, archive + end, files, f"https://www.cs.toronto.edu/~kriz/{archive}-python.tar.gz")


def _read_cifar(published: Published, ctx: Context) -> tuple[Labelled, Labelled]:
    """Return (images, targets) of train and test."""
    import torch

    require(published, ctx)
    reader, _ = published.reader()

    def labelled(images: Any) -> Labelled:
        return torch.from_numpy(images.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(images.targets)

    return labelled(reader(ctx.data_root, train=True)), labelled(reader(ctx.data_root, train=False))


def _mnist(name: str, reader: str, *mirrors: str) -> Published:
    kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
    files = [f"{subset}-{kind}" for subset in ("train", "t10k") for kind in kinds]
    url, *others = (f"{mirror}{files[0]}.gz" for mirror in mirrors)
    return Published(name, of_torchvision(reader), f"{reader}/raw", files, url, mirrors=others)


def _read_mnist(published: Published, ctx: Context) -> tuple[Labelled, Labelled]:
    """Return (images, targets) of train and test."""
    require(published, ctx)
    files = [ctx.data_root / published.folder / file for file in published.files]
    return _idx_pair(*files[:2]), _idx_pair(*files[2:])


def _idx_pair(image_file: Path, label_file: Path) -> Labelled:
    """Return images and labels of two idx files. Raises UserError where they do not belong together."""
    from torchvision.datasets.mnist import read_image_file, read_label_file

    images, labels = _idx(image_file, read_image_file), _idx(label_file, read_label_file)
    if not len(images) or len(images) != len(labels) or labels.max() > 9:
        raise UserError(f"{image_file}: {len(images)} images, but {len(labels)} labels in {label_file.name}; {REPLACE}")
    return images[:, None], labels


def _idx(path: Path, read: Any) -> Tensor:
    try:
        return read(path)
    except (RuntimeError, ValueError, TypeError, AssertionError, KeyError):
        raise UserError(f"{path}: not a whole idx file; {REPLACE}") from None


def _grey(images: Tensor) -> Tensor:
    """Return uint8 `[E, 1, H, W]`: the luma of colour images, rounded as Pillow rounds it."""
    import torch

    weights = torch.tensor([19595, 38470, 7471], dtype=torch.int32).view(3, 1, 1)
    chunks = (((chunk * weights).sum(1, keepdim=True) + 2**15) >> 16 for chunk in images.split(4096))
    return torch.cat([chunk.to(torch.uint8) for chunk in chunks])


@hookimpl
def register_datasets(register: Any) -> None:
    """Register the image sets."""
    for dataset in (Cifar10, Cifar100, Mnist, FashionMnist, Stl10, Svhn):
        register(dataset)
