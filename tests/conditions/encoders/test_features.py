"""Features: class means of a few examples, from a split or from a person's own images."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pdiff.data import DatasetSplits, TensorSplit
from pdiff.testing import tiny_splits
from pdiff_plugins.conditions.encoders.features import Features
from pdiff_plugins.conditions.encoders.support import drawn
from pdiff_plugins.images.splits import ImageSplit, Preprocess, Transform
from tests.conditions.encoders.helpers import PETS, bench, conditions, refused

SIDE = 6
TRANSFORM = Transform(SIDE, (0.4,), (0.3,), channels=1)


def network(inputs=2, outputs=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, outputs))


def with_network(data=None, model=None, **more):
    return bench(data, objective=SimpleNamespace(model=model or network()), **more)


def image_data(count=30):
    """Return grey images in three classes, whose pixels are bytes, and what makes inputs of such."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 1, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    split = ImageSplit(pixels, torch.arange(count) % 3, TRANSFORM)
    return DatasetSplits(split, split, split, (1, SIDE, SIDE), 3)


def write_images(folder, data, names=PETS, count=4):
    """Write the first images of each class as files, and return their numbers `[classes, count]`."""
    index = torch.stack([(data.train.targets == number).nonzero().flatten()[:count] for number in range(len(names))])
    for name, of_class in zip(names, index, strict=True):
        (folder / name).mkdir(parents=True)
        for number in of_class.tolist():
            Image.fromarray(data.train.images[number, 0].numpy()).save(folder / name / f"{number}.png")
    return index


def test_a_condition_is_the_classes_means_in_abouts_order():
    data, shots = tiny_splits(), 4
    about = [{"classes": [2, 0], "draw": 5}, {"classes": [0, 1], "draw": 6}]
    rows = conditions(Features(shots=shots, by="inputs"), about, of=bench(data))
    for row, one in zip(rows, about, strict=True):
        index = drawn(data.train.targets, one["classes"], shots, one["draw"])
        assert data.train.targets[index].tolist() == [[number] * shots for number in one["classes"]]
        assert all(len(set(of_class)) == shots for of_class in index.tolist())
        assert torch.allclose(torch.tensor(row), torch.cat([data.train.inputs[i].mean(dim=0) for i in index]))


def test_the_spread_stands_behind_each_classes_means():
    data, about = tiny_splits(), [{"classes": [2, 0], "draw": 5}]
    (row,) = conditions(Features(shots=4, by="inputs", spread=True), about, of=bench(data))
    index = drawn(data.train.targets, [2, 0], 4, 5)
    for told, examples in zip(torch.tensor(row).view(2, 4), data.train.inputs[index], strict=True):
        assert torch.allclose(told, torch.cat([examples.mean(dim=0), examples.std(dim=0, correction=0)]), atol=1e-6)


def test_the_base_network_is_asked_for_its_last_hidden_layer_in_eval_mode():
    data, model = tiny_splits(), network().train()
    about = [{"classes": [1, 2, 0], "draw": 0}]
    given = with_network(data, model)
    row = torch.tensor(conditions(Features(split="validation"), about, of=given)[0])
    index = drawn(data.validation.targets, [1, 2, 0], 5, 0)
    with torch.no_grad():
        hidden = model.eval()[:-1](data.validation.inputs[index.flatten()]).view(3, 5, 4)
    assert torch.allclose(row, hidden.mean(dim=1).flatten(), atol=1e-6)
    assert not model[-1]._forward_pre_hooks


def test_a_draw_gives_a_class_the_same_examples_wherever_it_stands():
    of = bench()
    one, turned = conditions(
        Features(by="inputs"), [{"classes": [0, 2], "draw": 1}, {"classes": [2, 0], "draw": 1}], of=of
    )
    assert one == turned[2:] + turned[:2]
    other = conditions(Features(by="inputs"), [{"classes": [0, 2], "draw": 2}], of=of)[0]
    assert other != one
    assert conditions(Features(by="inputs"), [{"classes": [0, 2], "draw": 1}], of=of)[0] == one


