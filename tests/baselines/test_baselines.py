"""Baselines: each against its closed form."""

from __future__ import annotations

import pytest
import torch

import pdiff
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.mapped import windows
from pdiff.testing import Points
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.baselines.averages import Average, GreedySoup, Mixture
from pdiff_plugins.baselines.plain import Base, Constant, Gaussian, Interpolation, Noise, Soup
from pdiff_plugins.baselines.spreads import Copy, GaussianDiagonal, NoiseAbsolute, NoiseZoo, Swag
from pdiff_plugins.maths import normalise
from tests.benches import Scored


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    generator = torch.Generator().manual_seed(0)
    layout = Layout((Entry("w", (2, 3), 0), Entry("running_var", (2,), 6, positive=True)))
    mixing = torch.randn(8, 8, generator=generator)
    theta = 0.3 * torch.randn(400, 8, generator=generator) @ mixing + torch.arange(8.0)
    theta[:, 6:] = (0.2 * theta[:, 6:]).exp()
    anchor = {"w": torch.full((2, 3), 7.0), "running_var": torch.ones(2)}
    return Zoo(theta, layout, anchor, [{}] * 400)


@pytest.fixture(autouse=True, params=[65_536, 3])
def columns_at_a_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalise, "COLUMNS", request.param)
    monkeypatch.setitem(windows.__kwdefaults__, "width", request.param)


def draw(method, zoo: Zoo, count: int = 3000, seed: int = 0) -> torch.Tensor:
    ctx, bench = Context(seed=seed), Points(zoo)
    sampled = method.fit(zoo, bench, ctx).sample(count, bench, ctx)
    assert sampled.equal(method.load({}, zoo, bench, ctx).sample(count, bench, ctx))
    assert (sampled[:, 6:] > 0).all()
    return sampled


def test_networks_without_chance(zoo: Zoo) -> None:
    assert draw(Base(), zoo).tolist() == [[7.0] * 6 + [1.0] * 2]
    assert draw(Soup(), zoo)[0].allclose(zoo.theta_ND.mean(dim=0), atol=1e-5)
    constant = draw(Constant(), zoo)
    assert constant.shape == (1, 8)
    for columns in (slice(6), slice(6, 8)):
        assert constant[0, columns].allclose(zoo.theta_ND[:, columns].mean(), atol=1e-5)


@pytest.mark.parametrize("spread", [1.0, 0.3])
def test_the_gaussian_has_the_zoos_mean_and_covariance(zoo: Zoo, spread: float) -> None:
    x = zoo.layout.to_free(draw(Gaussian(spreads=(spread,)), zoo, 40_000)).double()
    own = zoo.layout.to_free(zoo.theta_ND).double()
    assert x.mean(dim=0).allclose(own.mean(dim=0), atol=0.05)
    assert x.T.cov().allclose(spread**2 * own.T.cov(), atol=0.03, rtol=0.08)


def test_noise_is_in_units_of_each_tensors_spread(zoo: Zoo) -> None:
    x = draw(Noise(scales=(0.05,)), zoo)
    distance = (x[:, None, :6] - zoo.theta_ND[None, :, :6]).norm(dim=2)
    nearest = zoo.theta_ND[distance.argmin(dim=1)]
    noise = (x - nearest)[:, :6] / nearest[:, :6].std(dim=1, keepdim=True)
    assert noise.std().item() == pytest.approx(0.05, rel=0.05)


def test_each_scale_is_a_population_of_its_own() -> None:
    assert list(Noise(scales=(0.001, 0.05)).variants()) == ["noise 0.001", "noise 0.05"]
    assert list(Gaussian(spreads=(1.0, 0.3)).variants()) == ["gaussian 1", "gaussian 0.3"]
    assert list(Soup().variants()) == ["soup"]


def test_interpolation_lies_between_two_different_checkpoints(zoo: Zoo) -> None:
    few = Zoo(zoo.theta_ND[:3], zoo.layout, zoo.anchor, [{}] * 3)
    for x in draw(Interpolation(), few, 20):
        pairs = [(0, 1), (0, 2), (1, 2)]
        gaps = [
            (x - few.theta_ND[a]).norm() + (x - few.theta_ND[b]).norm() - (few.theta_ND[a] - few.theta_ND[b]).norm()
            for a, b in pairs
        ]
        assert min(gaps) < 1e-4


def test_another_seed_gives_other_networks(zoo: Zoo) -> None:
    for method in (Noise(), Gaussian(), Interpolation()):
        assert not draw(method, zoo, 5, seed=0).equal(draw(method, zoo, 5, seed=1))


@pytest.mark.parametrize("of", [1, 16])
def test_averages_of_some(zoo: Zoo, of: int) -> None:
    sampled, own = draw(Average(of=(of,)), zoo), zoo.theta_ND
    assert sampled.mean(dim=0).allclose(own.mean(dim=0), atol=0.05)
    shrunk = (1 / of * (400 - of) / 399) ** 0.5  # of a mean of so many, drawn without repetition
    assert (sampled.std(dim=0) / own.std(dim=0)).allclose(torch.full((8,), shrunk), atol=0.03)
    if of == 1:
        assert (sampled[:, None, :] == own).all(dim=2).any(dim=1).all()


def test_mixtures_have_the_moments_of_a_flat_dirichlet(zoo: Zoo) -> None:
    sampled, own, of = draw(Mixture(of=(5,)), zoo, 8000), zoo.theta_ND, 5
    # E[w^2] = 2 / (K (K + 1)) for each weight, so the variance is 2 / (K + 1) of a checkpoint's, but for repetition.
    expected = ((2 / (of + 1) * 400 - 1) / 399) ** 0.5
    assert (sampled.std(dim=0) / own.std(dim=0)).allclose(torch.full((8,), expected), atol=0.02)
    assert (sampled[:, 6:] > 0).all()


