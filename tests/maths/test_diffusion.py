"""The diffusion mathematics against closed forms and textbook formulas written out step by step."""

from __future__ import annotations

import math

import pytest
import torch

from pdiff.errors import UserError
from pdiff_plugins.maths.diffusion import Schedule, coefficients, draw, loss, sample, timesteps

PREDICTIONS = ["epsilon", "x0", "v"]
MEAN, STD = 1.5, 0.5


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian_denoiser(schedule, prediction, mean=MEAN, std=STD):
    """The exact network for data from N(mean, std^2): E[x0 | z_t] in closed form."""

    def denoise(z, t):
        ab = schedule.alpha_bar[t.long()][:, None]
        x0 = mean + ab.sqrt() * std**2 / (ab * std**2 + 1 - ab) * (z.double() - ab.sqrt() * mean)
        epsilon = (z.double() - ab.sqrt() * x0) / (1 - ab).sqrt()
        out = {"epsilon": epsilon, "x0": x0, "v": ab.sqrt() * epsilon - (1 - ab).sqrt() * x0}
        return out[prediction].to(z)

    return denoise


def test_linear_schedule_is_the_product_of_the_range():
    expected, schedule = 1.0, Schedule()
    for t in range(1000):
        expected *= 1 - (1e-4 + (0.02 - 1e-4) * t / 999)
        assert schedule.alpha_bar[t].item() == pytest.approx(expected, rel=1e-12)
    assert expected == pytest.approx(4.04e-5, rel=1e-2)  # what Ho et al. 2020 leave of the signal
    assert Schedule(steps=10).beta[-1].item() == pytest.approx(0.02, rel=1e-12)  # the range does not scale with T


def test_cosine_schedule_is_the_closed_form_where_it_is_not_clipped():
    schedule = Schedule("cosine")
    f = [math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(1001)]
    expected = torch.tensor([x / f[0] for x in f[1:]], dtype=torch.float64)
    torch.testing.assert_close(schedule.alpha_bar[:-1], expected[:-1], rtol=1e-10, atol=0)
    assert schedule.beta[-1].item() == pytest.approx(0.999, rel=1e-12)


def test_marginal_of_add_noise():
    schedule, g = Schedule(), seeded()
    z0 = MEAN + STD * torch.randn(200_000, 1, generator=g)
    for t in (0, 300, 999):
        z = schedule.add_noise(z0, torch.randn(z0.shape, generator=g), torch.full((len(z0),), t))
        ab = schedule.alpha_bar[t].item()
        assert z.mean().item() == pytest.approx(math.sqrt(ab) * MEAN, abs=0.01)
        assert z.std().item() == pytest.approx(math.sqrt(ab * STD**2 + 1 - ab), rel=0.01)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_split_inverts_target(prediction):
    schedule, g = Schedule("cosine"), seeded()
    z0, epsilon = torch.randn(2, 50, 3, generator=g, dtype=torch.float64)
    t = torch.randint(900, (50,), generator=g)
    out = schedule.target(z0, epsilon, t, prediction)
    found = schedule.split(out, schedule.add_noise(z0, epsilon, t), t, prediction)
    torch.testing.assert_close(found, (z0, epsilon), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("sampler", "steps"), [("ddpm", 1000), ("ddim", 1000), ("ddim", 200)])
def test_exact_denoiser_gives_back_the_gaussian(prediction, sampler, steps):
    schedule, g = Schedule(), seeded(1)
    z, _ = sample(
        gaussian_denoiser(schedule, prediction), torch.randn(8000, 1, generator=g), schedule,
        prediction=prediction, sampler=sampler, steps=steps, generator=g,
    )  # fmt: skip
    assert z.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert z.std().item() == pytest.approx(STD, rel=0.03)


def test_ddim_path_is_the_same_whatever_the_network_predicts():
    schedule, z_T = Schedule(), torch.randn(5, 3, generator=seeded(), dtype=torch.float64)
    paths = [
        sample(gaussian_denoiser(schedule, p), z_T, schedule, prediction=p, sampler="ddim", steps=50,
               generator=seeded(), keep=[0, 0.3, 0.6, 1])[1]
        for p in PREDICTIONS
    ]  # fmt: skip
    torch.testing.assert_close(paths[0][0], z_T)
    for path in paths[1:]:
        torch.testing.assert_close(path, paths[0], rtol=1e-9, atol=1e-9)


