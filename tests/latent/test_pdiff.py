"""p-diff: what it learns is the checkpoints' distribution, and the paper's choices are there to be switched on."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from pdiff.context import Context
from pdiff.testing import Points
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.backbones.codecs import Autoencoder, Conv1dCodec, Identity, Pca
from pdiff_plugins.backbones.denoisers import MlpDenoiser
from pdiff_plugins.latent.pdiff import PDiff
from pdiff_plugins.latent.priors import FlowMatching
from pdiff_plugins.latent.vae import Vae
from pdiff_plugins.maths import normalise


def zoo(count: int = 200, rank: int = 4, variances: bool = True) -> Zoo:
    """Two clusters on a low-dimensional sheet, with a running variance among the tensors."""
    generator = torch.Generator().manual_seed(0)
    layout = Layout(
        (Entry("w", (10, 3), 0), Entry("bn.running_var", (4,), 30, positive=variances), Entry("b", (6,), 34))
    )
    basis = torch.randn(rank, 40, generator=generator)
    z = 0.3 * torch.randn(count, rank, generator=generator)
    z[:, 0] += torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    theta = z @ basis * 0.1 + torch.randn(40, generator=generator)
    theta[:, 30:34] = theta[:, 30:34].exp()
    return Zoo(theta, layout, layout.tensors(theta[0]), [{}] * count)


def fitted(method: PDiff, own: Zoo, seed: int = 0, **context):
    ctx = Context(seed=seed, **context)
    return method.fit(own, Points(own), ctx), ctx


SLOW = [pytest.param(other, marks=pytest.mark.slow) for other in ("x0", "epsilon")]


@pytest.mark.parametrize("prediction", ["v", *SLOW])
def test_samples_have_the_checkpoints_moments_and_both_clusters(prediction: str) -> None:
    own = zoo()
    parts = {"codec": Pca(latent=4), "denoiser": MlpDenoiser(width=128, depth=2)}
    generator, ctx = fitted(PDiff(steps=700, timesteps=100, lr=2e-3, prediction=prediction, **parts), own)
    x = own.layout.to_free(generator.sample(500, Points(own), ctx)).double()
    real = own.layout.to_free(own.theta_ND).double()
    spread = real.std(dim=0).mean()
    assert (x.mean(dim=0) - real.mean(dim=0)).abs().max() < 0.35 * spread
    assert x.std(dim=0).mean().item() == pytest.approx(spread.item(), rel=0.2)
    axis = torch.linalg.svd(real - real.mean(dim=0), full_matrices=False).Vh[0]
    along, along_real = ((v - real.mean(dim=0)) @ axis / ((real - real.mean(dim=0)) @ axis).std() for v in (x, real))
    assert along_real.abs().lt(0.3).float().mean() < 0.06
    assert along.abs().lt(0.3).float().mean() < 0.15, "the gap between the clusters is filled"
    assert 0.3 < (along > 0).float().mean() < 0.7


@pytest.mark.parametrize(
    "method",
    [
        PDiff(steps=20, timesteps=10),
        PDiff(steps=20, timesteps=10, codec=Identity(), sampler="ddim", sampling_steps=5),
        PDiff(steps=20, timesteps=10, codec=Autoencoder(steps=20, latent=3), ema=0.0),
        PDiff(steps=3, timesteps=10, codec=Conv1dCodec(steps=3, latent=8, channels=(4, 8)), faithful=True),
    ],
    ids=["pca", "identity", "autoencoder", "conv1d"],
)
def test_a_saved_generator_samples_the_same(method: PDiff) -> None:
    own = zoo(60)
    generator, ctx = fitted(method, own)
    again = method.load({k: v.clone() for k, v in generator.tensors().items()}, own, Points(own), ctx)
    sampled = generator.sample(7, Points(own), ctx)
    assert sampled.equal(again.sample(7, Points(own), ctx)) and sampled.shape == (7, 40)
    assert torch.isfinite(sampled).all() and (sampled[:, 30:34] > 0).all()
    assert not sampled.equal(generator.sample(7, Points(own), Context(seed=1)))
    parts = {row["part"] for row in generator.log}
    assert "denoiser" in parts and parts <= {"codec", "denoiser"}


def test_the_way_from_noise_begins_in_noise_and_ends_in_the_samples() -> None:
    own = zoo(60)
    generator, ctx = fitted(PDiff(steps=20, timesteps=10), own)
    progress, theta_SMD = generator.path(3, 6, ctx)
    assert progress == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0] and theta_SMD.shape == (6, 3, 40)
    assert theta_SMD[-1].equal(generator.sample(3, Points(own), ctx))


@pytest.mark.parametrize("make", [normalise.per_column, normalise.per_tensor])
def test_normalisation_is_undone_exactly(make) -> None:
    own = zoo(50)
    normaliser = make(own)
    x = normaliser.encode(own.theta_ND)
    assert normaliser.decode(x.clone()).allclose(own.theta_ND, atol=1e-5)
    again = normalise.load(own.layout, normaliser.tensors())
    assert again.encode(own.theta_ND).equal(x)


def test_per_tensor_is_the_originals_formula() -> None:
    own = zoo(50, variances=False)
    normaliser = normalise.per_tensor(own)
    w = own.theta_ND[:, :30]
    assert normaliser.mean[:30].allclose(w.mean(dim=1).mean())
    assert normaliser.scale[:30].allclose(w.std(dim=1).mean())
    logged = normalise.per_tensor(zoo(50))
    v = zoo(50).theta_ND[:, 30:34]
    expected = (v / (0.95 * v.mean(dim=0)) + 0.05).log()
    own = logged.encode(zoo(50).theta_ND)[:, 30:34] * logged.scale[30:34] + logged.mean[30:34]
    assert own.allclose(expected, atol=1e-5)


def test_per_column_spends_nothing_on_what_does_not_change() -> None:
    own = zoo(50)
    x = normalise.per_column(own).encode(own.theta_ND)
    assert x.mean(dim=0).abs().max() < 1e-4
    for entry in own.layout.entries:
        assert x[:, entry.columns].square().mean().sqrt().item() == pytest.approx(1.0, rel=1e-3)


def test_the_gate_warns_with_numbers_when_a_codec_knows_only_the_mean() -> None:
    said: list[str] = []
    lazy = Conv1dCodec(steps=1, latent=4, channels=(4,))
    generator, _ = fitted(
        PDiff(codec=lazy, steps=2, timesteps=5),
        zoo(60),
        warn=said.append,
    )
    facts = generator.facts["codec"]
    assert facts["explained"] < 0.1 and len(said) == 1
    assert (
        "hardly better than predicting the mean" in said[0]
        and f"{facts['error'] / facts['variance']:.3g} times" in said[0]
    )
    assert f"{facts['score_decoded']:.2%}" in said[0]
    said.clear()
    exact, _ = fitted(PDiff(codec=Pca(latent=8), steps=2, timesteps=5), zoo(60), warn=said.append)
    assert exact.facts["codec"]["explained"] > 0.999 and said == []


@pytest.mark.parametrize("method", [PDiff, FlowMatching, Vae])
def test_of_fewer_checkpoints_than_a_batch_holds_all_are_taken(method) -> None:
    """A batch of more networks than there are is one of all of them, to the last bit, and that is said."""
    said: list[str] = []
    more, all_of_them = (
        fitted(method(steps=2, batch_size=size), zoo(20), warn=said.append)[0].tensors() for size in (50, 20)
    )
    assert [line for line in said if line.startswith("method.batch_size")] == [
        "method.batch_size = 50 is more than the 20 checkpoints; all 20 are taken instead"
    ]
    assert all(value.equal(all_of_them[key]) for key, value in more.items())


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValidationError, match="predict 'x0' or 'v'"):
        PDiff(schedule="cosine", prediction="epsilon")
    with pytest.raises(ValidationError, match="sampling_steps = 50 is more than timesteps = 10"):
        PDiff(sampling_steps=50, timesteps=10)


@pytest.mark.parametrize("faithful", [True, False])
def test_a_channel_whose_variance_is_zero_is_no_obstacle(faithful: bool) -> None:
    own = zoo(60)
    own.theta_ND[:, 31] = 0.0
    generator, ctx = fitted(PDiff(steps=5, timesteps=5, faithful=faithful), own)
    sampled = generator.sample(3, Points(own), ctx)
    assert torch.isfinite(sampled).all() and (sampled[:, 30:34] >= 0).all()


def test_one_step_of_a_zoo_without_spread_gives_it_back() -> None:
    own = zoo(60)
    same = Zoo(own.theta_ND[:1].repeat(60, 1), own.layout, own.anchor, [{}] * 60)
    generator, ctx = fitted(PDiff(steps=5, timesteps=5), same)
    assert generator.sample(3, Points(own), ctx).allclose(same.theta_ND[:3], atol=1e-3)
