"""One network that is trained on all tasks together, and the start that it is for all others."""

from __future__ import annotations

import pytest
import torch

from pdiff.context import Context
from pdiff.data import TensorSplit
from pdiff.errors import UserError
from pdiff.testing import TinyNet
from pdiff.zoo import Layout
from pdiff_plugins.collectors.tasks.common import Shares, common_start
from pdiff_plugins.conditions.shots.orders import Orders
from tests.collectors.tasks.helpers import CNN, CTX, SHIFTS, SUBSETS, bench, collect, options, splits

ABOUT = [{"classes": [0]}, {"classes": [1, 2]}, {"classes": [3]}]


class Noisy(TensorSplit):
    """A split whose training transform adds noise."""

    def batch(self, index, device, augment=None):
        batch = super().batch(index, device)
        return (
            batch._replace(inputs=batch.inputs + torch.randn(batch.inputs.shape, generator=augment))
            if augment
            else batch
        )


@pytest.mark.parametrize("family", [SUBSETS, SHIFTS], ids=["subsets", "shifts"])
def test_tasks_have_equal_shares_each_asked_as_the_family_does(family) -> None:
    about = ABOUT if family is SUBSETS else [{"rotation": 0}, {"inversion": "yes"}, {"rotation": 90, "mirror": "yes"}]
    split = splits(family).train
    shares, counts = Shares(split, family, about, 12, False, CTX), torch.zeros(3, dtype=torch.int64)
    for step in range(shares.steps):
        (inputs, targets), task_B = shares.draw(step, torch.Generator())
        counts += task_B.bincount(minlength=3)
    assert counts.max() - counts.min() <= 1 and counts.sum() == 12 * shares.steps
    asked = [family.ask(split.batch(torch.arange(40), torch.device("cpu")), one) for one in about]
    for example, target, task in zip(inputs, targets, task_B.tolist(), strict=True):
        near = (asked[task].inputs - example).abs().flatten(1).amax(dim=1)
        assert near.min() < 1e-5 and asked[task].targets[near.argmin()] == target


def test_a_task_that_is_asked_about_some_examples_is_taught_by_these() -> None:
    about = [{"classes": [0, 2], "draw": 0}, {"classes": [3, 1], "draw": 1}]
    shares = Shares(splits(SUBSETS).train, Orders(ways=2), about, 12, False, CTX)
    (_, targets), task_B = shares.draw(0, torch.Generator())
    assert set(targets.tolist()) == {0, 1} and set(task_B.tolist()) == {0, 1}


def test_a_transform_is_drawn_where_it_is_asked_for_and_there_is_one() -> None:
    plain = splits(SUBSETS).train
    every = plain, Noisy(plain.inputs, plain.targets)
    drawn = [Shares(split, SUBSETS, ABOUT, 12, True, CTX).augment for split in every]
    assert drawn == [False, True]


def test_a_common_start_has_learnt_all_tasks_in_what_is_selected_alone() -> None:
    given = bench(SUBSETS, CNN)
    model = given.build(0)
    model.load_state_dict(given.zoo.anchor)
    keys = [key for key in model.state_dict() if key.endswith("bias")]
    layout, before = Layout.of(model, keys), {key: value.clone() for key, value in model.state_dict().items()}
    arguments = layout, SUBSETS, ABOUT, given.data.train, 30, 0.05, 24, False, CTX
    started = common_start(model, *arguments).eval()
    state = started.state_dict()
    assert all(state[key].equal(before[key]) for key in state if key not in keys)
    assert not any(state[key].equal(before[key]) for key in keys)
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())

    def loss(network) -> float:
        every = torch.arange(40)
        parts = [SUBSETS.ask(given.data.train.batch(every, torch.device("cpu")), one) for one in ABOUT]
        return float(sum(SUBSETS.loss(network, part).detach() for part in parts))

    assert loss(started) < loss(model.eval()) - 0.05
    again = common_start(model, *arguments).state_dict()
    assert all(again[key].equal(state[key]) for key in state)


def test_a_zoo_begins_at_it_and_its_anchor_holds_it() -> None:
    still = options(optimizer="sgd", lr=1e-12, steps=1, start="multitask", start_steps=20, start_lr=0.02)
    zoo = collect(still, architecture=TinyNet())
    learnt = [row["about"] for row in zoo.rows]
    given = bench(SUBSETS, TinyNet())
    model = given.build(0)
    model.load_state_dict(given.zoo.anchor)
    started = common_start(
        model, given.zoo.layout, SUBSETS, learnt, splits(SUBSETS).train, 20, 0.02, 128, False, CTX
    ).state_dict()  # fmt: skip
    assert all(value.equal(started[key]) for key, value in zoo.anchor.items())
    weights = [entry for entry in zoo.layout.entries if "running" not in entry.key]
    for entry in weights:
        assert torch.allclose(zoo.theta_ND[:, entry.columns], zoo.base[entry.columns], atol=1e-6)
        assert not torch.allclose(zoo.base[entry.columns], given.zoo.base[entry.columns], atol=1e-4)
    assert still.begun == 20 * 128 and options().begun == 0 and options(start="trunk", trunk_steps=3).begun == 48


def test_what_cannot_learn_is_said() -> None:
    given = bench(SUBSETS, TinyNet())
    model = given.build(0)
    running = [key for key in model.state_dict() if "running" in key]
    with pytest.raises(UserError, match="names no trainable parameter"):
        common_start(
            model, Layout.of(model, running), SUBSETS, ABOUT, given.data.train, 3, 0.1, 12, False, Context(seed=0)
        )  # fmt: skip


def test_new_options_move_no_key_of_a_zoo_that_does_not_use_them() -> None:
    assert not {"start_steps", "start_batch", "start_lr"} & options().identity().keys()
