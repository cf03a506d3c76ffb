"""The posterior: what it begins as, and that training by members and by their ensemble does what it says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import pdiff
from pdiff.context import Context
from pdiff.data import TensorSplit
from pdiff.errors import UserError
from pdiff.objective import Objective
from pdiff.recipe.loading import load_recipe
from pdiff.testing import Points
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.maths.normalise import per_column
from pdiff_plugins.posterior.low_rank import LowRank, sizes
from pdiff_plugins.posterior.method import Posterior
from tests.helpers import TINY

CTX = Context(seed=0, threads=1)


def linear_zoo(count: int = 40, directions: int = 3) -> Zoo:
    model, generator = nn.Linear(4, 3), torch.Generator().manual_seed(0)
    layout = Layout.of(model, ["weight", "bias"])
    theta = torch.randn(count, directions, generator=generator) @ torch.randn(directions, 15, generator=generator)
    return Zoo(theta + 1, layout, model.state_dict(), [{"run": 0, "step": n, "metrics": {}} for n in range(count)])


def bench_of_points(zoo: Zoo) -> Points:
    """Return a bench whose objective is of linear networks."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(500, 4, generator=generator)
    split = TensorSplit(inputs, (inputs[:, :3] + 0.7 * torch.randn(500, 3, generator=generator)).argmax(dim=1))
    objective = Objective(nn.Linear(4, 3), zoo.layout, Classification(), split)
    return Points(zoo, objective=objective)


def test_without_steps_it_is_the_gaussian_of_the_checkpoints() -> None:
    zoo = linear_zoo()
    bench = bench_of_points(zoo)
    theta = Posterior(steps=0, rank=10).fit(zoo, bench, CTX).sample(4000, bench, CTX)
    assert torch.allclose(theta.mean(dim=0), zoo.theta_ND.mean(dim=0), atol=0.15)
    assert torch.allclose(theta.T.cov(), zoo.theta_ND.T.cov(), atol=0.6)


def test_centres_are_checkpoints_and_the_volume_is_that_of_the_axes() -> None:
    zoo = linear_zoo()
    x_ND = per_column(zoo).encode(zoo.theta_ND)
    rows_CD = x_ND[[0, 20, 39]]
    gaussians = LowRank.of(x_ND, centres=3, rank=3, spread=0.5)
    assert gaussians.centres.equal(rows_CD)
    axes = torch.linalg.svdvals(gaussians.factors.detach())
    assert gaussians.log_axes().item() == pytest.approx(axes.log().mean().item(), abs=1e-4)


@pytest.mark.parametrize("rank", [0, 2])
def test_training_lowers_the_loss(rank: int) -> None:
    zoo = linear_zoo()
    bench = bench_of_points(zoo)
    batch = bench.objective.split.batch(torch.arange(500), CTX.device)
    loss = {}
    for steps in (0, 150):
        theta = Posterior(steps=steps, rank=rank, lr=0.05, together=0.0).fit(zoo, bench, CTX).sample(50, bench, CTX)
        assert len(theta) == (50 if rank else 1)
        loss[steps] = bench.objective.losses(theta, batch).mean().item()
    assert loss[150] < 0.7 * loss[0]


def test_the_ensembles_loss_keeps_networks_apart_and_volume_their_spread() -> None:
    zoo = linear_zoo()
    bench, spread = bench_of_points(zoo), {}
    for name, own in {"alone": {"together": 0.0}, "together": {"together": 2.0}, "volume": {"volume": 0.3}}.items():
        method = Posterior(**{"steps": 150, "rank": 2, "lr": 0.05, "together": 0.0} | own)
        spread[name] = method.fit(zoo, bench, CTX).sample(100, bench, CTX).std(dim=0).mean().item()
    assert spread["together"] > 1.1 * spread["alone"] and spread["volume"] > 1.1 * spread["alone"]


