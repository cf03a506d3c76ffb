"""Priors over latents: each against its closed form."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from pdiff import mapped
from pdiff.components import KINDS
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.running.snapshot import Snapshot
from pdiff.testing import tiny_run
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.backbones.codecs import Autoencoder, Identity
from pdiff_plugins.backbones.denoisers import MlpDenoiser
from pdiff_plugins.latent import conditions
from pdiff_plugins.latent import space as latent_space
from pdiff_plugins.latent.densities import Density
from pdiff_plugins.latent.flows import TIMES, Flow
from pdiff_plugins.latent.priors import FlowMatching, Kde
from pdiff_plugins.latent.vae import Vae
from pdiff_plugins.latent.vae_fit import divergence
from tests.benches import Scored


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    """400 correlated points in the plane; the first coordinate is the score."""
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(400, 2, generator=generator) @ torch.tensor([[2.0, 1.0], [0.0, 0.5]]) + torch.tensor(
        [3.0, -1.0]
    )
    return Zoo(theta, Layout((Entry("w", (2,), 0),)), {"w": torch.zeros(2)}, [{}] * 400)


CTX = Context(seed=0, warn=lambda _: None)
BENCH = Scored(lambda theta_MD: theta_MD[:, 0].double())


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
    space, _ = latent_space.fit(method, zoo, BENCH, CTX)
    velocity = Exact(mean=1.5, deviation=0.3)
    states = Flow(method, space, velocity, conditions.learnt(False, zoo))._follow(500, CTX)
    assert velocity.calls == steps * (2 if solver == "heun" else 1)
    return float((states[-1] - (1.5 + 0.3 * states[0])).abs().max())


def test_solvers_follow_the_exact_flow_at_their_order(zoo: Zoo) -> None:
    euler, heun = ([errors(zoo, solver, steps) for steps in (20, 40)] for solver in ("euler", "heun"))
    assert euler[0] / euler[1] == pytest.approx(2, abs=0.4) and heun[0] / heun[1] > 3
    assert heun[1] < euler[1] / 10


def test_flow_matching_learns_mean_and_covariance(zoo: Zoo) -> None:
    method = FlowMatching(codec=Identity(), denoiser=MlpDenoiser(width=32, depth=1), steps=300, lr=1e-2)
    flow = method.fit(zoo, BENCH, CTX)
    sampled = flow.sample(4000, BENCH, CTX)
    assert (sampled.mean(dim=0) - zoo.theta_ND.mean(dim=0)).abs().max() < 0.15
    assert (sampled.T.cov() - zoo.theta_ND.T.cov()).abs().max() < 0.5
    fractions, path = flow.path(3, 5, CTX)
    assert fractions == [0.0, 0.24, 0.5, 0.76, 1.0] and path.shape == (5, 3, 2)
    assert path[-1].equal(flow.sample(3, BENCH, CTX))


def test_a_kernel_density_has_the_moments_of_its_anchors(zoo: Zoo) -> None:
    density = Kde(codec=Identity(), bandwidth=0.5, top=1.0).fit(zoo, BENCH, CTX)
    sampled, own = density.sample(40_000, BENCH, CTX).double(), zoo.theta_ND.double()
    expected = own.T.cov(correction=0) + 0.25 * own.var(dim=0).diag()
    assert (sampled.T.cov() - expected).abs().max() < 0.12
    alone = (
        Kde(codec=Identity(), bandwidth=0.01, top=1.0, unit="dimension").fit(zoo, BENCH, CTX).sample(40_000, BENCH, CTX)
    )
    assert alone.T.corrcoef()[0, 1].abs() < 0.02 < own.T.corrcoef()[0, 1]
    assert alone.std(dim=0).allclose(zoo.theta_ND.std(dim=0), rtol=0.03)


def test_anchors_are_the_best_checkpoints(zoo: Zoo) -> None:
    density = Kde(codec=Identity(), bandwidth=1e-6, top=0.3).fit(zoo, BENCH, CTX)
    assert isinstance(density, Density) and len(density.anchors()) == 120
    best = zoo.theta_ND[:, 0].sort(descending=True).values[119]
    assert density.sample(500, BENCH, CTX)[:, 0].min() >= best - 1e-4


def test_units_that_share_an_anchor_are_one_checkpoint_and_one_noise(zoo: Zoo) -> None:
    method = Kde(codec=Identity(), bandwidth=0.3, top=1.0, unit="dimension", anchor="shared")
    density = method.fit(zoo, BENCH, CTX)
    std = density.z_NZ.std(dim=0)
    z_MZ = density.draw(500, torch.Generator().manual_seed(0))
    off_MAZ = (z_MZ[:, None] - density.anchors()) / (0.3 * std)
    same_MA = (off_MAZ[:, :, 0] - off_MAZ[:, :, 1]).abs()
    assert (same_MA.min(dim=1).values < 1e-3).all()


@pytest.mark.parametrize("anchor", ["independent", "shared"])
def test_a_joint_unit_is_always_one_anchor(zoo: Zoo, anchor: str) -> None:
    drawn = Kde(codec=Identity(), top=1.0, anchor=anchor).fit(zoo, BENCH, CTX).sample(50, BENCH, CTX)
    assert drawn.equal(Kde(codec=Identity(), top=1.0).fit(zoo, BENCH, CTX).sample(50, BENCH, CTX))


def tokens_of_two(anchor: str) -> torch.Tensor:
    """Return which of two checkpoints, all -1 and all 1, each of 3 tokens of 2 numbers is drawn from, `[M, 3, 2]`."""
    space = SimpleNamespace(log=[], facts={}, dim=6, codec=SimpleNamespace(token_shape=(3, 2)))
    method = Kde(unit="token", anchor=anchor, bandwidth=1e-3, top=1.0)
    density = Density(method, space, torch.tensor([[-1.0], [1.0]]).expand(2, 6), torch.zeros(2))
    return density.draw(400, torch.Generator().manual_seed(0)).unflatten(1, (3, 2)).round()


def test_a_token_is_drawn_as_a_whole() -> None:
    apart, shared = tokens_of_two("independent"), tokens_of_two("shared")
    for drawn in (apart, shared):
        assert drawn[..., 0].equal(drawn[..., 1]) and abs(float(drawn.mean())) < 0.2
    assert (shared == shared[:, :1]).all()
    assert ((apart == apart[:, :1]).all(dim=2).all(dim=1).double().mean() - 0.25).abs() < 0.1


def test_select_keeps_the_best_of_many(zoo: Zoo) -> None:
    plain = Kde(codec=Identity(), top=1.0)
    drawn = plain.fit(zoo, BENCH, CTX).sample(500, BENCH, CTX)
    kept = plain.model_copy(update={"select": 5}).fit(zoo, BENCH, CTX).sample(100, BENCH, CTX)
    best = drawn[drawn[:, 0].argsort(descending=True)[:100].sort().values]
    assert kept.equal(best)


def test_the_best_of_many_large_networks_lie_in_a_file(zoo: Zoo, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(mapped, "LARGE", 8)
    made, empty = [], mapped.empty
    monkeypatch.setattr(mapped, "empty", lambda *size: made.append(size) or empty(*size))
    ctx = CTX.replace(snapshot=Snapshot(tmp_path))
    fitted = Kde(codec=Identity(), top=1.0, select=5).fit(zoo, BENCH, CTX)
    made.clear()
    assert fitted.sample(100, BENCH, ctx).equal(fitted.sample(100, BENCH, CTX))
    assert made[:2] == [(500, 2, tmp_path), (100, 2, tmp_path)]


def test_presets_have_labels_of_their_own() -> None:
    made = [KINDS["method"].model_validate({"name": name}) for name in ("kde", "s_kde30", "sane_kde30", "sane_sub")]
    labels = [label for method in made for label in method.variants()]
    assert labels == ["kde", "kde dimension", "kde token", "kde token best of 5"]
    assert list(Kde(unit="token", anchor="shared").variants()) == ["kde token shared"]
    assert list(Kde(anchor="shared").variants()) == ["kde"]


def test_a_codec_without_tokens_is_one_line(zoo: Zoo) -> None:
    with pytest.raises(UserError, match=r"^method.unit = 'token': codec 'identity' has no tokens; take"):
        Kde(codec=Identity(), unit="token").fit(zoo, BENCH, CTX)


def test_samples_of_a_run_are_selected_by_its_selection_split(tmp_path: Path) -> None:
    method = {"name": "kde", "codec": {"name": "identity"}, "bandwidth": 2.0, "top": 1.0}
    means = []
    for select in (1, 6):
        pipeline = tiny_run(tmp_path, method=method | {"select": select})
        theta_MD = pipeline.sample(pipeline.plan.method, 8)
        assert len(theta_MD) == 8
        means.append(float(pipeline.bench.score(theta_MD).mean()))
    assert means[1] > means[0]


def test_the_divergence_is_that_of_two_gaussians() -> None:
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    own = Normal(mean, (0.5 * log_variance).exp())
    expected = kl_divergence(own, Normal(torch.zeros(3), torch.ones(3))).mean()
    torch.testing.assert_close(divergence(mean, log_variance), expected)


@pytest.mark.parametrize("kl", [0.0, 100.0])
def test_a_vae_trades_what_it_keeps_for_a_prior_that_fits(kl: float) -> None:
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(60, 3, generator=generator) @ torch.randn(3, 20, generator=generator)
    zoo = Zoo(theta, Layout((Entry("w", (20,), 0),)), {"w": theta[0]}, [{}] * 60)
    method = Vae(codec=Autoencoder(latent=8, hidden=32), kl=kl, steps=300, batch_size=60)
    generator = method.fit(zoo, BENCH, CTX)
    kept = generator.facts["codec"]["explained"]
    assert kept > 0.8 if kl == 0 else kept < 0.1
    sampled = generator.sample(200, BENCH, CTX)
    assert sampled.shape == (200, zoo.layout.dim) and sampled.isfinite().all()
    again = method.load(generator.tensors(), zoo, BENCH, CTX).sample(200, BENCH, CTX)
    assert again.equal(sampled)
