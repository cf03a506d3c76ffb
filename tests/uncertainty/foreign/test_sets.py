"""Foreign examples against the datasets that they come from, and in the form of the run's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from pdiff.data import DatasetSplits, TensorSplit
from pdiff.errors import UserError
from pdiff_plugins.fields.shapes.plane import Shapes2d
from pdiff_plugins.images.digits import Digits
from pdiff_plugins.images.in_memory import Cifar10, FashionMnist, Mnist
from pdiff_plugins.images.on_disk import ImageFolder
from pdiff_plugins.part import Part
from pdiff_plugins.tables.arrays import Arrays
from pdiff_plugins.uncertainty.foreign.entries import CHANGES
from pdiff_plugins.uncertainty.foreign.sets import foreign
from tests.images.helpers import CPU, context, everything, write_cifar, write_image, write_mnist
from tests.uncertainty.foreign.helpers import DIGITS8, pixels, run_on


def test_changes_are_of_the_test_split():
    dataset = Digits(**DIGITS8, leave_out=(9,))
    view = run_on(dataset)
    splits = foreign(view, CHANGES, context(seed=4))
    assert list(splits) == list(CHANGES)
    x = pixels(view.bench.examples("test"), dataset)
    given = {name: pixels(split, dataset) for name, split in splits.items()}
    for name, wanted in (
        ("rotated", x.transpose(2, 3).flip(2)), ("upside_down", x.flip(2, 3)), ("inverted", 1 - x),
    ):  # fmt: skip
        torch.testing.assert_close(given[name], wanted, atol=1e-6, rtol=0)
    flat, shuffled = x.flatten(1), given["shuffled"].flatten(1)
    torch.testing.assert_close(shuffled.sort().values, flat.sort().values, atol=1e-6, rtol=0)
    assert (shuffled - flat).abs().amax(1).min() > 0.1
    assert given["noise"].mean() == pytest.approx(0.5, abs=0.01) and given["noise"].min() < 0.01
    again = foreign(view, CHANGES, context(seed=5))
    assert all(torch.equal(pixels(again[name], dataset), given[name]) for name in CHANGES)


def test_classes_left_out_are_the_test_images_that_training_never_saw():
    whole, part = Digits(**DIGITS8), Digits(**DIGITS8, leave_out=(8, 3))
    every, test = (
        run_on(whole).bench.examples("test"),
        everything(foreign(run_on(part), ["left_out"], context())["left_out"]),
    )
    kept = (every.targets == 8) | (every.targets == 3)
    torch.testing.assert_close(test.inputs, everything(every).inputs[kept], atol=1e-6, rtol=0)
    assert set(test.targets.tolist()) == {3, 8}
    within = run_on(Part(of=part, test=20))
    assert len(foreign(within, ["left_out"], context())["left_out"]) == len(test.targets)
    few = Digits(image_size=8, leave_out=(3, 7), test_examples=1)
    with pytest.raises(UserError, match="foreign, left_out: the test split holds none of it"):
        foreign(run_on(few), ["left_out"], context())


@pytest.mark.parametrize("side, wanted", [(8, Digits(**DIGITS8)), (28, Mnist(image_size=28, channels=3))])
def test_digits_and_mnist_come_in_each_others_form(tmp_path, side, wanted):
    write_mnist(tmp_path)
    form = {"image_size": side, "mean": wanted.mean, "std": wanted.std, "channels": wanted.shape[0]}
    for other in (Mnist, Digits):
        given = everything(foreign(run_on(wanted, root=tmp_path), [other()], context(tmp_path))[other.name])
        own = everything(other(**form).load(context(tmp_path)).test)
        torch.testing.assert_close(given.inputs, own.inputs, atol=2e-6, rtol=0)
        assert torch.equal(given.targets, own.targets)


def test_colour_becomes_grey_and_grey_colour(tmp_path, monkeypatch):
    folder = write_cifar(tmp_path, torchvision.datasets.CIFAR10, "labels", monkeypatch)
    grey = Mnist(image_size=32, channels=1)
    write_mnist(tmp_path)
    given = pixels(foreign(run_on(grey, root=tmp_path), [Cifar10()], context(tmp_path))["cifar10"], grey)
    for image, array in zip(given, torchvision.datasets.CIFAR10(folder.parent, train=False).data, strict=True):
        assert np.abs(image[0].numpy() * 255 - np.asarray(Image.fromarray(array).convert("L"))).max() <= 1
    colour = Cifar10(image_size=32)
    digits = everything(foreign(run_on(colour, root=tmp_path), [Digits()], context(tmp_path))["digits"]).inputs
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (colour.mean, colour.std))
    seen = digits * std + mean
    assert digits.shape[1:] == (3, 32, 32) and (seen - seen[:, :1]).abs().max() < 1e-5


def test_a_part_of_a_set_and_a_folder_of_images_are_sets_too(tmp_path):
    for subset in ("train", "test"):
        for number in range(8):
            write_image(tmp_path / "own" / subset / f"class{number % 2}" / f"{number}.jpg", number, (20, 30))
    view = run_on(Part(of=Digits(**DIGITS8), test=50))
    entries = [ImageFolder(root="own"), Part(of=Digits(), test=30), Digits(test_count=99, image_size=30)]
    splits = foreign(view, entries, context(tmp_path))
    assert {name: len(split) for name, split in splits.items()} == {"image_folder": 8, "digits": 30, "digits 3": 99}
    assert {everything(split).inputs.shape[1:] for split in splits.values()} == {(1, 8, 8)}
    assert all(torch.isfinite(everything(split).inputs).all() for split in splits.values())


def test_at_most_so_many_are_drawn_the_same_ones_for_every_seed():
    dataset = Digits(**DIGITS8)
    every, few, again = (
        everything(foreign(run_on(dataset), ["rotated"], context(seed=seed), most)["rotated"])
        for seed, most in ((1, 0), (1, 30), (2, 30))
    )
    assert len(few.targets) == 30 and torch.equal(few.inputs, again.inputs)
    assert all((every.inputs == image).all((1, 2, 3)).any() for image in few.inputs)


def table(tmp_path, name="rows", shape=(2,), shift=0.0):
    """Write an .npz and return its dataset."""
    x = np.random.default_rng(0).normal(shift, 3.0, (400, *shape)).astype(np.float32)
    np.savez(tmp_path / f"{name}.npz", x=x, y=np.arange(400) % 2)
    return Arrays(path=f"{name}.npz", predict="classes")


def test_tables_have_noise_of_their_moments_and_tables_alike(tmp_path):
    own, other = table(tmp_path, shift=5.0), table(tmp_path, "others")
    view = run_on(own, root=tmp_path)
    splits = foreign(view, ["noise", other], context(tmp_path))
    test, noise = everything(view.bench.examples("test")).inputs, everything(splits["noise"]).inputs
    assert noise.shape == test.shape and not (noise == test).any()
    torch.testing.assert_close(noise.mean(0), test.mean(0), atol=1.0, rtol=0)
    torch.testing.assert_close(noise.std(0), test.std(0), atol=0, rtol=0.25)
    assert torch.equal(splits["noise"].batch(torch.tensor([5]), CPU).inputs, noise[5:6])
    assert abs(everything(splits["arrays"]).inputs.mean()) < 1
    with pytest.raises(UserError, match=r"arrays: its examples are float32 \[3\], the run's float32 \[2\]; name"):
        foreign(view, [table(tmp_path, "wide", (3,))], context(tmp_path))


@pytest.mark.parametrize("entry, told", [
    ("rotated", "foreign, rotated: dataset shapes2d is no image set, whose pixels could be changed; take this away"),
    ("left_out", "foreign, left_out: dataset shapes2d leaves no classes out; name them in dataset.leave_out"),
    (Digits(), "foreign, digits: digits is an image set, and shapes2d is none; name a dataset like the run's"),
])  # fmt: skip
def test_what_a_run_cannot_have_is_refused_in_one_line(entry, told):
    split = TensorSplit(torch.zeros(4, 3), torch.zeros(4))
    view = run_on(Shapes2d(), DatasetSplits(split, split, split, (3,), 1))
    with pytest.raises(UserError) as caught:
        foreign(view, [entry], context())
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_tokens_have_no_noise_and_missing_sets_say_so(tmp_path):
    tokens = TensorSplit(torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4))
    view = run_on(Shapes2d(), DatasetSplits(tokens, tokens, tokens, (3,), 1))
    with pytest.raises(UserError, match="examples of dataset shapes2d are whole numbers; take this away"):
        foreign(view, ["noise"], context())
    with pytest.raises(UserError, match=r"dataset fashion_mnist: .* is missing"):
        foreign(run_on(Digits()), [FashionMnist()], context(tmp_path))