def test_a_folder_of_the_same_images_is_the_same_condition(tmp_path):
    data = image_data()
    index = write_images(tmp_path, data)
    given = with_network(data, network(SIDE * SIDE), preprocess=lambda: Preprocess(TRANSFORM))
    known = [{"classes": [0, 1, 2], "draw": 0}]
    for by in ("inputs", "base"):
        about = Features(by=by).read({"examples": str(tmp_path)}, known, given)
        row = torch.tensor(conditions(Features(by=by), [about], known, given)[0])
        inputs = data.train.batch(index.flatten(), torch.device("cpu")).inputs
        with torch.no_grad():
            values = inputs.flatten(1) if by == "inputs" else given.objective.model.eval()[:-1](inputs)
        assert torch.allclose(row, values.view(3, 4, -1).mean(dim=1).flatten(), atol=1e-5)


def test_a_changed_folder_has_another_content_and_images_may_have_any_size(tmp_path):
    data = image_data()
    write_images(tmp_path, data)
    given, asked, encoder = (
        bench(data, preprocess=lambda: Preprocess(TRANSFORM)),
        {"examples": str(tmp_path)},
        Features(by="inputs"),
    )
    before = encoder.content(asked)
    assert before and encoder.content(asked) == before and not encoder.content({"task": "1"})
    Image.fromarray(np.zeros((9, 7, 3), np.uint8)).save(tmp_path / "dog" / "more.png")
    assert encoder.content(asked) != before
    about = encoder.read(asked, [], given)
    assert about == asked and len(conditions(encoder, [about], of=given)[0]) == 3 * SIDE * SIDE


def test_classes_can_be_asked_in_their_order():
    known, given = [{"classes": [0, 1], "draw": 3}], bench(names=PETS)
    about = Features().read({"task": "frog,0"}, known, given)
    assert about == {"classes": [2, 0], "draw": 0}
    refused(lambda: Features().read({"task": "cat"}, known, given), "task = 'cat'", "1 classes", "give 2")


def test_folders_that_cannot_be_asked_are_one_line(tmp_path):
    data = image_data()
    write_images(tmp_path / "three", data)
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    (tmp_path / "none").mkdir()
    (tmp_path / "bad" / "cat").mkdir(parents=True)
    (tmp_path / "bad" / "cat" / "1.png").write_bytes(b"no image")
    given = bench(data, preprocess=lambda: Preprocess(TRANSFORM))

    def read(name, of=given, known=({"classes": [0, 1]},)):
        return Features(by="inputs").read({"examples": str(tmp_path / name)}, known, of)

    refused(lambda: read("three"), "three", "holds 3 classes", "give 2")
    refused(lambda: read("nowhere"), "no such folder", "a subfolder of images for each class")
    refused(lambda: read("empty"), "empty", "put one subfolder of images per class there")
    refused(lambda: read("none"), "none", "put one subfolder of images per class there")
    refused(lambda: read("three", bench(data)), "does not say how its inputs are made of images")
    refused(
        lambda: conditions(Features(by="inputs"), [read("bad", known=())], of=given), "1.png", "not a readable image"
    )


@pytest.mark.parametrize(
    ("encoder", "about", "words"),
    [(Features(by="inputs"), [{"label": 1}], ("network 0", "label", "takes classes")),
     (Features(by="inputs", shots=21), [{"classes": [1]}], ("encoder.shots = 21", "train split", "20 examples")),
     (Features(by="inputs"), [{"classes": [5]}], ("class 5 has 0 examples",)),
     (Features(by="inputs"), [{"classes": [1]}, {"classes": [0, 1]}], ("1 and 2 classes", "equally many"))],
)  # fmt: skip
def test_rows_that_tell_no_examples_are_one_line(encoder, about, words):
    refused(lambda: conditions(encoder, about), *words)


def test_other_networks_and_targets_are_one_line():
    pixels = replace(tiny_splits(), train=TensorSplit(torch.randn(9, 2), torch.zeros(9, 2)))
    refused(lambda: conditions(Features(by="inputs"), [{"classes": [0]}], of=bench(pixels)), "targets are no classes")
    convolution = with_network(model=nn.Sequential(nn.Conv1d(1, 1, 1)))
    refused(lambda: conditions(Features(), [{"classes": [0]}], of=convolution), "no Linear layer", "by = 'inputs'")
