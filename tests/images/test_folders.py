"""ImageNet and a folder of images: what they hold, how they are cut, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from pdiff.components import identity
from pdiff_plugins.images.on_disk import ImageFolder, ImageNet
from tests.images.helpers import CPU, IMAGENET, context, everything, message


def write_imagenet(root: Path, classes: int = 1000) -> Path:
    """Write an image per class and part; four colours take turns."""
    stored = []
    for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 250)):
        stream = io.BytesIO()
        Image.new("RGB", (8, 8), colour).save(stream, "jpeg")
        stored.append(stream.getvalue())
    for i in range(classes):
        for part, name in (("train", f"n{i:08d}_7"), ("val", f"ILSVRC2012_val_{classes - i:08d}")):
            folder = root / part / f"n{i:08d}"
            folder.mkdir(parents=True)
            (folder / f"{name}.JPEG").write_bytes(stored[i % 4])
    return root


def test_imagenet_counts_its_folders_and_tests_on_val(tmp_path):
    write_imagenet(tmp_path / "imagenet")
    splits = ImageNet(image_size=8, augment="none").load(context(tmp_path))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [900, 100, 1000]
    assert (splits.input_shape, splits.outputs) == ((3, 8, 8), 1000)
    assert splits.test.targets.tolist() == list(range(1000))
    assert all("/val/" in file.as_posix() for file in splits.test.files)
    assert all("/train/" in file.as_posix() for file in [*splits.train.files, *splits.validation.files])
    blue = splits.test.batch(torch.tensor([2]), CPU).inputs[0, :, 4, 4]
    expected = [(value / 255 - m) / s for value, m, s in zip((0, 0, 250), *IMAGENET, strict=True)]
    assert blue.tolist() == pytest.approx(expected, abs=0.05)


def test_imagenet_may_lie_anywhere_under_the_same_key(tmp_path):
    write_imagenet(tmp_path / "there")
    dataset = ImageNet(root=str(tmp_path / "there"))
    assert len(dataset.load(context("nowhere")).test) == 1000
    assert identity(dataset) == identity(ImageNet()) and not dataset.content(tmp_path)


def test_a_missing_imagenet_is_asked_for(tmp_path):
    text = message(ImageNet(), context(tmp_path, download=True))
    assert (
        f"{tmp_path / 'imagenet' / 'train'} is missing" in text and "image-net.org" in text and "dataset.root" in text
    )


def test_an_imagenet_that_is_not_whole_is_refused(tmp_path):
    root = write_imagenet(tmp_path / "imagenet", 999)
    text = message(ImageNet(), context(tmp_path))
    assert f"{root / 'train'} has 999 class folders" in text and "image_folder" in text
    write_imagenet(root / "more", 1000)
    (root / "more" / "train" / "n00000999").rename(root / "train" / "n00000999")
    assert "class 'n00000999' is in train/ and not in val/" in message(ImageNet(), context(tmp_path))


def test_a_flat_val_folder_is_refused(tmp_path):
    root = write_imagenet(tmp_path / "imagenet", 3)
    (root / "val").rename(root / "kept")
    (root / "val").mkdir()
    (root / "val" / "ILSVRC2012_val_00000001.JPEG").write_bytes(b"")
    assert "put one subfolder of images per class there" in message(ImageNet(), context(tmp_path))


# --- a folder of images


def write_folder(root: Path, **parts: int) -> Path:
    """Write `count` images per class and part, each of its own size; the class decides the colour."""
    for part, count in parts.items():
        for label, colour in (("ant", (250, 0, 0)), ("bee", (0, 250, 0)), ("cat", (0, 0, 250))):
            (root / part / label).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (20 + i, 30 - i), colour).save(root / part / label / f"{i}.png")
    return root


def test_an_image_folder_with_three_parts(tmp_path):
    write_folder(tmp_path / "pets", train=6, val=2, test=3)
    splits = ImageFolder(root="pets", image_size=16, mean=(0.0,), std=(1.0,)).load(context(tmp_path))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [18, 6, 9]
    assert (splits.input_shape, splits.outputs) == ((3, 16, 16), 3)
    for split in (splits.train, splits.validation, splits.test):
        batch = everything(split)
        assert torch.equal(batch.inputs.mean((2, 3)).argmax(1), batch.targets)
        assert torch.equal(batch.targets, split.targets)


@pytest.mark.parametrize("part", ["val", "test"])
def test_without_both_the_second_part_is_the_test_split(tmp_path, part):
    write_folder(tmp_path, **{"train": 10, part: 2})
    load = ImageFolder(root=str(tmp_path), validation=0.2, image_size=16).load
    first, again, other = (load(context(seed=seed)) for seed in (1, 1, 2))
    assert [len(split) for split in (first.train, first.validation, first.test)] == [24, 6, 6]
    assert all(f"/{part}/" in file.as_posix() for file in first.test.files)
    assert first.validation.files == again.validation.files != other.validation.files
    assert not set(first.train.files) & set(first.validation.files)
    assert len(ImageFolder(root=str(tmp_path), validation=0).load(context()).train) == 30


def test_an_ignored_validation_option_is_said(tmp_path):
    write_folder(tmp_path, train=2, val=1, test=1)
    said: list[str] = []
    ImageFolder(root=str(tmp_path), validation=0.5).load(context(warn=said.append))
    ImageFolder(root=str(tmp_path)).load(context(warn=said.append))
    assert len(said) == 1 and "dataset.validation = 0.5 is ignored" in said[0]


@pytest.mark.parametrize("parts", [{}, {"train": 2}, {"test": 2, "val": 2}])
def test_an_image_folder_without_train_or_test_is_refused(tmp_path, parts):
    write_folder(tmp_path, **parts)
    assert f"{tmp_path}: needs train/ and test/" in message(ImageFolder(root=str(tmp_path)), context())


def test_classes_must_agree(tmp_path):
    write_folder(tmp_path, train=2, test=2)
    (tmp_path / "test" / "bee").rename(tmp_path / "test" / "wasp")
    assert "class 'bee' is in train/ and not in test/" in message(ImageFolder(root=str(tmp_path)), context())


def test_an_empty_class_is_named(tmp_path):
    write_folder(tmp_path, train=2, test=2)
    (tmp_path / "train" / "dog").mkdir()
    assert "dog" in message(ImageFolder(root=str(tmp_path)), context())


def test_a_holdout_of_nothing_is_refused(tmp_path):
    write_folder(tmp_path, train=1, test=1)
    assert "dataset.validation = 0.1 of 3" in message(ImageFolder(root=str(tmp_path)), context())


def test_an_image_that_changes_in_place_counts_as_other_data(tmp_path):
    write_folder(tmp_path, train=2, test=1)
    image, dataset = next((tmp_path / "train" / "cat").iterdir()), ImageFolder(root=str(tmp_path))
    before, data = dataset.content(tmp_path), image.read_bytes()
    image.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert dataset.content(tmp_path) != before
    image.write_bytes(data)
    (tmp_path / "notes.txt").write_text("not read")
    assert dataset.content(tmp_path) == before


# --- a network with more outputs than the folder has classes

NUMBERS = {"cat": 7, "ant": 2, "bee": 4}


def test_classes_say_which_output_a_folder_is(tmp_path):
    write_folder(tmp_path, train=6, val=2, test=2)
    splits = ImageFolder(root=str(tmp_path), classes=NUMBERS, outputs=9, image_size=16).load(context())
    assert splits.outputs == 9
    for split in (splits.train, splits.validation, splits.test):
        assert all(NUMBERS[file.parent.name] == target for file, target in zip(split.files, split.targets, strict=True))
    assert ImageFolder(root=str(tmp_path), classes=NUMBERS).load(context()).outputs == 8
    plain = ImageFolder(root=str(tmp_path), outputs=9).load(context())
    assert plain.outputs == 9 and set(plain.train.targets.tolist()) == {0, 1, 2}


def test_two_folders_may_be_one_class(tmp_path):
    write_folder(tmp_path, train=4, test=1)
    splits = ImageFolder(root=str(tmp_path), classes={"ant": 0, "bee": 0, "cat": 1}).load(context())
    assert splits.outputs == 2 and splits.test.targets.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": {"ant": 0, "bee": 1}}, "dataset.classes: does not name the class 'cat' of"),
        ({"classes": {"ant": 0, "bees": 1, "cat": 2}}, "'bee'"),
        ({"classes": {"ant": 0, "bee": 1, "cat": 2, "cow": 3}}, "dataset.classes.cow: "),
        ({"outputs": 2}, "dataset.outputs = 2: "),
    ],
)
def test_classes_that_are_not_the_folders_are_refused(tmp_path, options, words):
    write_folder(tmp_path, train=2, test=2)
    text = message(ImageFolder(root=str(tmp_path), **options), context())
    assert words in text and "\n" not in text


@pytest.mark.parametrize("options", [{"classes": {"ant": 3}, "outputs": 3}, {"classes": {"ant": -1}}, {"outputs": -1}])
def test_outputs_that_cannot_be_are_refused_with_the_recipe(options):
    with pytest.raises(ValidationError):
        ImageFolder(root="pets", **options)


def test_new_options_leave_the_keys_of_runs_as_they_are():
    assert not {"classes", "outputs", "resize", "test_examples"} & set(identity(ImageFolder(root="pets")))
    assert identity(ImageFolder(root="pets", classes=NUMBERS)) != identity(ImageFolder(root="pets"))


def test_of_a_large_test_split_some_can_be_drawn_once(tmp_path):
    write_folder(tmp_path, train=4, test=8)
    whole, some, again, more = (
        ImageFolder(root=str(tmp_path), test_examples=count).load(context()).test for count in (0, 5, 5, 100)
    )
    assert more.files == whole.files and again.files == some.files and len(some) == 5
    places = [whole.files.index(file) for file in some.files]
    assert places == sorted(set(places)) != list(range(5))
    assert torch.equal(whole.targets[places], some.targets)


def test_images_of_the_right_size_are_taken_as_they_are(tmp_path):
    """Without `resize` an image of 224 pixels is enlarged to 256 and cut, as the published settings have it."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (224, 224, 3), generator=generator, dtype=torch.uint8)
    for part in ("train", "test"):
        (tmp_path / part / "one").mkdir(parents=True)
        for i in range(2):
            Image.fromarray(pixels.numpy()).save(tmp_path / part / "one" / f"{i}.png")
    options = {"root": str(tmp_path), "mean": (0.0,), "std": (1.0,), "validation": 0.0}
    whole, cut = (everything(ImageFolder(**options, resize=r).load(context()).test).inputs for r in (224, 0))
    assert torch.equal((whole[0] * 255).round().byte(), pixels.permute(2, 0, 1))
    assert (whole - cut).abs().mean() > 0.05


def test_less_than_what_is_cut_from_it_is_refused():
    with pytest.raises(ValidationError, match="resize = 200 is less than image_size = 224"):
        ImageFolder(root="pets", resize=200)
