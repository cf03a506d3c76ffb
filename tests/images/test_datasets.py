"""The image sets in memory: what they hold, how they are cut, and what a user reads when something is missing."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
import torch
import torchvision
from PIL import Image
from pydantic import ValidationError

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff_plugins.images.digits import Digits
from pdiff_plugins.images.in_memory import Cifar10, Cifar100, FashionMnist, Mnist, Stl10, Svhn
from pdiff_plugins.images.splits import ImageSplit
from tests.helpers import SHARED

CPU = torch.device("cpu")
DOWNLOADED = [Cifar10, Cifar100, Mnist, FashionMnist, Stl10, Svhn]


def context(root: Path | str = "data", seed: int = 1, download: bool = False, **more) -> Context:
    return Context(seed=seed, data_root=Path(root), download=download, **more)


def everything(split):
    return split.batch(torch.arange(len(split)), CPU)


def message(dataset, ctx: Context) -> str:
    with pytest.raises(UserError) as caught:
        dataset.load(ctx)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- digits


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    splits = Digits(image_size=8, mean=(0.0,), std=(1.0,)).load(context())
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [1038, 259, 500]
    assert (splits.input_shape, splits.outputs) == ((1, 8, 8), 10)
    pixels, labels = load_digits(return_X_y=True)
    test = everything(splits.test)
    assert torch.allclose(test.inputs.flatten(1) * 16, torch.tensor(pixels[-500:]).float(), atol=0.5 * 16 / 255 + 1e-5)
    assert test.targets.tolist() == labels[-500:].tolist()


def test_the_digits_are_standardised_by_default():
    inputs = everything(Digits(image_size=8).load(context()).train).inputs
    assert abs(inputs.mean()) < 0.02 and abs(inputs.std() - 1) < 0.02


def test_the_holdout_follows_the_seed_and_the_test_split_does_not():
    first, again, other = (Digits().load(context(seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(everything(first.validation).inputs, everything(again.validation).inputs)
    assert not torch.equal(first.validation.targets, other.validation.targets)
    assert torch.equal(everything(first.test).inputs, everything(other.test).inputs)


def test_train_and_validation_are_disjoint_and_cover_the_rest():
    splits = Digits(image_size=8).load(context())
    images = torch.cat([everything(part).inputs for part in (splits.train, splits.validation)]).flatten(1)
    whole = everything(Digits(image_size=8, validation=0).load(context()).train).inputs.flatten(1)
    assert sorted(images.tolist()) == sorted(whole.tolist())


def test_without_validation_train_is_whole_and_in_order():
    splits = Digits(validation=0.0).load(context())
    assert (len(splits.train), len(splits.validation)) == (1297, 0)
    assert everything(splits.validation).inputs.shape == (0, 1, 16, 16)
    assert splits.train.targets[:5].tolist() == [0, 1, 2, 3, 4]


def test_grey_images_become_colour_on_request():
    splits = Digits(channels=3, mean=(0.1, 0.2, 0.3)).load(context())
    inputs = everything(splits.test).inputs
    assert splits.input_shape == (3, 16, 16) == tuple(inputs.shape[1:])
    assert torch.allclose(inputs[:, 0] - inputs[:, 2], torch.tensor(0.2 / 0.376), atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"mean": [0.5, 0.5]},
        {"std": [0.0]},
        {"std": []},
        {"crop_scale": [0.5, 0.4]},
        {"crop_scale": [0.0, 1.0]},
        {"validation": 1.0},
        {"image_size": 0},
        {"augment": "blur"},
    ],
)
@pytest.mark.parametrize("dataset", [Digits, Cifar10])
def test_options_out_of_bounds_are_refused(dataset, options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        dataset(**options)


def test_importing_the_plugins_imports_no_heavy_library():
    modules = "pdiff_plugins.images.in_memory, pdiff_plugins.images.on_disk, pdiff_plugins.images.digits"
    code = f"import sys, {modules}; print({{'torch', 'numpy', 'PIL'}} & set(sys.modules))"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout == "set()\n"


# --- sets in torchvision's formats, tiny


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
    assert torch.equal(everything(splits.train).inputs, torch.stack([image for image, _ in theirs]))


def test_a_downloaded_svhn_is_used(tmp_path, monkeypatch):
    whole = {path.name: path.read_bytes() for path in write_svhn(tmp_path / "elsewhere", monkeypatch).iterdir()}

    def fetch(url, root, filename, md5):
        Path(root).mkdir(parents=True, exist_ok=True)
        (Path(root) / filename).write_bytes(whole[filename])

    monkeypatch.setattr(torchvision.datasets.svhn, "download_url", fetch)
    assert len(Svhn().load(context(tmp_path / "data", download=True)).test) == 13


@pytest.mark.parametrize("file", ["train_32x32.mat", "test_32x32.mat"])
def test_a_truncated_svhn_is_never_used(tmp_path, monkeypatch, file):
    path = write_svhn(tmp_path, monkeypatch) / file
    path.write_bytes(path.read_bytes()[:-100])
    assert f"{path} is damaged" in message(Svhn(), context(tmp_path, download=True))


# --- missing and damaged


@pytest.mark.parametrize("dataset", DOWNLOADED)
def test_a_missing_set_says_where_it_was_looked_for(tmp_path, dataset):
    text = message(dataset(), context(tmp_path))
    assert dataset.name in text and str(tmp_path) in text and "missing" in text and "run.data" in text


@pytest.mark.parametrize("dataset", DOWNLOADED)
def test_a_failed_download_is_one_line(tmp_path, monkeypatch, dataset):
    def fail(*args, **kwargs):
        raise URLError("no route\nto host")

    for module in (torchvision.datasets.cifar, torchvision.datasets.mnist, torchvision.datasets.stl10):
        monkeypatch.setattr(module, "download_and_extract_archive", fail)
    monkeypatch.setattr(torchvision.datasets.svhn, "download_url", fail)
    text = message(dataset(), context(tmp_path, download=True))
    assert "download failed" in text and "no route to host" in text and "run.data" in text


def test_a_download_happens_only_where_nothing_lies(tmp_path, monkeypatch):
    raw = write_mnist(tmp_path)
    stray = raw / "t10k-labels-idx1-ubyte"
    stray.unlink()
    kept = {path.name: path.read_bytes() for path in raw.iterdir()}

    def refuse(*args, **kwargs):
        raise AssertionError("downloads over the user's files")

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", refuse)
    text = message(Mnist(), context(tmp_path, download=True))
    assert str(stray) in text and "missing" in text and f"delete {raw} to download it again" in text
    assert kept == {path.name: path.read_bytes() for path in raw.iterdir()}


def test_a_download_is_used(tmp_path, monkeypatch):
    def fetch(url, download_root, filename, md5):
        if not any(Path(download_root).iterdir()):
            Path(download_root).rmdir()
            write_mnist(tmp_path)

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", fetch)
    assert len(Mnist().load(context(tmp_path, download=True)).test) == 12


@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_half_downloaded_cifar_is_never_used(tmp_path, monkeypatch, file, damage):
    folder = write_cifar(tmp_path, torchvision.datasets.CIFAR10, "labels", monkeypatch)
    whole = (folder / file).read_bytes()
    (folder / file).unlink()
    if damage == "damaged":
        (folder / file).write_bytes(whole[:-100])
    text = message(Cifar10(), context(tmp_path))
    assert f"{folder / file} is {damage}" in text


def test_a_truncated_stl10_is_never_used(tmp_path, monkeypatch):
    file = write_stl10(tmp_path, monkeypatch) / "test_X.bin"
    file.write_bytes(file.read_bytes()[: 5 * 3 * 96 * 96])
    assert f"{file} is damaged" in message(Stl10(), context(tmp_path))


@pytest.mark.parametrize("length", [0, 3, 4, 10, 16, 3000])
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_truncated_idx_file_is_named(tmp_path, file, length):
    path = write_mnist(tmp_path) / file
    length = min(length, path.stat().st_size - 1)
    path.write_bytes(path.read_bytes()[:length])
    assert str(path) in message(Mnist(), context(tmp_path))


def test_images_and_labels_must_go_together(tmp_path):
    raw = write_mnist(tmp_path)
    (raw / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(11, np.uint8)))
    text = message(Mnist(), context(tmp_path))
    assert "t10k-images-idx3-ubyte" in text and "12 images" in text and "11 labels" in text


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
