"""Classes that image sets leave out: no split holds them, and the others are numbered anew."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from pdiff_plugins.coco.data import CocoSegmentation
from pdiff_plugins.images.digits import Digits
from pdiff_plugins.images.in_memory import Cifar100, FashionMnist, Mnist
from pdiff_plugins.images.on_disk import ImageFolder
from tests.images.helpers import context, everything, message, write_image, write_mnist

PARTS = ("train", "validation", "test")


def test_no_split_holds_the_classes_and_the_others_follow_in_their_order():
    whole, part = (Digits(leave_out=left).load(context()) for left in ((), (7, 0)))
    old = [1, 2, 3, 4, 5, 6, 8, 9]
    assert (part.outputs, part.names) == (8, tuple(map(str, old)))
    kept = torch.isin(whole.test.targets, torch.tensor(old))
    assert [old[number] for number in part.test.targets.tolist()] == whole.test.targets[kept].tolist()
    assert torch.equal(everything(part.test).inputs, everything(whole.test).inputs[kept])
    counts = [sum(len(data.split(name)) for name in PARTS) for data in (whole, part)]
    left = sum(int(torch.isin(whole.split(name).targets, torch.tensor([0, 7])).sum()) for name in PARTS)
    assert counts[0] - counts[1] == left > 300


def test_folders_leave_classes_out_by_the_order_of_their_names(tmp_path):
    for subset in ("train", "val", "test"):
        for number in range(6):
            write_image(tmp_path / "own" / subset / "abc"[number % 3] / f"{number}.jpg", number)
    splits = ImageFolder(root="own", leave_out=(1,)).load(context(tmp_path))
    assert splits.outputs == 2
    for name in PARTS:
        split = splits.split(name)
        folders = [file.parent.name for file in split.files]
        assert (folders, split.targets.tolist()) == (["a", "a", "c", "c"], [0, 0, 1, 1])
    told = message(ImageFolder(root="own", leave_out=(3,)), context(tmp_path))
    assert told == "dataset.leave_out: 3 is no class; they are counted 0 to 2"
    told = message(ImageFolder(root="own", leave_out=(1, 2)), context(tmp_path))
    assert told == "dataset.leave_out leaves 1 of 3 classes; leave at least two"


def test_without_it_no_key_changes_and_with_it_the_key_does(tmp_path):
    write_mnist(tmp_path)
    assert "leave_out" not in Mnist().identity() and Mnist(leave_out=(4,)).identity()["leave_out"] == [4]
    assert Mnist(leave_out=(4,)).load(context(tmp_path)).outputs == 9


@pytest.mark.parametrize("dataset, options, told", [
    (Mnist, {"leave_out": (10,)}, "leave_out: 10 is no class; they are counted 0 to 9"),
    (Digits, {"leave_out": range(9)}, "leave_out leaves 1 of 10 classes; leave at least two"),
    (FashionMnist, {"leave_out": (-1,)}, "greater than or equal to 0"),
    (ImageFolder, {"root": "own", "leave_out": (0,), "outputs": 9}, "classes and outputs say their numbers"),
    (CocoSegmentation, {"leave_out": (0,)}, "an image has pixels of many classes; name those that count in classes"),
])  # fmt: skip
def test_mistakes_are_told_when_the_recipe_is_read(dataset, options, told):
    with pytest.raises(ValidationError, match=told):
        dataset(**options)
    assert Cifar100(leave_out=(99,)).leave_out == (99,)
