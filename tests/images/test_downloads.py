"""Sets that are missing, damaged or half downloaded: what a user reads."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torchvision

from pdiff_plugins.images.in_memory import Cifar10, Cifar100, FashionMnist, Mnist, Stl10, Svhn
from pdiff_plugins.images.on_disk import Flowers102, Food101, OxfordPets
from tests.images.helpers import context, idx, message, write_cifar, write_mnist, write_stl10, write_svhn

DOWNLOADED = [Cifar10, Cifar100, Mnist, FashionMnist, Stl10, Svhn]


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


def test_what_is_told_of_a_set_without_torchvision_is_what_it_fetches() -> None:
    sets = torchvision.datasets
    for dataset, theirs in ((Cifar10, sets.CIFAR10), (Cifar100, sets.CIFAR100), (Stl10, sets.STL10)):
        published = dataset().published()
        assert (published.url, published.folder) == (theirs.url, theirs.base_folder)
    for dataset, theirs in ((Mnist, sets.MNIST), (FashionMnist, sets.FashionMNIST)):
        published, file = dataset().published(), theirs.resources[0][0]
        assert [published.url, *published.mirrors] == [f"{mirror}{file}" for mirror in theirs.mirrors]
        assert published.files == [name.removesuffix(".gz") for name, _ in theirs.resources]
    for dataset in (Cifar10, Cifar100, Stl10, Svhn):
        published = dataset().published()
        assert published.files == list(published.reader()[1])
    assert Svhn().published().url == sets.SVHN.split_list["train"][0]
    flowers = Flowers102().published()
    assert flowers.url == sets.Flowers102._download_url_prefix + sets.Flowers102._file_dict["image"][0]
    assert flowers.files == [sets.Flowers102._file_dict[key][0] for key in ("setid", "label")]
    assert OxfordPets().published().url == sets.OxfordIIITPet._RESOURCES[0][0]
    assert Food101().published().url == sets.Food101._URL
