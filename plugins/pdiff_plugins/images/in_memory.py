"""Image classification sets that fit into memory: CIFAR, MNIST, Fashion-MNIST, STL-10 and SVHN."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from pdiff import hookimpl
from pdiff.errors import UserError
from pdiff_plugins.images.dataset import Augment, Channels, ImageDataset, Labelled, Mean, Side, Std
from pdiff_plugins.images.published import Published, of_torchvision, require

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.data import DatasetSplits

CIFAR_MEAN, CIFAR_STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
REPLACE = "put the whole files there, or delete the folder and run again with run.download = true"


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