def test_ddpm_is_algorithm_2_of_ho_et_al():
    """Posterior mean and variance from beta, alpha and alpha_bar (eq. 6-7), with x0 from eq. 15, step by step."""
    T = 60
    schedule = Schedule(steps=T, beta_end=0.2)
    g, net = seeded(3), lambda z, t: torch.tanh(z) + t[:, None] / T
    z = z_T = torch.randn(4, 2, generator=seeded(2), dtype=torch.float64)
    alpha, ab = [], []
    for t in range(T):
        alpha.append(1 - (1e-4 + (0.2 - 1e-4) * t / (T - 1)))
        ab.append(math.prod(alpha))
    for t in reversed(range(T)):
        before = ab[t - 1] if t else 1.0
        out = net(z, torch.full((4,), float(t)))
        x0 = (z - math.sqrt(1 - ab[t]) * out) / math.sqrt(ab[t])
        z = (math.sqrt(before) * (1 - alpha[t]) * x0 + math.sqrt(alpha[t]) * (1 - before) * z) / (1 - ab[t])
        if t:
            variance = (1 - before) / (1 - ab[t]) * (1 - alpha[t])
            z = z + math.sqrt(variance) * torch.randn(z.shape, generator=g).double()
    found, _ = sample(net, z_T, schedule, prediction="epsilon", steps=T, generator=seeded(3))
    torch.testing.assert_close(found, z, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_ddim_is_equation_12_of_song_et_al_when_steps_do_not_divide_T(eta):
    schedule, net, g = Schedule("cosine"), lambda z, t: 0.3 * z - t[:, None] / 1000, seeded(3)
    z = z_T = torch.randn(4, 2, generator=seeded(2), dtype=torch.float64)
    times = timesteps(1000, 7)
    assert times == [999, 856, 713, 570, 428, 285, 142]
    for t, after in zip(times, [*times[1:], None], strict=True):
        ab = schedule.alpha_bar[t].item()
        ab_after = 1.0 if after is None else schedule.alpha_bar[after].item()
        v = net(z, torch.full((4,), float(t)))
        x0, epsilon = math.sqrt(ab) * z - math.sqrt(1 - ab) * v, math.sqrt(1 - ab) * z + math.sqrt(ab) * v
        sigma = eta * math.sqrt((1 - ab_after) / (1 - ab)) * math.sqrt(1 - ab / ab_after)
        z = math.sqrt(ab_after) * x0 + math.sqrt(1 - ab_after - sigma**2) * epsilon
        if sigma:
            z = z + sigma * torch.randn(z.shape, generator=g).double()
    found, _ = sample(net, z_T, schedule, prediction="v", sampler="ddim", steps=7, eta=eta, generator=seeded(3))
    torch.testing.assert_close(found, z, rtol=1e-9, atol=1e-9)


def test_one_ddim_step_is_the_prediction_itself():
    schedule, z_T = Schedule(), torch.randn(6, 2, generator=seeded())
    net = gaussian_denoiser(schedule, "x0")
    z, _ = sample(net, z_T, schedule, prediction="x0", sampler="ddim", steps=1, generator=seeded())
    torch.testing.assert_close(z, net(z_T, torch.full((6,), 999.0)))


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 3, 999, 1000])
def test_every_path_starts_at_the_last_time_and_ends_without_noise(kind, prediction, steps):
    table = coefficients(Schedule(kind), prediction, steps, eta=1.0)
    times = [t for t, _ in table]
    assert times[0] == 999 and times == sorted(set(times), reverse=True) and times[-1] >= 0
    assert table[-1][1][2] == 0.0
    assert all(math.isfinite(x) for _, row in table for x in row)


def test_more_sampling_steps_than_the_schedule_has():
    with pytest.raises(UserError, match="11 is more than the 10"):
        timesteps(10, 11)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_loss_of_the_exact_denoiser_is_the_posterior_variance(prediction):
    """No network does better: E[(x0 - E[x0 | z])^2] = s^2 (1 - ab) / (ab s^2 + 1 - ab), rescaled per prediction."""
    schedule, g = Schedule(), seeded()
    z0 = MEAN + STD * torch.randn(400_000, 1, generator=g)
    ab = schedule.alpha_bar
    rest = STD**2 * (1 - ab) / (ab * STD**2 + 1 - ab)
    scale = {"x0": torch.ones_like(ab), "epsilon": ab / (1 - ab), "v": 1 / (1 - ab)}[prediction]
    found = loss(gaussian_denoiser(schedule, prediction), z0, draw(*z0.shape, schedule, g), prediction)
    assert found.item() == pytest.approx((rest * scale).mean().item(), rel=0.02)
