"""Priors over latents: each against its closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from pdiff.context import Context
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins import latent_space
from pdiff_plugins.backbones import Autoencoder, Identity, MlpDenoiser
from pdiff_plugins.densities import Density
from pdiff_plugins.flows import TIMES, Flow
from pdiff_plugins.latent_priors import FlowMatching, Kde
from pdiff_plugins.latent_vae import divergence
from pdiff_plugins.vae import Vae


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    """400 correlated points in the plane; the first coordinate is the score."""
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(400, 2, generator=generator) @ torch.tensor([[2.0, 1.0], [0.0, 0.5]]) + torch.tensor(
        [3.0, -1.0]
    )
    return Zoo(theta, Layout((Entry("w", (2,), 0),)), {"w": torch.zeros(2)}, [{}] * 400)


CTX = Context(seed=0, score=lambda theta_MD: theta_MD[:, 0].double(), warn=lambda _: None)


class Exact(nn.Module):
    """The velocity of N(0, I) -> N(mean, deviation^2), in closed form (Lipman et al. 2023, theorem 2)."""

    def __init__(self, mean: float, deviation: float):
        super().__init__()
        self.mean, self.deviation, self.calls = mean, deviation, 0

    def forward(self, z_BZ: torch.Tensor, t_B: torch.Tensor, condition: None) -> torch.Tensor:
        self.calls += 1
        time = (t_B / TIMES)[:, None]
        variance = (1 - time) ** 2 + (time * self.deviation) ** 2
        slope = (time * self.deviation**2 - (1 - time)) / variance
        return slope * (z_BZ - time * self.mean) + self.mean


def errors(zoo: Zoo, solver: str, steps: int) -> float:
    """Return how far the end of the flow is from the exact map, which is affine."""
    method = FlowMatching(codec=Identity(), solver=solver, sampling_steps=steps)
    space, _ = latent_space.fit(method, zoo, CTX)
    velocity = Exact(mean=1.5, deviation=0.3)
    states = Flow(method, space, velocity)._follow(500, CTX)
    assert velocity.calls == steps * (2 if solver == "heun" else 1)
    return float((states[-1] - (1.5 + 0.3 * states[0])).abs().max())


def test_solvers_follow_the_exact_flow_at_their_order(zoo: Zoo) -> None:
    euler, heun = ([errors(zoo, solver, steps) for steps in (20, 40)] for solver in ("euler", "heun"))
    assert euler[0] / euler[1] == pytest.approx(2, abs=0.4) and heun[0] / heun[1] > 3
    assert heun[1] < euler[1] / 10


def test_flow_matching_learns_mean_and_covariance(zoo: Zoo) -> None:
    method = FlowMatching(codec=Identity(), denoiser=MlpDenoiser(width=32, depth=1), steps=300, lr=1e-2)
    flow = method.fit(zoo, CTX)
    sampled = flow.sample(4000, CTX)
    assert (sampled.mean(dim=0) - zoo.theta_ND.mean(dim=0)).abs().max() < 0.15
    assert (sampled.T.cov() - zoo.theta_ND.T.cov()).abs().max() < 0.5
    fractions, path = flow.path(3, 5, CTX)
    assert fractions == [0.0, 0.24, 0.5, 0.76, 1.0] and path.shape == (5, 3, 2)
    assert path[-1].equal(flow.sample(3, CTX))


def test_a_kernel_density_has_the_moments_of_its_anchors(zoo: Zoo) -> None:
    density = Kde(codec=Identity(), bandwidth=0.5, top=1.0).fit(zoo, CTX)
    sampled, own = density.sample(40_000, CTX).double(), zoo.theta_ND.double()
    expected = own.T.cov(correction=0) + 0.25 * own.var(dim=0).diag()
    assert (sampled.T.cov() - expected).abs().max() < 0.12
    alone = Kde(codec=Identity(), bandwidth=0.01, top=1.0, draw="independent").fit(zoo, CTX).sample(40_000, CTX)
    assert alone.T.corrcoef()[0, 1].abs() < 0.02 < own.T.corrcoef()[0, 1]
    assert alone.std(dim=0).allclose(zoo.theta_ND.std(dim=0), rtol=0.03)


def test_anchors_are_the_best_checkpoints(zoo: Zoo) -> None:
    density = Kde(codec=Identity(), bandwidth=1e-6, top=0.3).fit(zoo, CTX)
    assert isinstance(density, Density) and len(density.anchors()) == 120
    best = zoo.theta_ND[:, 0].sort(descending=True).values[119]
    assert density.sample(500, CTX)[:, 0].min() >= best - 1e-4


def test_the_divergence_is_that_of_two_gaussians() -> None:
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    own = Normal(mean, (0.5 * log_variance).exp())
    expected = kl_divergence(own, Normal(torch.zeros(3), torch.ones(3))).mean()
    assert divergence(mean, log_variance).allclose(expected)


@pytest.mark.parametrize("kl", [0.0, 100.0])
def test_a_vae_trades_what_it_keeps_for_a_prior_that_fits(kl: float) -> None:
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(60, 3, generator=generator) @ torch.randn(3, 20, generator=generator)
    zoo = Zoo(theta, Layout((Entry("w", (20,), 0),)), {"w": theta[0]}, [{}] * 60)
    method = Vae(codec=Autoencoder(latent=8, hidden=32), kl=kl, steps=300, batch_size=60)
    generator = method.fit(zoo, CTX)
    kept = generator.facts["codec"]["explained"]
    assert kept > 0.8 if kl == 0 else kept < 0.1
    sampled = generator.sample(200, CTX)
    assert sampled.shape == (200, zoo.layout.dim) and sampled.isfinite().all()
    again = method.load(generator.tensors(), zoo, CTX).sample(200, CTX)
    assert again.equal(sampled)
