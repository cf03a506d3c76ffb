"""The posterior within the checkpoints' span: what it writes and gathers equals the same with everything held."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import pdiff
from pdiff.context import Context
from pdiff.data import Batch, TensorSplit
from pdiff.errors import UserError
from pdiff.objective import Objective
from pdiff.testing import Points
from pdiff.training.loop import train
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.maths import normalise
from pdiff_plugins.maths.normalise import per_column
from pdiff_plugins.posterior.gradients import Taken
from pdiff_plugins.posterior.low_rank import LowRank, sizes
from pdiff_plugins.posterior.method import Posterior
from pdiff_plugins.posterior.mixtures import Checkpoints, Losses, Volume
from tests.helpers import TINY

CTX = Context(seed=0, threads=1)
MANY = 12


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> Zoo:
    """Return checkpoints of a network with running statistics, read seven columns at a time."""
    monkeypatch.setattr(normalise, "COLUMNS", 7)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).eval()
    layout = Layout.of(model, [key for key in model.state_dict() if "num_batches" not in key])
    theta = layout.vector(model.state_dict()) + 0.3 * torch.rand(MANY, layout.dim)
    return Zoo(theta, layout, model.state_dict(), [{"run": 0, "step": n, "metrics": {}} for n in range(MANY)])


def bench_of(zoo: Zoo) -> Points:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(300, 4, generator=generator)
    split = TensorSplit(inputs, (inputs[:, :3] + 0.5 * torch.randn(300, 3, generator=generator)).argmax(dim=1))
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    return Points(zoo, objective=Objective(model, zoo.layout, Classification(), split))


def dense(zoo: Zoo, basis_KN: Tensor, u_MK: Tensor) -> Tensor:
    """Return networks at these places with everything held; it can be differentiated."""
    x_ND = zoo.layout.to_free(zoo.theta_ND)
    return zoo.layout.from_free(x_ND.mean(dim=0) + u_MK @ basis_KN @ (x_ND - x_ND.mean(dim=0)))


def dense_loss(objective: Objective, theta_MD: Tensor, batch: Batch, together: float) -> Tensor:
    """Return the loss by its definition: probabilities are averaged, and no logarithm is saved."""
    alone = torch.stack([objective.losses(theta_D[None], batch)[0] for theta_D in theta_MD]).mean()
    p_MBK = torch.stack([objective.log_probabilities(theta_D[None], batch.inputs)[0].exp() for theta_D in theta_MD])
    ensemble = -p_MBK.mean(dim=0)[torch.arange(len(batch.targets)), batch.targets].log().mean()
    return (1 - together) * alone + together * ensemble


def test_directions_are_orthogonal_with_the_checkpoints_deviation_and_give_them_back(zoo: Zoo) -> None:
    checkpoints, normaliser = Checkpoints(zoo), per_column(zoo)
    assert checkpoints.u_NK.std(dim=0).allclose(torch.ones(MANY - 1), atol=1e-4)
    theta_ND = torch.empty_like(zoo.theta_ND)
    checkpoints.write(checkpoints.u_NK, theta_ND)
    assert theta_ND.allclose(zoo.theta_ND, atol=1e-5)
    x_ND = zoo.layout.to_free(zoo.theta_ND)
    axes_KD = checkpoints.basis_KN @ (x_ND - x_ND.mean(dim=0)) / normaliser.scale
    values = torch.linalg.svdvals(normaliser.encode(zoo.theta_ND))[: MANY - 1]
    assert (axes_KD @ axes_KD.T).allclose((values.square() / (MANY - 1)).diag(), atol=1e-4)


@pytest.mark.parametrize("together", [0.0, 0.5, 1.3])
def test_loss_and_gradient_are_those_with_everything_held(zoo: Zoo, together: float) -> None:
    checkpoints, objective = Checkpoints(zoo), bench_of(zoo).objective
    batch = objective.split.batch(torch.arange(40), CTX.device)
    streamed, held = (torch.randn(3, MANY - 1, generator=torch.Generator().manual_seed(2)) for _ in range(2))
    value = Taken.apply(streamed.requires_grad_(), Losses(checkpoints, objective, together, 3, CTX), batch)
    expected = dense_loss(objective, dense(zoo, checkpoints.basis_KN, held.requires_grad_()), batch, together)
    value.backward()
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(streamed.grad, held.grad, rtol=1e-4, atol=1e-6)


def test_a_gradient_by_variances_goes_through_their_logarithms(zoo: Zoo) -> None:
    checkpoints = Checkpoints(zoo)
    slope_MD = torch.randn(2, zoo.layout.dim, generator=torch.Generator().manual_seed(3))
    u_MK = torch.randn(2, MANY - 1, generator=torch.Generator().manual_seed(4)).requires_grad_()
    theta_MD = dense(zoo, checkpoints.basis_KN, u_MK)
    (theta_MD * slope_MD).sum().backward()
    torch.testing.assert_close(checkpoints.gather(slope_MD, theta_MD.detach()), u_MK.grad, rtol=1e-4, atol=1e-5)


def test_the_volume_is_that_of_the_same_gaussians_in_all_parameters(zoo: Zoo) -> None:
    checkpoints, normaliser = Checkpoints(zoo), per_column(zoo)
    generator = torch.Generator().manual_seed(5)
    gaussians = LowRank(torch.randn(2, MANY - 1, generator=generator), torch.randn(2, 4, MANY - 1, generator=generator))
    x_ND = zoo.layout.to_free(zoo.theta_ND)
    axes_KD = checkpoints.basis_KN @ (x_ND - x_ND.mean(dim=0)) / normaliser.scale
    in_all = LowRank((gaussians.centres @ axes_KD).detach(), (gaussians.factors @ axes_KD).detach())
    expected = in_all.log_axes(sizes(normaliser, in_all.centres))
    value = Volume(checkpoints, CTX.device)(gaussians)
    assert value.item() == pytest.approx(expected.item(), abs=1e-4)
    value.backward()
    expected.backward()
    torch.testing.assert_close(gaussians.centres.grad, in_all.centres.grad @ axes_KD.T, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(gaussians.factors.grad, in_all.factors.grad @ axes_KD.T, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("rank", [0, 4])
def test_training_ends_where_training_with_everything_held_ends(zoo: Zoo, rank: int) -> None:
    method = Posterior(within="span", rank=rank, steps=60, lr=0.05, networks=3, centres=0 if rank else 2)
    bench, checkpoints = bench_of(zoo), Checkpoints(zoo)
    fitted = method.fit(zoo, bench, CTX)
    begin_CK = checkpoints.u_NK[[0, MANY - 1]] if method.centres else torch.zeros(1, MANY - 1)
    held = LowRank(begin_CK.clone(), torch.eye(MANY - 1)[:rank].repeat(len(begin_CK), 1, 1))

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        return *held.draw(3, generator), *bench.objective.batch(64, generator, CTX.device)

    def loss(which_M: Tensor, z_MZ: Tensor, *batch: Tensor) -> Tensor:
        theta_MD = dense(zoo, checkpoints.basis_KN, held(which_M, z_MZ))
        return dense_loss(bench.objective, theta_MD, Batch(*batch), method.together)

    log = train(held, loss, steps=60, ctx=CTX, what="posterior", lr=0.05, optimizer="adam", draw=draw)
    assert [row["loss"] for row in fitted.log] == pytest.approx([row["loss"] for row in log], abs=1e-3)
    assert fitted.log[-1]["loss"] < 0.95 * fitted.log[0]["loss"]
    weight_CN = held.centres.detach() @ checkpoints.basis_KN
    assert fitted.tensors()["mixtures.centres"].allclose(weight_CN, atol=2e-3)


def test_networks_are_mixtures_and_nothing_as_long_as_one_is_stored(zoo: Zoo) -> None:
    method, bench = Posterior(within="span", rank=3, steps=5), bench_of(zoo)
    fitted = method.fit(zoo, bench, CTX)
    assert {key: tuple(value.shape) for key, value in fitted.tensors().items()} == {
        "mixtures.centres": (1, MANY), "mixtures.factors": (1, 3, MANY),
    }  # fmt: skip
    x_MD, x_ND = (zoo.layout.to_free(theta).double() for theta in (fitted.sample(9, bench, CTX), zoo.theta_ND))
    span_ND = x_ND - x_ND.mean(dim=0)
    away_MD = x_MD - x_ND.mean(dim=0)
    inside_MD = torch.linalg.lstsq(span_ND.T, away_MD.T, driver="gelsd").solution.T @ span_ND
    assert away_MD.norm() > 0.1 and (away_MD - inside_MD).norm() < 1e-5 * away_MD.norm()
    loaded = method.load(fitted.tensors(), zoo, bench, CTX)
    assert loaded.sample(9, bench, CTX).equal(fitted.sample(9, bench, CTX))


def test_half_precision_is_of_the_networks_alone_and_a_task_without_classes_is_told(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_of(zoo)
    fitted = [
        Posterior(within="span", rank=2, steps=3, volume=0.1).fit(zoo, bench, ctx)
        for ctx in (CTX, CTX.replace(precision="bfloat16"))
    ]
    full, half = (each.tensors()["mixtures.centres"] for each in fitted)
    assert half.allclose(full, atol=0.05) and not half.equal(full)
    monkeypatch.setattr(Classification, "log_probabilities", lambda *asked: None)
    with pytest.raises(UserError, match=r"the task gives no class probabilities .* set method.together = 0"):
        Posterior(within="span", steps=1).fit(zoo, bench, CTX)


@pytest.mark.parametrize("within", ["all", "span"])
def test_a_volume_of_equal_checkpoints_is_refused(zoo: Zoo, within: str) -> None:
    same = replace(zoo, theta_ND=zoo.theta_ND[:1].repeat(MANY, 1))
    with pytest.raises(UserError, match=r"method.volume = 0.1 needs checkpoints that differ"):
        Posterior(within=within, volume=0.1, steps=2).fit(same, bench_of(zoo), CTX)


def test_in_a_run_beside_the_trained_soup(tmp_path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    own = {
        "run.out": str(tmp_path / "runs"), "method": {"name": "posterior", "steps": 5, "rank": 3, "within": "span"},
        "baseline": [{"name": "posterior", "steps": 5, "rank": 0, "within": "span"}], "sample.count": 6,
    }  # fmt: skip
    run = pdiff.run(tmp_path / "tiny.toml", set=own, quiet=True)
    again = pdiff.run(tmp_path / "tiny.toml", set=own | {"run.out": str(tmp_path / "other")}, quiet=True)
    assert list(run.scores["networks"]) == ["original", "posterior", "trained soup"]
    assert run.theta("posterior").equal(again.theta("posterior")) and len(run.theta("trained soup")) == 1
