"""The collector of seeds: each run is a plain training, whatever is trained beside it."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from torch import nn

import pdiff
from pdiff.context import derive
from pdiff.errors import UserError
from pdiff.services import Absent
from pdiff.testing import Points, check_component
from pdiff_plugins.collectors.seeds import training as joint_training
from pdiff_plugins.collectors.seeds.collector import Seeds
from tests.collectors.helpers import CTX, NETS, batch_norm, built, cnn, collect, mlp, options, plainly, splits


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(
    "change",
    [
        {"weight_decay": 0.1},
        {"optimizer": "sgd", "weight_decay": 0.01, "schedule": "constant"},
        {"optimizer": "adam", "weight_decay": 0.01, "augment": True},
    ],
    ids=lambda change: change.get("optimizer", "adamw"),
)
def test_each_run_is_a_plain_training(net: str, change: dict) -> None:
    zoo = collect(options(**change), net)
    make, shape = NETS[net]
    assert [(row["run"], row["step"]) for row in zoo.rows] == [(r, s) for r in range(3) for s in (0, 8, 16, 21)]
    for run in range(3):
        model = built(make, derive(7, "run", run))
        expected = plainly(options(**change), model, run, splits(shape), list(model.state_dict()))
        for row, theta in zip(zoo.rows, zoo.theta_ND, strict=True):
            if row["run"] == run:
                vector, loss = expected[row["step"]]
                torch.testing.assert_close(theta, vector, atol=2e-4, rtol=2e-3)
                assert row["metrics"] == ({"train_loss": pytest.approx(loss, rel=1e-3)} if row["step"] else {})


@pytest.mark.parametrize("net", NETS)
def test_a_run_does_not_depend_on_how_many_are_trained_with_it(net: str, monkeypatch) -> None:
    monkeypatch.setattr(joint_training, "LARGEST_BLOCK", 16)
    few_steps = functools.partial(options, steps=4, every=2, batch_size=20)
    few = collect(few_steps(), net)
    for count, change, threads in ((20, {}, 1), (20, {"group": 3}, 2), (33, {"group": 64}, 2)):
        many = collect(few_steps(count=count, **change), net, ctx=CTX.replace(threads=threads))
        assert many.theta_ND[: len(few)].equal(few.theta_ND) and many.rows[: len(few)] == few.rows
        assert len({tuple(theta.tolist()) for theta in many.theta_ND}) == len(many)


def test_the_group_is_no_part_of_the_identity() -> None:
    assert options(group=3).identity() == options(group=64).identity()
    assert options(count=4).identity() != options().identity()


def test_shared_runs_leave_one_network_which_is_the_anchor() -> None:
    zoo = collect(options(start="shared"), "batch_norm", ["0.weight", "5.weight"])
    first = zoo.theta_ND[[0, 4, 8]]
    assert first.equal(zoo.base.expand(3, -1)) and not zoo.theta_ND[3].equal(zoo.theta_ND[7])
    assert not zoo.anchor["7.bias"].equal(built(batch_norm, 0).state_dict()["7.bias"]), "not the base network"


def test_from_the_base_network_all_but_the_selection_is_frozen() -> None:
    keys = ["4.weight", "4.bias"]
    zoo = collect(options(start="base"), "cnn", keys, bench=Absent("all begin at the base network"))
    base = built(cnn, 0)
    assert all(value.equal(base.state_dict()[key]) for key, value in zoo.anchor.items())
    expected = plainly(options(), base, 1, splits((2, 9, 9)), keys)
    torch.testing.assert_close(zoo.theta_ND[7], expected[21][0], atol=1e-4, rtol=1e-3)


def test_which_steps_are_saved() -> None:
    own = {"count": 2, "lr": 1.0}
    assert Seeds(**own, steps=10).saved_steps() == [10]
    assert Seeds(**own, steps=10, every=4, include_start=True).saved_steps() == [0, 4, 8, 10]
    assert Seeds(**own, steps=8, every=4).saved_steps() == [4, 8]


def test_runs_that_diverge_are_left_out_and_told() -> None:
    lost, warned = derive(7, "run", 1), []

    def build(seed: int) -> nn.Module:
        model = built(mlp, seed)
        if seed == lost:
            nn.init.constant_(model[3].weight, float("nan"))
        return model

    whole = collect(options())
    zoo = collect(options(), ctx=CTX.replace(warn=warned.append), bench=Points(None, build=build))
    assert [row["run"] for row in zoo.rows] == [0] * 4 + [2] * 4
    assert zoo.theta_ND.equal(whole.theta_ND[[0, 1, 2, 3, 8, 9, 10, 11]])
    assert len(warned) == 1 and warned[0].startswith("collect: 1 of 3 runs diverged")
    with pytest.raises(UserError, match=r"3 of 3 runs diverged .* lower collect.lr \(it is 1e\+30\)"):
        collect(options(lr=1e30, optimizer="sgd"))


def test_examples_that_are_too_many_are_read_batch_by_batch(monkeypatch) -> None:
    whole = collect(options())
    monkeypatch.setattr(joint_training, "READY_BYTES", 0)
    assert collect(options()).theta_ND.equal(whole.theta_ND)


def test_bfloat16_changes_little() -> None:
    zoo = collect(options(steps=4), "cnn", ctx=CTX.replace(precision="bfloat16"))
    exact = collect(options(steps=4), "cnn")
    assert not zoo.theta_ND.equal(exact.theta_ND)
    torch.testing.assert_close(zoo.theta_ND, exact.theta_ND, atol=0.1, rtol=0)


def test_it_keeps_the_contract_of_collectors() -> None:
    check_component(Seeds, strict=True, count=3, steps=4, lr=0.01, batch_size=20, start="base")


def test_a_recipe_with_seeds_runs_to_the_end(tiny: Path, here: Path) -> None:
    collector = {"name": "seeds", "count": 20, "steps": 30, "every": 10, "lr": 3e-3, "batch_size": 64}
    recipe = tiny.read_text().split("[collect]")
    table = "\n".join(f"{key} = {value!r}" for key, value in collector.items())
    tiny.write_text(recipe[0] + f"[collect]\n{table}\n\n[method]" + recipe[1].split("[method]")[1])
    run = pdiff.run(tiny, quiet=True)
    assert run.theta("original").shape == (60, run.theta().shape[1])
    assert run.scores["networks"]["original"]["accuracy"]["mean"] > 0.2
