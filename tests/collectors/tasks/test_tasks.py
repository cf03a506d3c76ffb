"""Networks of tasks that are trained together: each as if alone, and those kept back apart."""

from __future__ import annotations

import pytest
import torch

from pdiff.components import Ahead
from pdiff.context import derive
from pdiff.errors import UserError
from pdiff.running.progress import Progress
from pdiff.training.loop import epoch_order
from pdiff_plugins.collectors.seeds import training as joint
from pdiff_plugins.collectors.tasks.classes import class_network
from pdiff_plugins.collectors.tasks.collector import Tasks
from pdiff_plugins.collectors.tasks.examples import ALL
from pdiff_plugins.collectors.tasks.training import KEPT, adapt, gain
from pdiff_plugins.conditions.families.subsets import Subsets
from pdiff_plugins.images.classification import Classification
from tests.collectors.tasks.helpers import (
    CNN,
    COUNT,
    CTX,
    MLP,
    SHIFTS,
    SUBSETS,
    bench,
    collect,
    options,
    splits,
    trained,
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch) -> None:
    monkeypatch.setattr(joint, "LARGEST_BLOCK", 8)


def order(run: int):
    return lambda epoch: epoch_order(COUNT, COUNT, epoch, derive(CTX.seed, "run", run))


def near(theta_D: torch.Tensor, other_D: torch.Tensor) -> bool:
    return torch.allclose(theta_D, other_D, atol=2e-4)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize(("task", "architecture"), [(SUBSETS, MLP), (SUBSETS, CNN), (SHIFTS, CNN)])
def test_a_network_is_what_a_training_on_its_task_alone_gives(task, architecture, schedule) -> None:
    own = options(schedule=schedule)
    zoo = collect(own, task, architecture)
    for rows in (zoo, zoo.holdout):
        for theta_D, row in zip(rows.theta_ND, rows.rows, strict=True):
            model = bench(task, architecture).build(derive(CTX.seed, "start"))
            assert near(theta_D, trained(model, task, row["about"], order(ALL), own))


@pytest.mark.parametrize("task", [SUBSETS, SHIFTS])
def test_each_task_may_have_its_own_examples_and_its_own_start(task) -> None:
    own = options(same_batches=False, start="independent")
    zoo = collect(own, task)
    for rows, first in ((zoo, 0), (zoo.holdout, KEPT)):
        for number, row in enumerate(rows.rows):
            model = bench(task, MLP).build(derive(CTX.seed, "run", first + number))
            alone = trained(model, task, row["about"], order(first + number), own)
            assert near(rows.theta_ND[number], alone)


def test_more_tasks_change_no_bit_of_the_others() -> None:
    few, many = collect(options()), collect(options(learnt=11))
    assert many.theta_ND[:5].equal(few.theta_ND) and many.holdout.theta_ND.equal(few.holdout.theta_ND)
    assert [row["about"] for row in many.rows[:5]] == [row["about"] for row in few.rows]
    assert len(many) == 11 and options().expected() == 5 and options(learnt=0).expected() is None


def test_rows_say_what_they_are_for_and_which_part_they_are_of() -> None:
    zoo = collect(options(learnt=0, held_out=2, hard=1), Subsets(apart=(0, 3)))
    assert {row["part"] for row in zoo.rows} == {"learnt"} and len(zoo) == 11 - 2, "3 of 14 subsets have both"
    assert [row["part"] for row in zoo.holdout.rows] == ["held out", "held out", "hard"]
    sets = [tuple(row["about"]["classes"]) for row in (*zoo.rows, *zoo.holdout.rows)]
    assert len(set(sets)) == len(sets)
    runs = [row["run"] for row in (*zoo.rows, *zoo.holdout.rows)]
    assert runs == list(range(len(runs))) and all(row["metrics"]["train_loss"] > 0 for row in zoo.rows)


