"""Shifts of images: as other libraries make them, and none that holds an unseen level but the hard ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pdiff.components import Ahead
from pdiff.errors import UserError
from pdiff_plugins.conditions.families.shifts import Shifts
from tests.collectors.tasks.helpers import splits

X = torch.rand(3, 2, 12, 12, generator=torch.Generator().manual_seed(0))
FAMILY = Shifts()


def shifted(x: torch.Tensor = X, **about) -> torch.Tensor:
    return FAMILY.inputs(x, about)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_exact(quarters: int) -> None:
    assert shifted(rotation=90 * quarters).equal(torch.rot90(X, quarters, (2, 3)))


@pytest.mark.parametrize("degrees", [45, 135, 225, 20])
def test_other_turns_are_those_of_scipy_and_torchvision(degrees: int) -> None:
    from scipy.ndimage import rotate
    from torchvision.transforms.v2 import InterpolationMode, functional

    ours = shifted(rotation=degrees)
    theirs = rotate(X.numpy(), degrees, axes=(3, 2), reshape=False, order=1, mode="nearest")
    assert torch.allclose(ours, torch.from_numpy(theirs), atol=1e-5)
    theirs = functional.rotate(X, degrees, InterpolationMode.BILINEAR)
    assert torch.allclose(ours[..., 3:9, 3:9], theirs[..., 3:9, 3:9], atol=1e-4), "but for what lies outside"


def test_mirrors_and_halves_are_flips_and_rolls() -> None:
    assert shifted(mirror="yes").equal(X.flip(3))
    assert shifted(order="left-right").equal(X.roll(6, 3)) and shifted(order="top-bottom").equal(X.roll(6, 2))
    assert shifted(rotation=90, mirror="yes", order="top-bottom").equal(torch.rot90(X, 1, (2, 3)).flip(3).roll(6, 2))
    assert shifted(X[..., :7], rotation=180, mirror="yes").equal(X[..., :7].flip(2)), "no square"


@pytest.mark.parametrize("sigma", [0.7, 1.4])
def test_blur_is_the_gaussian_of_scipy(sigma: float) -> None:
    from scipy.ndimage import gaussian_filter

    theirs = gaussian_filter(X.numpy(), (0, 0, sigma, sigma), mode="nearest")
    assert torch.allclose(shifted(blur=sigma), torch.from_numpy(theirs), atol=1e-5)


def test_contrast_and_inversion_keep_an_images_mean_and_range() -> None:
    pale, negative = shifted(contrast=0.4), shifted(inversion="yes")
    assert torch.allclose(pale.mean((2, 3)), X.mean((2, 3)), atol=1e-6)
    assert torch.allclose(pale.std((2, 3)), 0.4 * X.std((2, 3)), atol=1e-6)
    assert torch.allclose(negative.amax((2, 3)), X.amax((2, 3))) and negative[0, 0].argmax() == X[0, 0].argmin()
    assert torch.allclose(FAMILY.inputs(negative, {"inversion": "yes"}), X, atol=1e-6)


def test_shifts_of_normalised_images_are_normalised_shifts() -> None:
    mean, std = torch.tensor([0.3, 0.6])[:, None, None], torch.tensor([0.2, 0.4])[:, None, None]
    about = {"rotation": 45, "mirror": "yes", "order": "left-right", "blur": 0.7, "contrast": 0.4, "inversion": "yes"}
    assert torch.allclose(shifted((X - mean) / std, **about), (shifted(**about) - mean) / std, atol=1e-5)
    assert shifted().equal(X) and FAMILY.inputs(X, FAMILY.base()).equal(X)


def dealt(family: Shifts = FAMILY, **counts):
    asked = {"learnt": 0, "held out": 0, "hard": 0} | counts
    return family.tasks(asked, splits(family), torch.Generator().manual_seed(0))


def test_an_unseen_level_is_in_hard_tasks_alone() -> None:
    parts = dealt(**{"held out": 40, "hard": 20})
    assert [len(tasks) for tasks in parts.values()] == [504 - 40, 40, 20]
    assert {task["rotation"] for task in parts["hard"]} == {225}
    assert {task["rotation"] for task in (*parts["learnt"], *parts["held out"])} == {0, 45, 90, 135, 180, 270, 315}
    levels = [
        tuple(value for key, value in task.items() if key != "text") for tasks in parts.values() for task in tasks
    ]
    assert len(set(levels)) == 524
    two = dealt(Shifts(unseen={"rotation": 45, "blur": 1.4}), hard=5)
    assert all(task["rotation"] == 45 and task["blur"] == 1.4 for task in two["hard"])
    assert not any(task["rotation"] == 45 or task["blur"] == 1.4 for task in two["learnt"])


def test_factors_of_one_level_are_none() -> None:
    family = Shifts(rotation=(90,), mirror=("no",), order=("whole",), contrast=(1,), inversion=("no",), unseen={})
    tasks = dealt(family)["learnt"]
    assert sorted(task["blur"] for task in tasks) == [0, 0.7, 1.4] and set(tasks[0]) == {"blur", "text"}
    assert family.inputs(X, {"blur": 0}).equal(torch.rot90(X, 1, (2, 3)))


def test_sentences_say_every_factor_in_several_ways() -> None:
    tasks = [task for part in dealt(**{"held out": 10, "hard": 10}).values() for task in part]
    turned = {task["text"] for task in tasks if task["rotation"] == 180}
    assert all(any(words in text for words in ("upside down", "on the head", "180")) for text in turned)
    assert all(len(task["text"].split(", ")) == 7 for task in tasks)
    assert len({task["text"] for task in tasks}) == len(tasks)
    assert any("upside down" in text for text in turned) and any("on the head" in text for text in turned)
    blurs = {0: ("sharp", "in focus"), 0.7: ("a little out", "slightly"), 1.4: ("badly", "strongly")}
    assert all(any(words in task["text"] for words in blurs[task["blur"]]) for task in tasks)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"unseen": {"turn": 45}}, "turn is no factor; they are rotation, mirror, order"),
        ({"rotation": (0, 90)}, r"rotation has no level 225 \(0, 90\); name one of them, or set unseen = {}"),
        ({"blur": (0, 0.0)}, "blur names a level twice"),
        ({"blur": (-1,)}, "greater than or equal to 0"),
    ],
)
def test_options_must_fit(given, message) -> None:
    with pytest.raises(ValueError, match=message):
        Shifts(**given)


def test_what_has_no_images_is_refused() -> None:
    from dataclasses import replace

    with pytest.raises(UserError, match=r"takes images \[C, H, W\], and the dataset's examples are \(64,\)"):
        FAMILY.tasks({"learnt": 2}, replace(splits(FAMILY), input_shape=(64,)), torch.Generator())
    with pytest.raises(UserError, match=r"collect.hard = 73: task 'shifts' has 72 hard tasks"):
        dealt(hard=73)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"colour": "red"}, "says no level of rotation"), ({"rotation": "left"}, r"rotation = 'left'"),
        ({"mirror": "maybe"}, r"mirror = 'maybe'"), ({"blur": -1}, r"blur = -1"),
    ],
)  # fmt: skip
def test_what_is_no_shift_is_told(about: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        FAMILY.check(about, splits(FAMILY))
    FAMILY.check({"rotation": 100, "mirror": "yes", "text": "turned"}, splits(FAMILY))


@pytest.mark.parametrize("numbers", [(), ("rotation",)])
def test_a_level_that_no_learnt_task_has_must_be_a_number(numbers: tuple[str, ...]) -> None:
    encoder, collect = SimpleNamespace(name="attributes", numbers=numbers, angles=()), SimpleNamespace(hard=4)
    recipe = SimpleNamespace(encoder=encoder, collect=collect, train=SimpleNamespace(epochs=0))
    ahead = Ahead(recipe, "task", Path(), False, None)
    FAMILY.foresee(ahead)
    assert ("encoder.numbers = ['rotation']" in str(ahead.what("lacks"))) == (not numbers)


def test_a_task_is_told_again_in_other_words_that_say_the_same_levels() -> None:
    about = {"rotation": 90, "mirror": "yes", "blur": 0.7, "text": "images, as somebody wrote it"}
    told = [FAMILY.again(about, number) for number in range(1, 9)]
    assert all({**one, "text": ""} == {**about, "text": ""} for one in told)
    assert len({one["text"] for one in told}) > 4 and told == [FAMILY.again(about, number) for number in range(1, 9)]
    assert all(any(word in one["text"] for word in ("mirror", "flipped")) for one in told)
    assert FAMILY.again({"rotation": 90}, 1) == {"rotation": 90}, "a task that is told in no words has no others"
