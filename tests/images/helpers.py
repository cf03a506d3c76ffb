"""Tiny sets in torchvision's formats, and what a user reads about them."""

from __future__ import annotations

import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
import torchvision
from PIL import Image

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff_plugins.images.splits import ImageSplit

CPU = torch.device("cpu")


def context(root: Path | str = "data", seed: int = 1, download: bool = False, **more) -> Context:
    return Context(seed=seed, data_root=Path(root), download=download, **more)


def everything(split):
    return split.batch(torch.arange(len(split)), CPU)


def message(dataset, ctx: Context) -> str:
    with pytest.raises(UserError) as caught:
        dataset.load(ctx)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def write_mnist(root: Path, name: str = "MNIST", train: int = 40, test: int = 12) -> Path:
    raw, random = root / name / "raw", np.random.default_rng(0)
    raw.mkdir(parents=True)
    for part, count in (("train", train), ("t10k", test)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(random.integers(0, 256, (count, 28, 28), np.uint8)))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(random.integers(0, 10, count, np.uint8)))
    return raw


def signed(folder: Path, names: list[str]) -> list[list[str]]:
    return [[name, hashlib.md5((folder / name).read_bytes()).hexdigest()] for name in names]


def write_cifar(root: Path, reader, labels: str, monkeypatch) -> Path:
    """Write a CIFAR set with ten images a file, and let the reader expect these files."""
    folder, random = root / reader.base_folder, np.random.default_rng(0)
    folder.mkdir(parents=True)
    names = [[name for name, _ in part] for part in (reader.train_list, reader.test_list)]
    for name in names[0] + names[1]:
        batch = {"data": random.integers(0, 256, (10, 3072), np.uint8), labels: list(range(10))}
        (folder / name).write_bytes(pickle.dumps(batch))
    meta = reader.meta["filename"]
    (folder / meta).write_bytes(pickle.dumps({reader.meta["key"]: list("abcdefghij")}))
    monkeypatch.setattr(reader, "train_list", signed(folder, names[0]))
    monkeypatch.setattr(reader, "test_list", signed(folder, names[1]))
    monkeypatch.setattr(reader, "meta", reader.meta | {"md5": signed(folder, [meta])[0][1]})
    return folder


def write_stl10(root: Path, monkeypatch) -> Path:
    reader, random = torchvision.datasets.STL10, np.random.default_rng(0)
    folder = root / reader.base_folder
    folder.mkdir(parents=True)
    for part, count in (("train", 20), ("test", 10)):
        (folder / f"{part}_X.bin").write_bytes(random.integers(0, 256, (count, 3, 96, 96), np.uint8).tobytes())
        (folder / f"{part}_y.bin").write_bytes(bytes(1 + i % 10 for i in range(count)))
    train = signed(folder, ["train_X.bin", "train_y.bin"])
    monkeypatch.setattr(reader, "train_list", [*train, reader.train_list[2]])
    monkeypatch.setattr(reader, "test_list", signed(folder, ["test_X.bin", "test_y.bin"]))
    return folder


def write_svhn(root: Path, monkeypatch) -> Path:
    """Write 20 and 13 images; classes are 1 to 10, and 10 means the digit 0."""
    reader, random, folder = torchvision.datasets.SVHN, np.random.default_rng(0), root / "svhn"
    folder.mkdir(parents=True)
    for part, count in (("train", 20), ("test", 13)):
        images, labels = random.integers(0, 256, (32, 32, 3, count), np.uint8), np.arange(count)[:, None] % 10 + 1
        scipy.io.savemat(folder / f"{part}_32x32.mat", {"X": images, "y": labels.astype(np.uint8)})
    files = signed(folder, ["train_32x32.mat", "test_32x32.mat"])
    parts = {part: ["http://nowhere", *file] for part, file in zip(("train", "test"), files, strict=True)}
    monkeypatch.setattr(reader, "split_list", reader.split_list | parts)
    return folder


def agrees(split: ImageSplit, dataset, size: int) -> None:
    """Check images and targets against what torchvision hands out."""
    got = everything(split)
    for image, target, (pillow, label) in zip(got.inputs, got.targets, dataset, strict=True):
        pixels = np.asarray(pillow.resize((size, size), Image.Resampling.BILINEAR)).reshape(size, size, -1)
        assert (image * 255 - torch.tensor(pixels).permute(2, 0, 1)).abs().max() <= 1.01
        assert target == label


PLAIN = {"mean": (0.0,), "std": (1.0,), "validation": 0.0}


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def write_image(path: Path, seed: int, size: tuple[int, int] = (20, 20)) -> None:
    """Write a jpg of few colours, which differ by seed; `size` is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), np.uint8)
    Image.fromarray(colours).resize(size).save(path, quality=95)
