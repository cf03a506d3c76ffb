"""Quantities, beside scikit-learn and torch's own Gaussian."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from torch import nn
from torch.distributions import Normal

from pdiff.components import Architecture, Dataset
from pdiff.data import Batch, DatasetSplits, TensorSplit
from pdiff.engine.scores import scores_of
from pdiff.errors import UserError
from pdiff.results.scores import unit_of
from pdiff.testing import tiny_run
from pdiff_plugins.audit.evaluator import Audit
from pdiff_plugins.evaluators.accuracy import Accuracy
from pdiff_plugins.tasks.errors import Errors
from pdiff_plugins.tasks.regression import Regression


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(40,), (40, 3)])
def test_the_score_is_scikit_learns_r2(shape: tuple[int, ...]) -> None:
    targets, said = drawn(*shape), torch.stack([drawn(*shape) + 0.5 * drawn(*shape, seed=seed) for seed in (1, 2)])
    theirs = [r2_score(targets.numpy(), each.numpy()) for each in said]
    assert Regression().score(said, targets).tolist() == pytest.approx(theirs, rel=1e-5)


def test_of_targets_that_do_not_vary_the_score_is_scikit_learns() -> None:
    targets = torch.full((5,), 2.0)
    for said in (targets, targets + 1):
        assert float(Regression().score(said[None], targets)[0]) == r2_score(targets.numpy(), said.numpy())


def test_an_example_is_wrong_beyond_the_tolerance_of_any_output() -> None:
    targets = torch.tensor([[0.0, 0.0], [2.0, 20.0]])  # deviations 1 and 10
    off = torch.tensor([[0.4, 4.0], [0.6, 0.0]])
    assert Regression().wrong((targets + off)[None], targets).tolist() == [[False, True]]
    assert Regression(tolerance=0.3).wrong((targets + off)[None], targets).tolist() == [[True, True]]


@pytest.mark.parametrize(
    ("loss_by", "theirs"), [("mse", nn.MSELoss()), ("mae", nn.L1Loss()), ("huber", nn.HuberLoss())]
)
def test_losses_take_columns_and_rows(loss_by: str, theirs: nn.Module) -> None:
    said, targets = 3 * drawn(20, 1), drawn(20, seed=1)
    loss = Regression(loss_by=loss_by).loss(lambda x: x, Batch(said, targets))
    assert float(loss) == pytest.approx(float(theirs(said[:, 0], targets)))


def test_measures_are_mean_squared_and_absolute_errors() -> None:
    said, targets = drawn(20, 3), drawn(20, 3, seed=1)
    mse, mae = Regression().measured(said[None], targets)[0].mean(dim=0).tolist()
    assert mse == pytest.approx(float((said - targets).square().mean()))
    assert mae == pytest.approx(float((said - targets).abs().mean()))


@pytest.mark.parametrize("shape", [(30,), (30, 2)])
def test_the_likelihood_is_that_of_a_gaussian_as_wide_as_errors_on_the_selection_split(shape) -> None:
    targets, said = drawn(*shape), drawn(2, *shape, seed=1)
    known, known_said = drawn(*shape, seed=2), drawn(2, *shape, seed=3)
    logp = Regression().log_density(said, targets, (known_said, known))
    for network in range(2):
        width = (known_said[network] - known).double().square().mean(dim=0).sqrt()
        each = Normal(said[network].double(), width).log_prob(targets.double())
        assert torch.allclose(logp[network], each if each.ndim == 1 else each.sum(dim=1))


def test_targets_become_float_and_others_are_refused() -> None:
    task = Regression()
    assert task.checked(torch.tensor([[1], [2]]), 1).equal(torch.tensor([1.0, 2.0]))
    assert task.checked(torch.zeros(3, 2, dtype=torch.float64), 2).dtype == torch.float32
    with pytest.raises(UserError, match="example 1: the target is inf"):
        task.checked(torch.tensor([1.0, float("inf")]), 1)
    with pytest.raises(UserError, match=r"shape \[3, 2\], and the dataset's outputs = 1"):
        task.checked(torch.zeros(3, 2), 1)


class Line(Dataset):
    """A noisy line."""

    name = "line"

    def load(self, ctx):
        x = drawn(180, 2, seed=4)
        y = 50 * x[:, 0] + 10 * drawn(180, seed=5)
        parts = [TensorSplit(x[part].double(), y[part][:, None]) for part in torch.arange(180).split(60)]
        return DatasetSplits(*parts, (2,), 1)


class Linear(Architecture):
    """One layer."""

    name = "linear"

    def build(self, *, input_shape, outputs):
        return nn.Linear(input_shape[0], outputs)


def test_a_whole_run_writes_plain_numbers_and_the_likelihood_of_quantities(tmp_path) -> None:
    run = tiny_run(
        tmp_path, dataset=Line(), task=Regression(), architecture=Linear(), evaluate=[Accuracy(), Errors(), Audit()],
        train={"epochs": 60, "lr": 0.5, "batch_size": 20}, baseline=[{"name": "soup"}],
    )  # fmt: skip
    scores = scores_of(run)
    said, targets = run.predictions("original", "test"), run.data.test.targets
    known, held = run.predictions("original", "validation"), run.data.validation.targets
    original = scores["networks"]["original"]
    theirs = [root_mean_squared_error(targets.numpy(), each.numpy()) for each in said]
    assert original["errors"]["rmse"] == pytest.approx(sum(theirs) / len(theirs), rel=1e-5)
    assert original["errors"]["rmse_best"] == pytest.approx(min(theirs), rel=1e-5)
    absolute = [mean_absolute_error(targets.numpy(), each.numpy()) for each in said]
    assert original["errors"]["mae"] == pytest.approx(sum(absolute) / len(absolute), rel=1e-5)
    width = (known.double() - held.double()).square().mean(dim=1, keepdim=True).sqrt()
    logp_ME = Normal(said.double(), width).log_prob(targets.double())
    assert original["audit"]["nll"] == pytest.approx(-float(logp_ME.mean()), rel=1e-6)
    assert {"ece", "ensembles"}.isdisjoint(original["audit"])
    # Of 20 networks nearly the same, an ensemble of 16 is about as likely as all of them together.
    together = -float((logp_ME.logsumexp(dim=0) - torch.tensor(len(said)).log()).mean())
    assert original["audit"]["ensemble_nll"] == pytest.approx(together, abs=0.02)
    head, rows = run.view(scores).table()
    assert unit_of(scores).name == "" and not any("%" in cell for row in rows for cell in row[2:6])
    assert "ECE" not in head and "NLL" in head  # what no source has is no column
    assert all(" points" not in line for line in scores["audit"]["verdict"])