def test_greedy_soup_takes_only_what_does_not_harm(zoo: Zoo) -> None:
    target = zoo.theta_ND[7]
    ctx, nearness = Context(seed=0), Scored(lambda theta_MD: -(theta_MD - target).norm(dim=1).double())
    generator = GreedySoup().fit(zoo, nearness, ctx)
    assert generator.members.tolist() == [7]
    level = Scored(lambda theta_MD: torch.ones(len(theta_MD), dtype=torch.float64))
    whole = GreedySoup().fit(zoo, level, ctx)
    assert whole.sample(5, level, ctx).allclose(draw(Soup(), zoo), atol=1e-5)
    assert whole.sample(1, level, ctx).equal(GreedySoup().load(whole.tensors(), zoo, level, ctx).sample(1, level, ctx))


def test_noise_of_the_zoos_length_is_as_far_from_the_average_as_checkpoints_and_even_in_direction(zoo: Zoo) -> None:
    x_MD, x_ND = (zoo.layout.to_free(theta) for theta in (draw(NoiseZoo(lengths=(2.0,)), zoo, 20_000), zoo.theta_ND))
    away_MD, away_N = x_MD - x_ND.mean(dim=0), (x_ND - x_ND.mean(dim=0)).norm(dim=1)
    assert away_MD.norm(dim=1).mean().item() == pytest.approx(2 * away_N.mean().item(), rel=0.02)
    way_MD = away_MD / away_MD.norm(dim=1, keepdim=True)
    assert way_MD.T.cov().allclose(torch.eye(8) / 8, atol=0.01) and way_MD.mean(dim=0).norm() < 0.03


def test_copies_and_absolute_noise(zoo: Zoo) -> None:
    copies = draw(Copy(), zoo, 200)
    assert (copies[:, None] == zoo.theta_ND).all(dim=2).any(dim=1).all()
    ctx, bench = Context(seed=0), Points(zoo)
    base, moved = (
        zoo.layout.to_free(NoiseAbsolute(scales=(scale,)).fit(zoo, bench, ctx).sample(5000, bench, ctx))
        for scale in (1e-9, 0.06)
    )
    assert (moved - base).std(dim=0).allclose(torch.full((8,), 0.06), rtol=0.05)


def test_a_diagonal_gaussian_has_the_variances_and_no_covariance(zoo: Zoo) -> None:
    x = zoo.layout.to_free(draw(GaussianDiagonal(), zoo, 40_000)).double()
    own = zoo.layout.to_free(zoo.theta_ND).double()
    assert x.var(dim=0).allclose(own.var(dim=0), rtol=0.05)
    assert (torch.corrcoef(x.T) - torch.eye(8)).abs().max() < 0.03 < (torch.corrcoef(own.T) - torch.eye(8)).abs().max()


def test_swag_has_half_the_diagonal_and_half_the_low_rank_covariance(zoo: Zoo) -> None:
    x = zoo.layout.to_free(draw(Swag(rank=20), zoo, 60_000)).double()
    own = zoo.layout.to_free(zoo.theta_ND).double()
    running = torch.stack([own[: n + 1].mean(dim=0) for n in range(400)])
    deviation = (own - running)[-20:]
    expected = own.var(dim=0, correction=0).diag() / 2 + deviation.T @ deviation / (2 * 19)
    assert (x.T.cov() - expected).abs().max() < 0.03 * expected.abs().max()


def test_what_is_read_by_columns_equals_the_same_with_everything_held(zoo: Zoo) -> None:
    ctx, count, many = Context(seed=0), 7, len(zoo)
    chosen_M = torch.randint(many, (count,), generator=ctx.generator("copy"))
    assert draw(Copy(), zoo, count).equal(zoo.theta_ND[chosen_M])
    generator = ctx.generator("interpolation")
    pairs_M2 = torch.rand(count, many, generator=generator).topk(2, dim=1).indices
    weight_M1 = torch.rand(count, 1, generator=generator)
    first_MD, second_MD = zoo.theta_ND[pairs_M2[:, 0]], zoo.theta_ND[pairs_M2[:, 1]]
    assert draw(Interpolation(), zoo, count).allclose(first_MD + weight_M1 * (second_MD - first_MD), atol=1e-6)
    chosen_MK = torch.rand(count, many, generator=ctx.generator("average")).topk(16, dim=1).indices
    assert draw(Average(of=(16,)), zoo, count).allclose(zoo.theta_ND[chosen_MK].mean(dim=1), atol=1e-5)
    g_MN = torch.randn(count, many, generator=ctx.generator("gaussian"), dtype=torch.float64)
    x_ND = zoo.layout.to_free(zoo.theta_ND).double()
    expected_MD = x_ND.mean(dim=0) + g_MN @ (x_ND - x_ND.mean(dim=0)) / (many - 1) ** 0.5
    assert draw(Gaussian(), zoo, count).allclose(zoo.layout.from_free(expected_MD).float(), rtol=1e-5)


def test_what_is_told_of_a_baseline_names_it_and_not_the_method(tiny, capsys) -> None:
    few = {"run.out": str(tiny.parent / "runs"), "evaluate": [], "report": [], "collect.count": 8, "train.epochs": 1}
    few |= {"method.batch_size": 4, "method.steps": 2}
    pdiff.run(tiny, set=few | {"baseline": [{"name": "pdiff", "batch_size": 9, "steps": 2}]})
    assert "baseline 'pdiff #2': batch_size = 9 is more than the 8 checkpoints; all 8" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"^baseline 'kde token': unit = 'token': codec 'pca' has no tokens"):
        pdiff.run(tiny, set=few | {"baseline": [{"name": "kde", "unit": "token"}]}, quiet=True)
