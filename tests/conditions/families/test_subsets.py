"""Subsets of classes: which there are, who is kept apart, and what a network of all classes says of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pdiff.errors import UserError
from pdiff_plugins.conditions.families.subsets import Subsets
from tests.collectors.tasks.helpers import splits

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TEN = replace(splits(Subsets()), classes=10, names=NAMES)


def dealt(family: Subsets, data=TEN, seed: int = 0, **counts) -> dict[str, list[tuple[int, ...]]]:
    asked = {"learnt": 0, "held out": 0, "hard": 0} | {key.replace("_", " "): count for key, count in counts.items()}
    parts = family.tasks(asked, data, torch.Generator().manual_seed(seed))
    return {part: [tuple(about["classes"]) for about in tasks] for part, tasks in parts.items()}


def test_all_1022_subsets_of_ten_classes_are_dealt_once() -> None:
    parts = dealt(Subsets(), held_out=100)
    sets = {*parts["learnt"], *parts["held out"]}
    assert len(parts["learnt"]) == 922 and len(parts["held out"]) == 100 and len(sets) == 1022
    assert {len(one) for one in sets} == set(range(1, 10)) and all(list(one) == sorted(one) for one in sets)


def test_two_classes_are_yes_together_in_hard_tasks_alone() -> None:
    by_name, by_number = (dealt(Subsets(apart=pair), held_out=36, hard=20) for pair in (("cat", "truck"), (3, 9)))
    assert by_name == by_number
    assert len(by_name["learnt"]) == 1022 - 255 - 36
    assert not any({3, 9} <= set(one) for part in ("learnt", "held out") for one in by_name[part])
    assert len(by_name["hard"]) == 20 and all({3, 9} <= set(one) for one in by_name["hard"])


def test_told_tasks_have_a_text_that_names_their_classes() -> None:
    data = replace(TEN, classes=4, names=("cat", "dog", "frog", "hen"))
    counts = {"learnt": 0, "held out": 0, "hard": 0}
    told = Subsets(told=True).tasks(counts, data, torch.Generator().manual_seed(0))["learnt"]
    texts = {tuple(task["classes"]): task["text"] for task in told}
    assert texts[(2,)] == "frog" and texts[(0, 3)] == "cat or hen" and texts[(0, 1, 3)] == "cat, dog or hen"
    with pytest.raises(UserError, match=r"task\.told = true: the dataset's classes have no names"):
        Subsets(told=True).tasks(counts, replace(data, names=()), torch.Generator())


def test_more_tasks_are_the_same_and_more() -> None:
    few, many = (dealt(Subsets(apart=(0, 1)), learnt=count, held_out=7, hard=3) for count in (20, 30))
    assert many["learnt"][:20] == few["learnt"] and many["held out"] == few["held out"] and many["hard"] == few["hard"]
    assert few != dealt(Subsets(apart=(0, 1)), seed=1, learnt=20, held_out=7, hard=3)


def test_sizes_are_bounded() -> None:
    sets = dealt(Subsets(least=2, most=3))["learnt"]
    assert len(sets) == 45 + 120 and {len(one) for one in sets} == {2, 3}


def test_subsets_of_many_classes_are_drawn() -> None:
    hundred = replace(TEN, classes=100, names=())
    parts = dealt(Subsets(apart=(7, 70), least=2, most=30), hundred, learnt=300, held_out=20, hard=10)
    sets = [one for tasks in parts.values() for one in tasks]
    assert [len(tasks) for tasks in parts.values()] == [300, 20, 10] and len(set(sets)) == 330
    assert all({7, 70} <= set(one) for one in parts["hard"])
    assert not any({7, 70} <= set(one) for one in (*parts["learnt"], *parts["held out"]))
    assert {len(one) for one in sets} <= set(range(2, 31))
    with pytest.raises(UserError, match=r"collect.learnt = 0: 100 classes have too many subsets"):
        dealt(Subsets(), hundred)


def test_a_network_of_all_classes_says_yes_by_the_sum_of_its_probabilities() -> None:
    probabilities = torch.tensor([[0.4, 0.3, 0.3], [0.1, 0.2, 0.7]])
    said = Subsets().of_classes(probabilities.log(), {"classes": [1, 2]})
    assert said.tolist() == [1, 1] and Subsets().of_classes(probabilities.log(), {"classes": [0]}).tolist() == [0, 0]
    assert Subsets().wrong(said[None], torch.tensor([1, 0])).tolist() == [[False, True]]


def test_targets_are_yes_or_no() -> None:
    targets = torch.tensor([0, 3, 9, 5])
    assert Subsets().targets(targets, {"classes": [3, 9]}).tolist() == [0, 1, 1, 0]
    assert Subsets().outputs(10) == 2


@pytest.mark.parametrize(
    ("family", "counts", "message"),
    [
        (Subsets(), {"hard": 1}, "collect.hard = 1: task 'subsets' has 0 hard tasks; let task.apart name two classes"),
        (Subsets(apart=("cat", "truk")), {}, r"the dataset has no class 'truk' \(0 to 9\).*did you mean.*truck"),
        (Subsets(apart=(3, 10)), {}, r"the dataset has no class 10"),
        (Subsets(), {"learnt": 1000, "held_out": 23}, "task 'subsets' has 1022 tasks that are not hard; ask for fewer"),
        (Subsets(least=10), {}, "least = 10 leaves none of 10 classes"),
    ],
)
def test_what_cannot_be_dealt_is_said(family, counts, message) -> None:
    with pytest.raises(UserError, match=message):
        dealt(family, **counts)


def test_options_must_fit() -> None:
    with pytest.raises(ValueError, match="most = 2 is below least = 3"):
        Subsets(least=3, most=2)
    with pytest.raises(ValueError, match="names class 4 twice"):
        Subsets(apart=(4, 4))


@pytest.mark.parametrize("classes", [["cat"], "0,3", 3, [13], [-1], [0.5], [], [1, 1], None, [True], [[1]]])
def test_what_is_no_set_of_classes_is_told(classes: object) -> None:
    with pytest.raises(UserError, match=r"classes = .*; give their numbers, 0 to 9, each once"):
        Subsets().check({"classes": classes}, TEN)
    with pytest.raises(UserError, match="is about label, and no classes"):
        Subsets().check({"label": 3}, TEN)
    Subsets().check({"classes": [0, 9]}, TEN)
