"""The sets in memory: what torchvision reads, from tiny files and from the real ones."""

from __future__ import annotations

import gzip
import subprocess
import sys

import pytest
import torch
import torchvision

from pdiff_plugins.images.in_memory import Cifar10, Cifar100, FashionMnist, Mnist, Stl10, Svhn
from tests.helpers import SHARED
from tests.images.helpers import (
    CPU,
    PLAIN,
    agrees,
    context,
    everything,
    write_cifar,
    write_mnist,
    write_stl10,
    write_svhn,
)


@pytest.mark.parametrize(("dataset", "reader"), [(Mnist, "MNIST"), (FashionMnist, "FashionMNIST")])
def test_mnist_is_read_as_torchvision_reads_it(tmp_path, dataset, reader):
    write_mnist(tmp_path, reader)
    splits = dataset(**PLAIN, image_size=20, channels=1).load(context(tmp_path, download=True))
    agrees(splits.train, getattr(torchvision.datasets, reader)(tmp_path, train=True), 20)
    agrees(splits.test, getattr(torchvision.datasets, reader)(tmp_path, train=False), 20)
    default = dataset().load(context(tmp_path))
    assert (len(default.train), len(default.validation), default.input_shape) == (36, 4, (3, 32, 32))


@pytest.mark.parametrize(("dataset", "labels"), [(Cifar10, "labels"), (Cifar100, "fine_labels")])
def test_cifar_is_read_as_torchvision_reads_it(tmp_path, monkeypatch, dataset, labels):
    reader = getattr(torchvision.datasets, dataset.__name__.upper())
    write_cifar(tmp_path, reader, labels, monkeypatch)
    splits = dataset(**PLAIN, image_size=32).load(context(tmp_path))
    agrees(splits.train, reader(tmp_path, train=True), 32)
    agrees(splits.test, reader(tmp_path, train=False), 32)
    assert (splits.input_shape, splits.outputs) == ((3, 32, 32), 10 if dataset is Cifar10 else 100)
    some = dataset(**PLAIN, image_size=32, test_examples=3).load(context(tmp_path)).test
    assert len(some) == 3 and set(some.targets.tolist()) <= set(splits.test.targets.tolist())


def test_stl10_is_read_without_its_unlabelled_part(tmp_path, monkeypatch):
    write_stl10(tmp_path, monkeypatch)
    splits = Stl10(**PLAIN, image_size=48).load(context(tmp_path))
    monkeypatch.setattr(torchvision.datasets.STL10, "train_list", torchvision.datasets.STL10.train_list[:2])
    agrees(splits.train, torchvision.datasets.STL10(tmp_path, split="train"), 48)
    agrees(splits.test, torchvision.datasets.STL10(tmp_path, split="test"), 48)


def test_svhn_is_read_as_torchvision_reads_it(tmp_path, monkeypatch):
    folder = write_svhn(tmp_path, monkeypatch)
    splits = Svhn(**PLAIN).load(context(tmp_path))
    for split, part in ((splits.train, "train"), (splits.test, "test")):
        assert split.images.dtype == torch.uint8
        agrees(split, torchvision.datasets.SVHN(folder, split=part), 32)
    assert splits.test.targets.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3]
    assert (splits.input_shape, splits.outputs) == ((3, 32, 32), 10)
    default = Svhn().load(context(tmp_path))
    assert [len(part) for part in (default.train, default.validation, default.test)] == [18, 2, 13]
    pixel = torchvision.datasets.SVHN(folder, split="test").data[4, 1, 7, 9]
    assert everything(default.test).inputs[4, 1, 7, 9].item() == pytest.approx((pixel / 255 - 0.5) / 0.5, abs=1e-6)


@pytest.mark.parametrize("side", [28, 29])
def test_grey_svhn_is_cropped_and_mixed_as_by_torchvision(tmp_path, monkeypatch, side):
    folder = write_svhn(tmp_path, monkeypatch)
    splits = Svhn(channels=1, centre=side, image_size=side, validation=0).load(context(tmp_path))
    transforms = torchvision.transforms
    steps = [transforms.Grayscale(), transforms.CenterCrop(side), transforms.ToTensor(), transforms.Normalize(0.5, 0.5)]
    theirs = torchvision.datasets.SVHN(folder, split="train", transform=transforms.Compose(steps))
    assert splits.input_shape == (1, side, side)
    torch.testing.assert_close(everything(splits.train).inputs, torch.stack([image for image, _ in theirs]))


# --- the real sets


@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason="needs the shared data")
def test_the_real_mnist(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in (SHARED / "mnist").glob("*.gz"):
        (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    splits = Mnist().load(context(tmp_path))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [54_000, 6_000, 10_000]
    assert splits.test.targets.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "cifar10").is_dir(), reason="needs the shared data")
def test_the_real_cifar10(tmp_path):
    subprocess.run([sys.executable, SHARED / "unpack_cifar10.py", tmp_path], check=True)
    splits = Cifar10(image_size=32).load(context(tmp_path))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [45_000, 5_000, 10_000]
    assert splits.test.targets.bincount().tolist() == [1000] * 10
    inputs = splits.train.batch(torch.arange(10_000), CPU).inputs
    # The published mean and deviation standardise the set.
    assert (inputs.mean((0, 2, 3)).abs() < 0.1).all() and ((inputs.std((0, 2, 3)) - 1).abs() < 0.1).all()
