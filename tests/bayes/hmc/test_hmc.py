"""The method: networks from the posterior that integration gives, the same each time, and what it is not for."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import pdiff
from pdiff.components import Ahead, Architecture, Task
from pdiff.context import Context
from pdiff.data import DatasetSplits, TensorSplit
from pdiff.engine.bench import RunBench
from pdiff.errors import UserError
from pdiff.running.snapshot import Snapshot
from pdiff.testing import TinyNet, bench_of, tiny_splits
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.bayes.hmc import target
from pdiff_plugins.bayes.hmc.fitting import Draws
from pdiff_plugins.bayes.hmc.method import Hmc
from pdiff_plugins.bayes.hmc.target import Target, deviations
from pdiff_plugins.conditions.families.shifts import Shifts
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.networks.small import ConvNetMini, HyperCnn, Mlp
from pdiff_plugins.tasks.regression import Regression
from tests.bayes.trainings.helpers import Killed, Killer
from tests.helpers import TINY

CTX = Context(seed=0, threads=1)
SMALL = ConvNetMini(channels=(3, 2), hidden=4)
SHORT = {"chains": 2, "draws": 10, "warmup": 5, "descent": 5, "path": 0.1, "deviation": 1.0}


class Line(Architecture):
    """Logistic regression of one input: two weights and no bias."""

    name = "line"

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        return nn.Linear(input_shape[0], outputs, bias=False)


def fitted_by(bench: RunBench, ctx: Context = CTX, **options: Any) -> Draws:
    draws = Hmc(**SHORT | options).fit(bench.zoo, bench, ctx)
    assert isinstance(draws, Draws)
    return draws


def bench_for(architecture: Any, data: DatasetSplits, task: Task | None = None, keep: str = "") -> RunBench:
    """Return the bench of a zoo of one network; `keep`: how the names of selected entries begin."""
    torch.manual_seed(0)
    model = architecture.build(input_shape=data.input_shape, outputs=data.outputs)
    layout = Layout.of(model, [key for key in model.state_dict() if key.startswith(keep)])
    zoo = Zoo.of_one({key: value.clone() for key, value in model.state_dict().items()}, layout)
    return bench_of(zoo, architecture, task or Classification(), data)


def two_classes(count: int = 12) -> DatasetSplits:
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(count) % 2
    split = TensorSplit(2.0 * targets[:, None] - 1 + 1.5 * torch.randn(count, 1, generator=generator), targets)
    return DatasetSplits(split, split, split, input_shape=(1,), outputs=2)


def test_a_logistic_regression_has_the_posterior_that_integration_gives() -> None:
    data = two_classes()
    bench = bench_for(Line(), data)
    fitted = fitted_by(bench, chains=16, draws=200, warmup=60, path=1.6, descent=0, deviation=2.0, step=0.3)
    theta_MD = fitted.sample(10_000, bench, CTX).double()
    assert len(theta_MD) == 3200
    grid = torch.linspace(-9, 9, 361, dtype=torch.float64)
    theta_PD = torch.cartesian_prod(grid, grid)
    inputs = data.train.batch(torch.arange(12), CTX.device).inputs.double()
    logits_PEK = inputs[None] * theta_PD[:, None]
    log_P = logits_PEK.log_softmax(dim=2)[:, torch.arange(12), data.train.targets].sum(dim=1)
    weight_P = (log_P - theta_PD.square().sum(dim=1) / (2 * 2.0**2)).softmax(dim=0)
    mean_D = weight_P @ theta_PD
    covariance_DD = (theta_PD - mean_D).T @ (weight_P[:, None] * (theta_PD - mean_D))
    assert torch.allclose(theta_MD.mean(dim=0), mean_D, atol=0.12)
    assert torch.allclose(theta_MD.T.cov(), covariance_DD, atol=0.25)
    known = bench.log_probabilities(theta_MD.float(), "test", 0)
    assert known
    expected_EK = torch.einsum("p,pek->ek", weight_P, logits_PEK.softmax(dim=2))
    assert torch.allclose(known[0].exp().mean(dim=0).double(), expected_EK, atol=0.02)
    facts = fitted.facts
    assert facts["rhat"]["largest"] < 1.02 and facts["rhat_log_posterior"] < 1.02 and facts["ess"]["smallest"] > 400
    assert facts["accept"] == pytest.approx(0.8, abs=0.1) and facts["begins"] == "nothing"


class Attention(Architecture):
    """Torch's own layer of a transformer, and a head."""

    name = "attention"

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        layer = nn.TransformerEncoderLayer(16, 2, 8, dropout=0.0, batch_first=True)
        return nn.Sequential(nn.Flatten(1, 2), layer, nn.Flatten(), nn.Linear(256, outputs))


