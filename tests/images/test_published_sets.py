"""Published sets of image files: what torchvision reads, and what a user reads when something is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
import torch
import torchvision
from torchvision import transforms

from pdiff.components import identity
from pdiff.errors import UserError
from pdiff_plugins.images.on_disk import Flowers102, Food101, ImageNet, OxfordPets
from tests.images.helpers import CPU, IMAGENET, PLAIN, agrees, context, message, signed, write_image

HALF = ((0.5,) * 3, (0.5,) * 3)


def write_flowers(root: Path, monkeypatch) -> Path:
    """Write two images of each of 102 classes, one for training and one for testing, and five for validation."""
    folder, reader = root / "flowers-102", torchvision.datasets.Flowers102
    order = 1 + np.random.default_rng(0).permutation(209)
    for i in order:
        write_image(folder / "jpg" / f"image_{i:05d}.jpg", i)
    labels = np.zeros((1, 209), np.uint8)
    labels[0, order - 1] = np.arange(209) % 102 + 1
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": labels})
    parts = {"trnid": order[:102], "tstid": order[102:204], "valid": order[204:]}
    scipy.io.savemat(folder / "setid.mat", {part: ids[None].astype(np.uint16) for part, ids in parts.items()})
    files = {file: (file, md5) for file, md5 in signed(folder, ["imagelabels.mat", "setid.mat"])}
    known = {"label": files["imagelabels.mat"], "setid": files["setid.mat"]}
    monkeypatch.setattr(reader, "_file_dict", reader._file_dict | known)
    return folder


def write_pets(root: Path, monkeypatch) -> Path:
    """Write three images of each of 37 breeds, two for training and one for testing."""
    folder, random = root / "oxford-iiit-pet", np.random.default_rng(0)
    (folder / "annotations").mkdir(parents=True)
    for part, numbers in (("trainval", (1, 200)), ("test", (30,))):
        rows = [(f"the_{breed:02d}_breed_{number}", breed + 1) for breed in range(37) for number in numbers]
        lines = [f"{name} {label} {label % 2 + 1} {label}" for name, label in random.permutation(rows).tolist()
                 for label in [int(label)]]  # fmt: skip
        (folder / "annotations" / f"{part}.txt").write_text("\n".join(lines) + "\n")
        for seed, (name, _) in enumerate(rows):
            write_image(folder / "images" / f"{name}.jpg", seed)
    return folder


def write_food(root: Path, monkeypatch) -> Path:
    """Write three images of each of 101 dishes, two for training and one for testing."""
    folder = root / "food-101"
    (folder / "meta").mkdir(parents=True)
    dishes = [f"dish_{i:03d}" for i in np.random.default_rng(0).permutation(101)]
    for part, numbers in (("train", (7, 3)), ("test", (5,))):
        table = {dish: [f"{dish}/{number}" for number in numbers] for dish in dishes}
        (folder / "meta" / f"{part}.json").write_text(json.dumps(table))
        for seed, file in enumerate(file for files in table.values() for file in files):
            write_image(folder / "images" / f"{file}.jpg", seed)
    return folder


class Published(NamedTuple):
    dataset: type
    write: Callable[[Path, Any], Path]
    reader: type
    train: str
    classes: int
    sizes: tuple[int, int]
    constants: tuple[tuple[float, ...], tuple[float, ...]]
    listing: str
    images: str


SETS = [
    Published(Flowers102, write_flowers, torchvision.datasets.Flowers102, "train", 102, (102, 102), HALF,
              "setid.mat", "jpg"),
    Published(OxfordPets, write_pets, torchvision.datasets.OxfordIIITPet, "trainval", 37, (74, 37), HALF,
              "annotations/trainval.txt", "images"),
    Published(Food101, write_food, torchvision.datasets.Food101, "train", 101, (202, 101), IMAGENET,
              "meta/train.json", "images"),
]  # fmt: skip
each = pytest.mark.parametrize("case", SETS, ids=lambda case: case.dataset.name)


@each
def test_a_published_set_is_read_as_torchvision_reads_it(tmp_path, monkeypatch, case):
    case.write(tmp_path, monkeypatch)
    splits = case.dataset(**PLAIN, image_size=10).load(context(tmp_path))
    assert (len(splits.train), len(splits.test)) == case.sizes
    agrees(splits.train, case.reader(tmp_path, split=case.train), 10)
    agrees(splits.test, case.reader(tmp_path, split="test"), 10)
    assert (splits.input_shape, splits.outputs) == ((3, 10, 10), case.classes)
    assert set(splits.train.targets.tolist()) == set(range(case.classes))


@each
def test_by_default_images_are_evaluated_as_in_the_paper(tmp_path, monkeypatch, case):
    folder = case.write(tmp_path, monkeypatch)
    first = case.dataset().load(context(tmp_path)).test.files[0]
    write_image(first, seed=1, size=(300, 260))
    steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
    pipeline = transforms.Compose([*steps, transforms.Normalize(*case.constants)])
    theirs, target = case.reader(tmp_path, split="test", transform=pipeline)[0]
    ours = case.dataset().load(context(tmp_path)).test.batch(torch.tensor([0]), CPU)
    assert (ours.inputs[0] - theirs).abs().max() <= 1.01 / 255 / min(case.constants[1])
    assert ours.targets.item() == target and folder in first.parents


@each
def test_validation_is_cut_from_train_by_the_seed(tmp_path, monkeypatch, case):
    case.write(tmp_path, monkeypatch)
    first, again, other = (case.dataset().load(context(tmp_path, seed=seed)) for seed in (1, 1, 2))
    whole = case.dataset(validation=0).load(context(tmp_path))
    assert len(first.validation) == round(0.1 * len(whole.train)) and len(whole.validation) == 0
    assert first.validation.files == again.validation.files != other.validation.files
    assert sorted([*first.train.files, *first.validation.files]) == sorted(whole.train.files)
    assert first.test.files == other.test.files == whole.test.files
    labels = dict(zip(whole.train.files, whole.train.targets.tolist(), strict=True))
    assert [labels[file] for file in first.validation.files] == first.validation.targets.tolist()


# --- missing and damaged


def modules() -> list[Any]:
    from torchvision.datasets import flowers102, food101, oxford_iiit_pet

    return [flowers102, food101, oxford_iiit_pet]


@each
def test_a_missing_published_set_says_what_belongs_where(tmp_path, case):
    text = message(case.dataset(), context(tmp_path))
    assert case.dataset.name in text and "is missing" in text and "run.data" in text
    assert str(tmp_path) in text and case.listing in text and ".jpg" in text


@each
def test_a_failed_download_of_a_published_set_is_one_line(tmp_path, monkeypatch, case):
    def fail(*args, **kwargs):
        raise URLError("no route\nto host")

    for module in modules():
        monkeypatch.setattr(module, "download_and_extract_archive", fail)
    text = message(case.dataset(), context(tmp_path, download=True))
    assert "download failed" in text and "no route to host" in text and "run.data" in text


@each
def test_a_downloaded_published_set_is_used(tmp_path, monkeypatch, case):
    whole = case.write(tmp_path / "elsewhere", monkeypatch)

    def fetch(*args, **options):
        shutil.copytree(whole, tmp_path / whole.name, dirs_exist_ok=True)

    for module in modules():
        monkeypatch.setattr(module, "download_and_extract_archive", fetch)
        monkeypatch.setattr(module, "download_url", lambda *args, **options: None, raising=False)
    assert len(case.dataset().load(context(tmp_path, download=True)).test) == case.sizes[1]


@each
@pytest.mark.parametrize("which", ["one", "all"])
def test_the_first_missing_image_is_named(tmp_path, monkeypatch, case, which):
    folder = case.write(tmp_path, monkeypatch)
    files = case.dataset(validation=0).load(context(tmp_path)).train.files
    missing = files[3:] if which == "one" else files
    for file in missing:
        file.unlink()
    if which == "all":
        for path in sorted((folder / case.images).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (folder / case.images).rmdir()
    text = message(case.dataset(), context(tmp_path, download=True))
    assert f"{missing[0]} is missing" in text and Path(case.listing).name in text and "run.download" in text


@each
def test_a_damaged_listing_is_named(tmp_path, monkeypatch, case):
    listing = case.write(tmp_path, monkeypatch) / case.listing
    listing.write_bytes(listing.read_bytes()[:-5])
    assert f"{listing} is damaged" in message(case.dataset(), context(tmp_path))


@pytest.mark.parametrize("case", SETS[1:], ids=lambda case: case.dataset.name)
@pytest.mark.parametrize(
    "content", ["", "null", "[3]", "{}", "dish 1", "a 0 1 1\n", '{"a": ["a/1"]}', '{"a": 1}', "\x00"]
)
def test_a_listing_of_something_else_is_named(tmp_path, monkeypatch, case, content):
    listing = case.write(tmp_path, monkeypatch) / case.listing
    listing.write_text(content)
    assert f"{listing} is damaged" in message(case.dataset(), context(tmp_path))


@each
def test_a_damaged_image_is_named_when_it_is_read(tmp_path, monkeypatch, case):
    case.write(tmp_path, monkeypatch)
    split = case.dataset(validation=0).load(context(tmp_path)).train
    split.files[5].write_bytes(split.files[5].read_bytes()[:200])
    with pytest.raises(UserError, match=f"{split.files[5].name}: not a readable image"):
        split.batch(torch.tensor([4, 5]), CPU)


@pytest.mark.parametrize("dataset", [Flowers102, OxfordPets, Food101, ImageNet])
def test_the_memory_budget_is_no_part_of_the_identity(dataset):
    assert identity(dataset(memory_gib=0)) == identity(dataset()) != identity(dataset(image_size=64))
