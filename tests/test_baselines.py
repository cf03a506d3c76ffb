"""Baselines: each against its closed form."""

from __future__ import annotations

import pytest
import torch

from pdiff.context import Context
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.baselines import Base, Constant, Gaussian, Interpolation, Noise, Soup


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    generator = torch.Generator().manual_seed(0)
    layout = Layout((Entry("w", (2, 3), 0), Entry("running_var", (2,), 6, positive=True)))
    mixing = torch.randn(8, 8, generator=generator)
    theta = 0.3 * torch.randn(400, 8, generator=generator) @ mixing + torch.arange(8.0)
    theta[:, 6:] = (0.2 * theta[:, 6:]).exp()
    anchor = {"w": torch.full((2, 3), 7.0), "running_var": torch.ones(2)}
    return Zoo(theta, layout, anchor, [{}] * 400)


def draw(method, zoo: Zoo, count: int = 3000, seed: int = 0) -> torch.Tensor:
    ctx = Context(seed=seed)
    sampled = method.fit(zoo, ctx).sample(count, ctx)
    assert sampled.equal(method.load({}, zoo, ctx).sample(count, ctx))
    assert (sampled[:, 6:] > 0).all()
    return sampled


def test_networks_without_chance(zoo: Zoo) -> None:
    assert draw(Base(), zoo).tolist() == [[7.0] * 6 + [1.0] * 2]
    assert draw(Soup(), zoo)[0].allclose(zoo.theta_ND.mean(dim=0))
    constant = draw(Constant(), zoo)
    assert constant.shape == (1, 8)
    assert constant[0, :6].allclose(zoo.theta_ND[:, :6].mean()) and constant[0, 6:].allclose(zoo.theta_ND[:, 6:].mean())


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