NETWORKS = [(Mlp(hidden=(5, 4)), ""), (Mlp(hidden=(5, 4)), "3"), (SMALL, ""), (Attention(), "")]


@pytest.mark.parametrize(("architecture", "keep"), NETWORKS)
def test_the_gradient_of_all_chains_is_that_of_each(
    monkeypatch: pytest.MonkeyPatch, architecture: Architecture, keep: str
) -> None:
    monkeypatch.setattr(target, "EXAMPLES", 40)  # so that 60 examples are taken in two parts
    bench = bench_for(architecture, tiny_splits((1, 16, 16)), keep=keep)
    zoo = bench.zoo
    deviation_D = deviations(zoo.layout, 2.0, True)
    goal = Target(bench.objective, deviation_D, 3, CTX.device)
    x_CD = torch.randn(3, zoo.layout.dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        potential_C, gradient_CD = goal(x_CD)
    x_CD.requires_grad_()
    batch = bench.objective.split.batch(torch.arange(60), CTX.device)
    wanted_C = 60 * bench.objective.losses(x_CD * deviation_D, batch) + x_CD.square().sum(dim=1) / 2
    torch.testing.assert_close(potential_C, wanted_C.detach())
    torch.testing.assert_close(gradient_CD, torch.autograd.grad(wanted_C.sum(), x_CD)[0], rtol=1e-4, atol=1e-4)


def test_the_prior_is_by_inputs_or_the_same_for_all() -> None:
    zoo = bench_for(Mlp(hidden=(5,)), tiny_splits()).zoo
    parts = zoo.layout.tensors(deviations(zoo.layout, 3.0, True))
    assert torch.allclose(parts["1.weight"], torch.tensor(3 / math.sqrt(2)))
    assert torch.allclose(parts["3.weight"], torch.tensor(3 / math.sqrt(5))) and parts["3.bias"].eq(3).all()
    assert deviations(zoo.layout, 3.0, False).eq(3).all()


def test_of_a_selection_all_else_stays_and_chains_begin_apart() -> None:
    bench = bench_for(Mlp(hidden=(5,)), tiny_splits(), keep="3.")
    fitted = fitted_by(bench)
    assert fitted.theta_CSD.shape == (2, 10, 18) and not fitted.theta_CSD[0, 0].equal(fitted.theta_CSD[1, 0])


def test_networks_are_of_all_chains_in_turn() -> None:
    bench = bench_for(Mlp(hidden=(5,)), tiny_splits())
    draws = Draws(torch.arange(40.0).view(2, 20, 1))
    assert draws.sample(4, bench, CTX)[:, 0].tolist() == [9, 29, 19, 39]
    assert draws.sample(3, bench, CTX)[:, 0].tolist() == [9, 29, 19]
    assert sorted(draws.sample(99, bench, CTX)[:, 0].tolist()) == list(range(40))


@pytest.mark.usefixtures("saved_at_every_step")
@pytest.mark.parametrize("after", [3, 9])
def test_the_same_again_and_after_a_kill(tmp_path: Any, after: int) -> None:
    bench = bench_for(Mlp(hidden=(5,)), tiny_splits())
    whole = fitted_by(bench)
    ctx, last = CTX.replace(snapshot=Snapshot(tmp_path)), Killer(15 - after)
    with pytest.raises(Killed):
        fitted_by(bench, ctx.replace(progress=Killer(5 + after)))  # 5 of the descent
    again = fitted_by(bench, ctx.replace(progress=last))
    assert last.begun == [(15, after)], "it went on where it was killed"
    assert again.theta_CSD.equal(whole.theta_CSD) and again.facts == whole.facts and again.log == whole.log
    assert not fitted_by(bench, CTX.replace(seed=1)).theta_CSD.equal(whole.theta_CSD)


def test_a_run_with_it(tmp_path: Any) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    own = {"run.out": str(tmp_path / "runs"), "method": Hmc(**SHORT), "baseline": [], "evaluate": [], "sample.count": 6}
    run = pdiff.run(tmp_path / "tiny.toml", set=own, quiet=True)
    facts = run.scores["facts"]["hmc"]
    assert len(run.theta("hmc")) == 6 and facts["chains"] == 2 and facts["examples"] > 0


def told(task: Task | None = None, architecture: Any = None, keep: str = "") -> str:
    bench = bench_for(architecture or Mlp(hidden=(5,)), tiny_splits(), task, keep)
    with pytest.raises(UserError) as error:
        fitted_by(bench)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_it_is_not_for_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "'2.running_mean' is selected, which has no derivative" in told(architecture=TinyNet())
    assert "is not the cross-entropy of its log-probabilities" in told(Classification(label_smoothing=0.2))
    assert "task regression gives no log-probabilities of one class each" in told(Regression())
    images = tiny_splits((1, 20, 20))
    bench = bench_for(HyperCnn(dropout=0.3), images)
    with pytest.raises(UserError, match=r"has dropout, and .*; set its rate to 0, or leave hmc out"):
        fitted_by(bench)
    monkeypatch.setattr(target, "MOST", 30)
    assert "33 parameters are selected, and chains of more than 30" in told()


class Weighted(Classification):
    """Errors on one class count more."""

    name = "weighted"

    def loss(self, model: Any, batch: Any) -> torch.Tensor:
        weight = torch.tensor([1.0, 5.0])
        return nn.functional.cross_entropy(model(batch.inputs), batch.targets, weight=weight)


@pytest.mark.parametrize("sure", [False, True], ids=["in order of classes", "of no loss at all"])
def test_weights_of_classes_are_found_whatever_the_examples_and_the_network(sure: bool) -> None:
    targets = torch.arange(60) // 30
    split = TensorSplit((3.0 * targets - 1)[:, None], targets)
    bench = bench_for(Line(), DatasetSplits(split, split, split, input_shape=(1,), outputs=2), Weighted())
    if sure:
        with torch.no_grad():
            bench.objective.model.weight.copy_(torch.tensor([[-50.0], [50.0]]))
    with pytest.raises(UserError, match=r"the loss of task weighted .* is not the cross-entropy"):
        fitted_by(bench)


def test_chains_that_do_not_agree_are_told() -> None:
    bench = bench_for(Mlp(hidden=(5,)), tiny_splits())
    said: list[str] = []
    fitted_by(bench, CTX.replace(warn=said.append), path=0.001, step=1e-4, warmup=0)
    assert len(said) == 1 and "above 1.05: the chains are not of one distribution yet; raise method.draws" in said[0]


def test_chains_that_stand_still_are_told_by_numbers() -> None:
    said: list[str] = []
    bench, still = bench_for(Mlp(hidden=(5,)), tiny_splits()), {"step": 5.0, "path": 10.0, "warmup": 0, "descent": 0}
    facts = fitted_by(bench, CTX.replace(warn=said.append), **still | {"deviation": 3.0}).facts
    assert facts["accept"] == 0 and facts["rhat"] == dict.fromkeys(("largest", "q95", "median"), math.inf)
    assert "R-hat is inf at its largest" in said[0] and "20 of 20 trajectories diverged" in said[1]


def test_tasks_without_one_likelihood_are_told_before_anything_is_trained() -> None:
    for task, line in (
        (Classification(label_smoothing=0.1), "method: hmc needs a likelihood, and task.label_smoothing = 0.1 makes"),
        (Regression(), "method: hmc needs classes' likelihood, and task regression has none; leave hmc out"),
        (Shifts(), "method: hmc draws networks for one thing, and of task shifts each has its own"),
    ):
        recipe = SimpleNamespace(task=task)
        ahead = Ahead(recipe=recipe, key="method", data_root=Path(), download=False, checkpoints=None)
        Hmc().foresee(ahead)
        assert len(ahead.what("lacks")) == 1 and line in ahead.what("lacks")[0]
