"""Orders: tasks of a few classes, whose outputs stand in an order of the task's own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.func import grad, vmap

from pdiff import UserError
from pdiff.data import Batch, TensorSplit
from pdiff.testing import check_component, tiny_splits
from pdiff_plugins.conditions.shots.orders import Orders
from pdiff_plugins.images.classification import Classification

NAMES = ("cat", "dog", "frog", "ship", "deer", "bird")
DATA = replace(tiny_splits(outputs=6, count=90), names=NAMES)
FAMILY = Orders(ways=3, unseen=("frog", "ship"))
ABOUT = {"classes": [4, 0, 2], "draw": 7}


def drawn(family=FAMILY, seed=0, **counts):
    counts = {part.replace("_", " "): count for part, count in counts.items()}
    return family.tasks(counts, DATA, torch.Generator().manual_seed(seed))


def test_keeps_the_contract_of_tasks():
    check_component(Orders, strict=True, ways=2)


def test_learnt_tasks_have_no_unseen_class_and_hard_ones_have_all():
    tasks = drawn(learnt=12, held_out=6, hard=9)
    assert {part: len(of_part) for part, of_part in tasks.items()} == {"learnt": 12, "held out": 6, "hard": 9}
    assert not any({2, 3} & set(task["classes"]) for part in ("learnt", "held out") for task in tasks[part])
    assert all({2, 3} < set(task["classes"]) for task in tasks["hard"])
    every = [task for of_part in tasks.values() for task in of_part]
    assert len({tuple(task["classes"]) for task in every}) == len({task["draw"] for task in every}) == len(every)
    assert all(len(set(task["classes"])) == 3 for task in every)


def test_a_seed_decides_the_tasks():
    assert drawn(learnt=5) == drawn(learnt=5) != drawn(learnt=5, seed=1)


def test_all_that_are_left_can_be_learnt():
    tasks = drawn(held_out=4)
    assert len(tasks["learnt"]) == 4 * 3 * 2 - 4


@pytest.mark.parametrize(
    ("options", "counts", "words"),
    [
        ({"ways": 5}, {"learnt": 1}, "task.ways = 5"),
        ({}, {"learnt": 20, "held_out": 5}, "24 orders"),
        ({}, {"hard": 100}, "task.unseen names 2 classes"),
        ({"unseen": ()}, {"hard": 1}, "task.unseen names 0 classes"),
        ({"unseen": ("frg",)}, {"learnt": 1}, "did you mean 'frog'"),
        ({"unseen": (6,)}, {"learnt": 1}, "no class 6"),
    ],
)
def test_tasks_that_there_are_not_are_refused(options, counts, words):
    with pytest.raises(UserError, match=words) as error:
        drawn(Orders(**{"ways": 3, "unseen": ("frog", "ship")} | options), **counts)
    assert "\n" not in str(error.value)


def test_a_batch_counts_the_examples_of_the_tasks_classes_alone():
    """The loss and its gradient are those of plain classification on the others left out."""
    batch = DATA.train.batch(torch.arange(30), torch.device("cpu"))
    asked = FAMILY.ask(batch, ABOUT)
    kept = torch.isin(batch.targets, torch.tensor(ABOUT["classes"]))
    plain = Batch(batch.inputs[kept], torch.tensor([ABOUT["classes"].index(n) for n in batch.targets[kept].tolist()]))
    assert torch.equal(asked.targets[kept], plain.targets) and (asked.targets[~kept] == -100).all()

    weights = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))

    def gradients(family, batch):
        return vmap(grad(lambda w: family.loss(lambda x: x @ w, batch)))(weights)

    assert torch.allclose(gradients(FAMILY, asked), gradients(Classification(), plain), atol=1e-6)
    predictions = torch.arange(60).view(2, 30) % 3
    score, wrong = FAMILY.score(predictions, asked.targets), FAMILY.wrong(predictions, asked.targets)
    assert torch.equal(score, Classification().score(predictions[:, kept], plain.targets))
    assert torch.equal(wrong[:, kept], Classification().wrong(predictions[:, kept], plain.targets))
    assert not wrong[:, ~kept].any()


def test_a_batch_without_the_tasks_classes_has_no_loss():
    targets = torch.full((4,), -100)
    weight = torch.ones(2, 3, requires_grad=True)
    loss = FAMILY.loss(lambda x: x @ weight, Batch(torch.ones(4, 2), targets))
    assert loss == 0 and not torch.autograd.grad(loss, weight)[0].any()


def test_a_split_is_asked_about_equally_many_examples_of_each_class():
    targets = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 0, 4, 4, 4])  # of class 2 there are two, of class 3 none
    split = TensorSplit(torch.arange(12.0)[:, None], targets)
    asked = FAMILY.asked(split, {"classes": [4, 0], "draw": 0})
    assert len(asked) == 4 and asked.targets.tolist() == [0, 0, 1, 1]
    batch = asked.batch(torch.tensor([3, 0, 1]), torch.device("cpu"))
    assert batch.inputs[:, 0].tolist() == [3, 9, 10] and batch.targets.tolist() == [1, 0, 0]
    with pytest.raises(UserError, match="class 3"):
        FAMILY.asked(split, {"classes": [0, 3], "draw": 0})


def test_a_task_can_be_told_again_by_other_examples():
    told = [FAMILY.again(ABOUT, number) for number in range(1, 6)]
    assert all(one["classes"] == ABOUT["classes"] for one in told)
    assert len({one["draw"] for one in (ABOUT, *told)}) == 6 and told == [FAMILY.again(ABOUT, n) for n in range(1, 6)]
    assert FAMILY.again({"classes": [1, 2]}, 1) == {"classes": [1, 2]}