def test_larger_weights_that_change_no_function_are_no_volume() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    layout = Layout.of(model, list(model.state_dict()))
    theta_ND = layout.vector(model.state_dict()) + 0.1 * torch.randn(20, layout.dim)
    inverse = 1 / 7.0
    factor_D = layout.per_entry([7.0, 7.0, inverse, 1.0])  # hidden units seven times as large, read by a seventh
    zoos = [Zoo(theta, layout, model.state_dict(), [{}] * 20) for theta in (theta_ND, theta_ND * factor_D)]
    normaliser = per_column(zoos[0])
    gaussians, scaled = (LowRank.of(normaliser.encode(zoo.theta_ND), 2, 3, 1.0) for zoo in zoos)
    with torch.no_grad():  # the same Gaussians, rescaled
        scaled.factors.copy_(gaussians.factors * factor_D)
    plain, relative = (
        [each.log_axes(unit(each)).item() for each in (gaussians, scaled)]
        for unit in (lambda each: None, lambda each: sizes(normaliser, each.centres))
    )
    assert abs(plain[0] - plain[1]) > 0.1 and relative[0] == pytest.approx(relative[1], abs=1e-4)


def test_running_statistics_are_left_as_they_begin() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).eval()
    layout = Layout.of(model, [key for key in model.state_dict() if "num_batches" not in key])
    theta = layout.vector(model.state_dict()) + 0.1 * torch.rand(20, layout.dim)
    zoo = Zoo(theta, layout, model.state_dict(), [{"run": 0, "step": n, "metrics": {}} for n in range(20)])
    split = TensorSplit(torch.randn(100, 4), torch.randint(3, (100,)))
    bench = Points(zoo, objective=Objective(model, layout, Classification(), split))
    begun, trained = (Posterior(steps=steps, rank=2).fit(zoo, bench, CTX).sample(9, bench, CTX) for steps in (0, 3))
    begun, trained = layout.tensors(begun), layout.tensors(trained)
    torch.testing.assert_close(trained["1.running_var"], begun["1.running_var"])
    assert not trained["1.weight"].allclose(begun["1.weight"])


def test_volume_in_half_precision() -> None:
    zoo = linear_zoo()
    bench, ctx = bench_of_points(zoo), CTX.replace(precision="bfloat16")
    assert Posterior(steps=2, rank=10, volume=0.1).fit(zoo, bench, ctx).sample(3, bench, ctx).isfinite().all()


def test_the_same_again_and_from_its_tensors(tmp_path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    own = {
        "run.out": str(tmp_path / "runs"), "method": {"name": "posterior", "steps": 5, "rank": 3, "centres": 2},
        "baseline": [{"name": "posterior", "steps": 5, "rank": 0}], "sample.count": 6,
    }  # fmt: skip
    run = pdiff.run(tmp_path / "tiny.toml", set=own, quiet=True)
    assert list(run.scores["networks"]) == ["original", "posterior", "trained soup"]
    again = pdiff.run(tmp_path / "tiny.toml", set=own | {"run.out": str(tmp_path / "other")}, quiet=True)
    assert run.theta("posterior").equal(again.theta("posterior")) and len(run.theta("trained soup")) == 1


def test_mistakes_are_told_in_one_line(tmp_path) -> None:
    zoo = linear_zoo()
    said: list[str] = []
    fitted = Posterior(centres=41, rank=0, steps=0).fit(zoo, bench_of_points(zoo), CTX.replace(warn=said.append))
    assert len(fitted.sample(99, bench_of_points(zoo), CTX)) == 40
    assert said == ["method.centres = 41 is more than the 40 checkpoints; all 40 are taken instead"]
    with pytest.raises(UserError, match=r"there is no objective to ask for"):
        Posterior().fit(zoo, Points(zoo), CTX)
    (tmp_path / "tiny.toml").write_text(TINY)
    with pytest.raises(UserError, match=r"volume = 0.1 needs axes; set rank to at least 1"):
        load_recipe(tmp_path / "tiny.toml", {"method": {"name": "posterior", "rank": 0, "volume": 0.1}})
