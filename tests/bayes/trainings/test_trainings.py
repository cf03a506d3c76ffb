"""The deep ensemble and the lone network: each is a plain training, whatever is trained beside it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pdiff.components import Ahead, Train
from pdiff.context import derive
from pdiff.data import DatasetSplits, TensorSplit
from pdiff.errors import UserError
from pdiff.objective import Objective
from pdiff.running.snapshot import Snapshot
from pdiff.testing import Points, TinyTask
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.bayes.trainings import training
from pdiff_plugins.bayes.trainings.methods import DeepEnsemble, Lone
from pdiff_plugins.tasks.regression import Regression
from tests.bayes.trainings.helpers import CTX, TRAIN, Killed, Killer, bench_for, fitted, plainly
from tests.collectors.helpers import NETS, splits

SGD = TRAIN.model_copy(update={"optimizer": "sgd", "schedule": "constant"})


@pytest.mark.parametrize("train", [TRAIN, SGD], ids=["adamw", "sgd"])
@pytest.mark.parametrize("net", NETS)
def test_each_network_is_trained_as_the_base_network_is(net: str, train: Train, tmp_path: Path) -> None:
    bench = bench_for(train, net)
    generator = fitted(DeepEnsemble(count=3), bench)
    theta_MD = generator.sample(7, bench, CTX)
    assert theta_MD.shape == (3, bench.zoo.layout.dim) and generator.sample(2, bench, CTX).equal(theta_MD[:2])
    for run, theta_D in enumerate(theta_MD):
        torch.testing.assert_close(theta_D, plainly(bench, run, train, tmp_path), atol=2e-4, rtol=2e-3)
    assert generator.facts == {"examples": 3 * 3 * 40, "each": 3 * 40, "networks": 3, "begins": "nothing"}


@pytest.mark.parametrize("times", [1.0, 2.0])
def test_a_lone_network_is_one_of_them_trained_for_so_many_times_the_epochs(times: float, tmp_path: Path) -> None:
    bench = bench_for(net="batch_norm")
    variants = Lone(trainings=(1.0, 2.0)).variants()
    assert list(variants) == ["lone 1x", "lone 2x"]
    generator = fitted(variants[f"lone {times:g}x"], bench)
    longer = TRAIN.model_copy(update={"epochs": int(3 * times)})
    assert generator.sample(4, bench, CTX).equal(plainly(bench, 0, longer, tmp_path)[None])
    assert generator.facts["examples"] == generator.facts["each"] == 3 * times * 40 and generator.log


def test_options_that_are_given_stand_above_those_of_the_recipe(tmp_path: Path) -> None:
    bench = bench_for(Train())
    own = {"epochs": 2, "lr": 0.02, "batch_size": 10, "optimizer": "sgd", "schedule": "constant", "weight_decay": 0.01}
    expected = plainly(bench, 0, Train(**own, keep="last"), tmp_path)
    assert fitted(Lone(**own), bench).theta_KD.equal(expected[None])
    torch.testing.assert_close(fitted(DeepEnsemble(count=1, **own), bench).theta_KD[0], expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(UserError, match=r"^method.epochs is not given, and \[train\] trains for no epochs"):
        fitted(Lone(), bench)


@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["together", "in turn"])
def test_a_network_does_not_depend_on_how_many_are_trained_with_it(dropout: float) -> None:
    bench = bench_for(net="batch_norm", dropout=dropout)
    few, many = (fitted(DeepEnsemble(count=count), bench).theta_KD for count in (2, 18))
    assert many[:2].equal(few) and len(many.unique(dim=0)) == 18


def test_networks_with_dropout_are_trained_one_after_the_other(tmp_path: Path) -> None:
    bench = bench_for(dropout=0.3)
    theta_KD = fitted(DeepEnsemble(count=2), bench).theta_KD
    assert all(theta_KD[run].equal(plainly(bench, run, TRAIN, tmp_path)) for run in range(2))


def test_so_are_large_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(training.AT_ONCE, "cpu", 1)
    bench = bench_for()
    assert fitted(DeepEnsemble(count=2), bench).theta_KD[1].equal(plainly(bench, 1, TRAIN, tmp_path))


@pytest.mark.usefixtures("saved_at_every_step")
@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["together", "in turn"])
def test_killed_anywhere_it_ends_in_the_same_bytes(dropout: float, tmp_path: Path) -> None:
    bench, method, steps = bench_for(net="batch_norm", dropout=dropout), DeepEnsemble(count=3, epochs=12), 12 * 3
    alone = fitted(method, bench).theta_KD
    ctx, begun = CTX.replace(snapshot=Snapshot(tmp_path)), []
    for units in (50, 40):
        killer = Killer(units)
        with pytest.raises(Killed):
            fitted(method, bench, ctx.replace(progress=killer))
        begun.append(killer.begun[-1])
    last = Killer(10**9)
    assert fitted(method, bench, ctx.replace(progress=last)).theta_KD.equal(alone)
    begun.append(last.begun[-1])
    assert [total for total, _ in begun] == [3 * steps] * 3
    assert begun[0][1] == 0 < begun[-1][1] and sorted(begun) == begun, "it went on where it was killed"


def test_at_the_base_network_only_what_is_selected_is_trained(tmp_path: Path) -> None:
    plain = TensorSplit(*splits((2, 9, 9)).train.batch(torch.arange(40), CTX.device))
    data = DatasetSplits(plain, plain, plain, (2, 9, 9), 3)
    bench = bench_for(net="batch_norm", keys=["7.weight", "7.bias"], data=data)
    generator = fitted(DeepEnsemble(count=2, start="base"), bench)
    assert generator.facts["begins"] == "one"
    layers = bench.build(0)
    layers.load_state_dict(bench.zoo.anchor)
    features = TensorSplit(layers.eval()[:7](plain.inputs).detach(), plain.targets)
    head = nn.Sequential(layers[7])
    layout = Layout.of(head, list(head.state_dict()))
    bench = Points(
        Zoo.of_one(head.state_dict(), layout), objective=Objective(head, layout, bench.task, features),
    )  # fmt: skip
    alone = DeepEnsemble(count=2, start="base", epochs=3, lr=0.01, batch_size=16, weight_decay=0.1).fit(
        bench.zoo, bench, CTX
    )
    norms = "norms keep to the statistics that networks are run with, so that features are those of evaluation"
    torch.testing.assert_close(generator.theta_KD, alone.theta_KD, atol=1e-5, rtol=1e-4, msg=norms)


def test_what_is_not_selected_cannot_be_new() -> None:
    with pytest.raises(
        UserError, match=r"^method.start = 'new': '0.weight' is not selected.* or method.start = 'base'$"
    ):
        fitted(DeepEnsemble(), bench_for(keys=["3.weight", "3.bias"]))
    with pytest.raises(UserError, match=r"^selector: names no trainable parameter"):
        fitted(Lone(start="base"), bench_for(net="batch_norm", keys=["1.running_mean"]))


@pytest.mark.parametrize("method", [DeepEnsemble(count=2, epochs=300), Lone(epochs=300)], ids=lambda one: one.name)
def test_linear_networks_end_at_the_least_squares_solution(method: DeepEnsemble | Lone) -> None:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.3 + 0.1 * x[:, :1].sin()
    split, model = TensorSplit(x, y[:, 0]), nn.Linear(3, 1)
    layout = Layout.of(model, ["weight", "bias"])
    objective = Objective(model, layout, Regression(), split)
    zoo = Zoo.of_one(model.state_dict(), layout)

    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Linear(3, 1)

    bench = Points(zoo, build, objective)
    own = {"lr": 0.02, "optimizer": "sgd", "schedule": "constant", "batch_size": 40}
    theta_KD = method.model_copy(update=own).fit(zoo, bench, CTX).theta_KD
    solution = torch.linalg.lstsq(torch.cat([x, torch.ones(40, 1)], dim=1), y).solution
    torch.testing.assert_close(theta_KD, solution.T.expand(len(theta_KD), -1), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dropout", [0.0, 0.3], ids=["together", "in turn"])
def test_networks_that_diverge_are_left_out_and_told(dropout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, warned, lost = bench_for(dropout=dropout), [], derive(CTX.seed, "run", 1)
    whole, build = fitted(DeepEnsemble(count=3), bench).theta_KD, type(bench).build

    def spoilt(bench, seed: int, outputs: int = 0) -> nn.Module:
        model = build(bench, seed, outputs)
        if seed == lost:
            nn.init.constant_(model[-1].weight, float("nan"))
        return model

    monkeypatch.setattr(type(bench), "build", spoilt)
    generator = fitted(DeepEnsemble(count=3), bench, CTX.replace(warn=warned.append))
    assert generator.theta_KD.equal(whole[[0, 2]]) and generator.facts["examples"] == 3 * 3 * 40
    assert generator.facts["networks"] == 2
    assert len(warned) == 1 and warned[0].startswith("deep_ensemble: 1 of 3 runs diverged")
    with pytest.raises(UserError, match=r"deep_ensemble: 3 of 3 runs diverged .* lower its lr \(it is 1e\+30\)"):
        fitted(DeepEnsemble(count=3, lr=1e30, optimizer="sgd"), bench)


def ahead(train: Train, weights: str = "", task=None) -> Ahead:
    recipe = SimpleNamespace(train=train, task=task or TinyTask(), architecture=SimpleNamespace(weights=weights))
    return Ahead(recipe, "baseline[2]", Path(), False, None)


def test_what_is_missing_is_known_before_anything_is_trained() -> None:
    without, good, published = ahead(Train()), ahead(TRAIN), ahead(TRAIN, "pretrained")
    for said in (without, good, published):
        DeepEnsemble().foresee(said)
    assert without.what("lacks") == [
        "baseline[2].epochs is not given, and [train] trains for no epochs that it could be taken from; give one of "
        "them"
    ]
    assert not good.said and "start = 'base'" in published.what("notes")[0]
    Lone(epochs=2, start="base").foresee(said := ahead(Train(), "pretrained"))
    assert not said.said
