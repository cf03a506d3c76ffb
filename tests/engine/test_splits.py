"""What a dataset gives is checked once: types are brought to what networks take, and each fault is one line."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pdiff.components import Dataset
from pdiff.data import Batch, DatasetSplits, TensorSplit
from pdiff.errors import UserError
from pdiff.splits import Cast, checked
from pdiff.testing import TinyTask, tiny_run
from pdiff_plugins.coco.detection import Detection
from pdiff_plugins.coco.segmentation import Segmentation
from pdiff_plugins.images.classification import Classification

CPU, ALL = torch.device("cpu"), ("train", "validation", "test")


class Own:
    """A split that is read example by example, as a user writes one."""

    def __init__(self, inputs, targets):
        self.inputs, self.targets, self.reads = inputs, targets, 0

    def __len__(self):
        return len(self.targets)

    def batch(self, index, device, augment=None):
        self.reads += len(index)
        return Batch(self.inputs[index], self.targets[index]).to(device)


def given(inputs, targets, kind=TensorSplit, shape=(3,), task=None, needed=ALL):
    splits = [kind(inputs, targets) for _ in range(3)]
    return checked(DatasetSplits(*splits, shape, 2), "mine", task or Classification(), needed)


X, Y = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1, 0, 1, 0])


@pytest.mark.parametrize("kind", [TensorSplit, Own])
@pytest.mark.parametrize(
    ("dtype", "wanted"),
    [(torch.float64, torch.float32), (torch.float16, torch.float32), (torch.bfloat16, torch.float32),
     (torch.int64, torch.int64), (torch.int32, torch.int32), (torch.int16, torch.int64), (torch.uint8, torch.int64),
     (torch.bool, torch.bool)],
)  # fmt: skip
def test_inputs_are_floats_or_whole_numbers_that_layers_take(kind, dtype, wanted) -> None:
    data = given((10 * X).abs().to(dtype), Y.float()[:, None], kind)
    batch = data.train.batch(torch.tensor([2, 0]), CPU)
    assert batch.inputs.dtype == data.example().dtype == wanted
    assert torch.equal(batch.inputs, (10 * X).abs().to(dtype)[[2, 0]].to(wanted))
    assert torch.equal(batch.targets, Y[[2, 0]]) and torch.equal(data.train.targets, Y)


def test_bytes_of_images_stay_and_arrays_become_tensors() -> None:
    images = torch.zeros(6, 1, 2, 2, dtype=torch.uint8)
    assert given(images, Y, shape=(1, 2, 2)).example().dtype == torch.uint8
    data = given(X.double().numpy(), np.array([0, 1, 1, 0, 1, 0], dtype=np.int32))
    assert torch.equal(data.test.batch(torch.arange(6), CPU).inputs, X) and torch.equal(data.test.targets, Y)


def test_what_is_right_already_stays_the_same_object() -> None:
    own = Own(X, Y)
    data = checked(DatasetSplits(own, own, own, (3,), 2), "mine", Classification(), ALL)
    assert data.train is own and data.test is own
    assert isinstance(given(X.double(), Y, Own).train, Cast)


def with_number(example: int, place: int, number: float) -> torch.Tensor:
    x = X.clone()
    x[example, place] = number
    return x


@pytest.mark.parametrize("kind", [TensorSplit, Own])
@pytest.mark.parametrize(
    ("inputs", "targets", "says"),
    [
        (with_number(4, 1, math.nan), Y, r"example 4: the input at \[1\] is nan"),
        (with_number(5, 0, math.inf), Y, r"example 5: the input at \[0\] is inf"),
        (X, Y + 1, "example 1: the label is 2, where 0 to 1 are expected; labels run from 1 to 2"),
        (X[:, :2], Y, r"example 0: its inputs have shape \[2\], and input_shape says \[3\]"),
        (X[:, :, None], Y, r"example 0: its inputs have shape \[3, 1\], and input_shape says \[3\]"),
    ],
)  # fmt: skip
def test_a_fault_names_dataset_split_and_example(kind, inputs, targets, says) -> None:
    with pytest.raises(UserError, match=f"^dataset mine: train split, {says}"):
        given(inputs, targets, kind)


def test_every_split_is_looked_at_and_one_that_is_not_needed_stops_nothing() -> None:
    def data(**odd):
        parts = {name: TensorSplit(X, odd.get(name, Y)) for name in ALL}
        return DatasetSplits(**parts, input_shape=(3,), outputs=2)

    for name in ALL:
        with pytest.raises(UserError, match=f"^dataset mine: {name} split, example 0: the label is -1"):
            checked(data(**{name: Y - 1}), "mine", Classification(), ALL)
    assert checked(data(validation=Y - 1), "mine", Classification(), ("train", "test")).validation.targets.min() == -1


def test_inputs_without_a_target_each_are_refused() -> None:
    with pytest.raises(UserError, match="train split, 5 examples have 6 targets"):
        given(X[:5], Y)
    with pytest.raises(UserError, match="train split, 5 examples have 6 targets"):
        given({"a": X, "b": X[:5]}, Y, shape={"a": (3,), "b": (3,)})


def test_several_inputs_have_their_shapes_by_name_or_in_order() -> None:
    data = given({"a": X.double(), "b": X[:, :1].long()}, Y, shape={"a": (3,), "b": (1,)})
    assert {name: x.dtype for name, x in data.example().items()} == {"a": torch.float32, "b": torch.int64}
    assert isinstance(given([X, X], Y, shape=((3,), (3,))).example(), tuple)
    assert given((X, X), Y, shape=(3,)).input_shape == (3,)  # one shape says nothing of two
    with pytest.raises(UserError, match=r"inputs have shape \[3\] and \[1\], and input_shape says \[3\] and \[2\]"):
        given({"a": X, "b": X[:, :1]}, Y, shape={"a": (3,), "b": (2,)})


def test_images_of_a_batch_may_be_filled_up_and_large_splits_are_not_read_whole() -> None:
    class Filled(Own):
        def batch(self, index, device, augment=None):
            given = super().batch(index, device)
            return Batch(given.inputs.masked_fill(torch.tensor(len(index) > 1), float("nan")), given.targets)

    images = torch.zeros(6, 3, 4, 4)
    assert len(given(images, Y, Filled, (3, 8, 8)).train) == 6
    large = Own(torch.zeros(2**12, 2, 2**10), torch.zeros(2**12).long())
    checked(DatasetSplits(large, large, large, (2, 2**10), 2), "mine", Classification(), ALL)
    assert large.reads < 2**12


def test_a_task_of_ones_own_has_targets_as_they_are_and_finite() -> None:
    y = torch.tensor([0.5, 1.0, 2.0, 3.0, 4.0, 5.0])
    assert given(X, y, task=TinyTask()).train.targets is y
    with pytest.raises(UserError, match="train split, example 0: the target is nan"):
        given(X, y * math.nan, task=TinyTask())


def test_nothing_to_find_is_said() -> None:
    rows = torch.full((6, 2, 7), -1.0)
    with pytest.raises(UserError, match="train split, none of its 6 images holds an object"):
        given(X, rows, task=Detection())
    rows[3, 0, 4] = 1
    assert given(X, rows, task=Detection()).train.targets is rows
    pixels = torch.full((6, 4, 4), 255, dtype=torch.uint8)
    with pytest.raises(UserError, match="no pixel of its 6 examples counts"):
        given(X, pixels, task=Segmentation(classes=3))
    pixels[2, 1, 3] = 7
    with pytest.raises(UserError, match=r"example 2: the class of pixel \[1, 3\] is 7, where 0 to 2"):
        given(X, pixels, task=Segmentation(classes=3))


class Loader(Own):
    """Targets as a list, and batches as plain pairs, as other libraries have them."""

    pairs = False

    def __init__(self, inputs, targets):
        super().__init__(inputs, targets)
        self.targets = targets.tolist()

    def batch(self, index, device, augment=None):
        pair = self.inputs[index], torch.tensor(self.targets)[index]
        return pair if self.pairs else Batch(*pair)


def test_splits_of_another_kind_are_taken_or_told_what_to_give(monkeypatch) -> None:
    data = given(X, Y, Loader)
    assert torch.equal(data.train.targets, Y)
    assert torch.equal(data.train.batch(torch.tensor([3, 1]), CPU).targets, Y[[3, 1]])
    monkeypatch.setattr(Loader, "pairs", True)
    with pytest.raises(UserError, match=r"train split, its batch\(\) gives a tuple; return pdiff\.data\.Batch"):
        given(X, Y, Loader)


class Whole(Dataset):
    """A table of whole numbers, which no linear layer takes."""

    name = "whole"

    def load(self, ctx):
        return DatasetSplits(*[TensorSplit((10 * X).long(), Y)] * 3, (3,), 2)


def test_a_network_that_cannot_take_the_inputs_is_told_with_their_type(tmp_path) -> None:
    run = tiny_run(tmp_path, dataset=Whole(), task=Classification(), train={"epochs": 0})
    says = r"^architecture tiny_net: its network .* dataset whole, which is int64 \[3\] \(RuntimeError"
    with pytest.raises(UserError, match=says):
        run.train()


class Odd(Dataset):
    """Labels counted from 1."""

    name = "odd"

    def load(self, ctx):
        return DatasetSplits(*[TensorSplit(X, Y + 1)] * 3, (3,), 2)


def test_a_run_checks_its_dataset_before_it_computes(tmp_path) -> None:
    run = tiny_run(tmp_path, dataset=Odd(), task=Classification())
    with pytest.raises(UserError, match=r"^dataset odd: train split, example 1: the label is 2"):
        run.train()
    assert not list((tmp_path / "store").glob("train-*/*"))
