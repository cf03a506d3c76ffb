"""Data sets in their published formats, small, of gratings whose colour and direction tell the class."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torchvision
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100, MNIST, STL10, SVHN, FashionMNIST

from tests.coco import small_coco
from tests.images.helpers import idx, signed
from tests.images.test_published_sets import write_flowers, write_food, write_pets

TRAIN, TEST = 24, 10


def write(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Write every set that a recipe names, but scikit-learn's, which it brings."""
    for reader in (MNIST, FashionMNIST):
        _mnist(root / reader.__name__ / "raw")
    cifar(root, CIFAR10, "labels", 10, patch)
    cifar(root, CIFAR100, "fine_labels", 100, patch)
    _stl10(root / STL10.base_folder, patch)
    _svhn(root / "svhn", patch)
    for writer in (write_flowers, write_food, write_pets):
        writer(root, patch)
    _imagenet(root / "imagenet")
    _coco(root)
    _meshes(root / "meshes")


def gratings(targets: np.ndarray, side: int, channels: int) -> np.ndarray:
    """Return uint8 `[E, C, side, side]`, one grating of each class's own direction, width and colour, with noise."""
    random = np.random.default_rng(len(targets))
    y, x = np.mgrid[:side, :side] / side
    angle, waves = targets * 2.4, 1 + targets % 4
    phase = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    wave_ESS = np.sin(2 * np.pi * waves[:, None, None] * phase)
    colour_EC = 0.5 + 0.5 * np.sin(targets[:, None] * 1.7 + np.arange(channels) * 2)
    images = 128 + 90 * wave_ESS[:, None] * colour_EC[:, :, None, None]
    return (images + random.normal(0, 15, images.shape)).clip(0, 255).astype(np.uint8)


def _parts(classes: int) -> dict[str, np.ndarray]:
    return {"train": np.arange(TRAIN) % classes, "test": np.arange(TEST) % classes}


def _mnist(raw: Path) -> None:
    raw.mkdir(parents=True)
    for name, targets in zip(("train", "t10k"), _parts(10).values(), strict=True):
        (raw / f"{name}-images-idx3-ubyte").write_bytes(idx(gratings(targets, 28, 1)[:, 0]))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(idx(targets.astype(np.uint8)))


def cifar(root: Path, reader: type, labels: str, classes: int, patch: pytest.MonkeyPatch) -> None:
    folder = root / reader.base_folder
    folder.mkdir(parents=True)
    listed = {"train_list": TRAIN, "test_list": TEST}
    for attribute, count in listed.items():
        names = [name for name, _ in getattr(reader, attribute)]
        for number, name in enumerate(names):
            targets = np.arange(number, count, len(names)) % classes
            images = gratings(targets, 32, 3).reshape(len(targets), -1)
            (folder / name).write_bytes(pickle.dumps({"data": images, labels: targets.tolist()}))
        patch.setattr(reader, attribute, signed(folder, names))
    meta = reader.meta["filename"]
    (folder / meta).write_bytes(pickle.dumps({reader.meta["key"]: [f"class {i}" for i in range(classes)]}))
    patch.setattr(reader, "meta", reader.meta | {"md5": signed(folder, [meta])[0][1]})


def _stl10(folder: Path, patch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    for part, targets in _parts(10).items():
        (folder / f"{part}_X.bin").write_bytes(gratings(targets, 96, 3).swapaxes(2, 3).tobytes())
        (folder / f"{part}_y.bin").write_bytes((targets + 1).astype(np.uint8).tobytes())
    train = signed(folder, ["train_X.bin", "train_y.bin"])
    patch.setattr(STL10, "train_list", [*train, STL10.train_list[2]])
    patch.setattr(STL10, "test_list", signed(folder, ["test_X.bin", "test_y.bin"]))


def _svhn(folder: Path, patch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    for part, targets in _parts(10).items():
        labels = np.where(targets == 0, 10, targets)[:, None].astype(np.uint8)
        images = gratings(targets, 32, 3).transpose(2, 3, 1, 0)
        scipy.io.savemat(folder / f"{part}_32x32.mat", {"X": images, "y": labels})
    files = signed(folder, ["train_32x32.mat", "test_32x32.mat"])
    parts = {part: ["http://nowhere", *file] for part, file in zip(("train", "test"), files, strict=True)}
    patch.setattr(SVHN, "split_list", SVHN.split_list | parts)


def _imagenet(root: Path) -> None:
    """One image of each of a thousand classes in train/ and in val/."""
    images = gratings(np.arange(1000), 16, 3).transpose(0, 2, 3, 1)
    for part in ("train", "val"):
        for number, image in enumerate(images):
            folder = root / part / f"n{number:08d}"
            folder.mkdir(parents=True)
            Image.fromarray(image).save(folder / f"n{number:08d}_1.JPEG")


def _coco(root: Path) -> None:
    """COCO with its 80 categories, and a small set of the same layout."""
    names: Sequence[str] = torchvision.models.detection.FCOS_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
    categories = [{"id": i, "name": name} for i, name in enumerate(names) if name not in ("__background__", "N/A")]
    for name in ("coco", "coco_tiny"):
        small_coco.write(root / name, train=16, val=8, kind="jpg")
        for part in ("train2017", "val2017"):
            file = small_coco.file_of(root / name, part)
            file.write_text(json.dumps(json.loads(file.read_text()) | {"categories": categories}))


def _meshes(folder: Path) -> None:
    """Boxes, cylinders and tori in the four formats that are read."""
    from trimesh import creation

    folder.mkdir(parents=True)
    for number in range(16):
        size = 1 + number / 16
        shapes = (
            creation.box((1, size, 0.6)), creation.cylinder(0.5, size, sections=16),
            creation.torus(0.6 + number / 50, 0.25, major_sections=16, minor_sections=8),
        )  # fmt: skip
        shapes[number % 3].export(folder / f"shape{number:02}.{('obj', 'ply', 'off', 'stl')[number % 4]}")