def test_a_trunk_is_that_of_a_network_of_all_classes() -> None:
    zoo = collect(options(optimizer="sgd", lr=1e-12, steps=1, start="trunk", trunk_steps=9), architecture=CNN)
    given = bench(SUBSETS, CNN)
    classes = class_network(given, CTX.scope("trunk"), 9, 1e-12, 16).state_dict()
    state = zoo.state_dict(zoo.theta_ND[3])
    same = [key for key in state if state[key].shape == classes[key].shape]
    assert len(same) == 6 and all(torch.allclose(state[key], classes[key]) for key in same)
    new = given.build(derive(CTX.seed, "start")).state_dict()
    assert all(torch.allclose(state[key], new[key]) for key in state if key not in same)


def test_a_network_of_all_classes_learns_them() -> None:
    network = class_network(bench(SUBSETS, CNN), CTX, 60, 0.02, 16)
    data = splits(Classification()).train
    assert float((network(data.inputs).argmax(dim=1) == data.targets).double().mean()) > 0.9


def test_what_twice_the_steps_add_is_said_and_kept() -> None:
    said, warned = [], []
    progress = Progress()
    progress.say = said.append
    ctx = CTX.replace(progress=progress, warn=warned.append)
    zoo = collect(options(check=3, steps=12, schedule="constant"), ctx=ctx)
    assert [("twice" in row["metrics"]) for row in zoo.rows] == [True] * 3 + [False] * 2
    once, twice = gain(zoo, "accuracy")
    assert len(said) == 1 and f"from {100 * once:.2f} to {100 * twice:.2f}" in said[0]
    assert (twice - once > 0.005) == bool(warned)
    model = bench(SUBSETS, MLP).build(derive(CTX.seed, "start"))
    trained(model, SUBSETS, zoo.rows[1]["about"], order(ALL), options(schedule="constant"), 24)
    asked = SUBSETS.asked(splits(SUBSETS).validation, zoo.rows[1]["about"])
    right = model(splits(SUBSETS).validation.inputs).argmax(dim=1) == asked.targets
    assert zoo.rows[1]["metrics"]["twice"] == pytest.approx(float(right.double().mean()))
    assert collect(options()).theta_ND.equal(collect(options(check=2)).theta_ND)
    assert gain(collect(options()), "accuracy") is None


def test_networks_are_trained_on_from_where_they_are() -> None:
    zoo = collect(options())
    given, about = bench(SUBSETS, MLP, zoo), [row["about"] for row in zoo.rows]
    after = adapt(zoo.theta_ND, about, [0, 1, 6], 0.01, given, CTX, batch_size=16)
    assert after[0].equal(zoo.theta_ND) and list(after) == [0, 1, 6]
    for steps in (1, 6):
        model = given.build(0)
        model.load_state_dict(zoo.state_dict(zoo.theta_ND[2]))
        alone = trained(model, SUBSETS, about[2], order(ALL), options(schedule="constant"), steps)
        assert near(after[steps][2], alone)


def test_the_task_must_be_a_family(tmp_path) -> None:
    with pytest.raises(UserError, match=r"task 'classification' is none; take a \[task\] such as"):
        collect(options(), Classification())
    recipe = type("Recipe", (), {"task": Classification()})
    with pytest.raises(UserError, match="'tasks' trains a network for each task of a family"):
        options().foresee(Ahead(recipe, "collect", tmp_path, False, None))
    with pytest.raises(UserError, match=r"5 of 5 runs diverged"):
        collect(options(lr=1e30, optimizer="sgd", steps=20))
    with pytest.raises(ValueError, match="learnt = 1"):
        Tasks(learnt=1, steps=1, lr=1)


def test_what_is_not_selected_stays() -> None:
    given = bench(SUBSETS, MLP)
    keys = ["3.weight", "3.bias"]
    layout = type(given.zoo.layout).of(given.build(0), keys)
    zoo = options().collect(
        given.build(0), data=splits(SUBSETS), task=SUBSETS, layout=layout, bench=given, ctx=CTX
    )  # fmt: skip
    start = given.build(derive(CTX.seed, "start")).state_dict()
    assert all(zoo.anchor[key].equal(start[key]) for key in start) and zoo.theta_ND.shape == (5, 14)
