"""Diffusion of images: the schedulers of diffusers, the loss, and training stopped midway."""

from __future__ import annotations

import pytest
import torch

from pdiff.context import Context
from pdiff.training.loop import train
from pdiff_plugins.generation.diffusion import images, loss
from pdiff_plugins.maths.diffusion import Schedule, coefficients
from tests.generation.helpers import unet


@pytest.mark.parametrize("steps", [10, 1000])
def test_images_are_those_of_the_schedulers_of_diffusers(steps):
    """Clipped, with the noise that follows from the clipped image."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(clip_sample=True, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    x = start = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def model(x, t):
        return 0.9 * x + 0.1 * torch.sin(3 * x)

    for t in scheduler.timesteps:
        x = scheduler.step(model(x, t), t, x, eta=0.0, use_clipped_model_output=True).prev_sample
    torch.testing.assert_close(images(model, start, Schedule(), steps=steps, eta=0.0), x, atol=1e-4, rtol=0)


def test_sampling_is_that_of_latents_where_nothing_is_clipped():
    """The linear model whose images stay small: clipping has no effect, and the folded update is the same."""
    schedule, start = Schedule(steps=100), 0.1 * torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))

    def model(x, t):
        return 0.5 * x

    x = start
    for t, (a, b, _) in coefficients(schedule, "epsilon", 20, 0.0):
        x = a * x + b * model(x, t)
    assert x.abs().max() < 1
    torch.testing.assert_close(images(model, start, schedule, steps=20, eta=0.0), x)


def test_images_lie_in_range_and_depend_on_their_own_noise_alone():
    model, start = unet(), torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for eta in (0.0, 1.0):
        with torch.no_grad():
            together = images(model, start, Schedule(), steps=4, eta=eta)
            alone = torch.cat([images(model, one, Schedule(), steps=4, eta=eta) for one in start.split(1)])
        assert together.abs().max() <= 1
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_the_exact_noise_of_a_point_leads_to_it():
    """For data that are one image x0 the ideal network is known, and every sampler ends there."""
    schedule, x0 = Schedule(), torch.linspace(-0.9, 0.9, 16).view(1, 1, 4, 4)

    def ideal(x, t):
        alpha_bar = schedule.alpha_bar[t.long()].float().view(-1, 1, 1, 1)
        return (x - alpha_bar.sqrt() * x0) / (1 - alpha_bar).sqrt()

    start = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for steps, eta in ((10, 0.0), (50, 1.0)):
        drawn = images(ideal, start, schedule, steps=steps, eta=eta)
        torch.testing.assert_close(drawn, x0.expand(2, -1, -1, -1), atol=1e-3, rtol=0)


def test_the_loss_is_one_for_a_network_that_finds_nothing_and_draws_from_the_global_generator():
    x0 = torch.randn(2000, 1, 4, 4).clamp(-1, 1)
    torch.manual_seed(5)
    first = loss(lambda x, t: torch.zeros_like(x), x0, Schedule())
    assert first.item() == pytest.approx(1, abs=0.03)
    torch.manual_seed(5)
    assert torch.equal(loss(lambda x, t: torch.zeros_like(x), x0, Schedule()), first)


@pytest.mark.usefixtures("saved_at_every_step")
def test_training_stopped_midway_ends_in_the_same_bytes(tmp_path):
    from pdiff.running.snapshot import Snapshot

    x0 = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)

    def trained(ctx, stop=0):
        model = unet()

        def one(step, generator):
            if stop and step == stop:
                raise KeyboardInterrupt
            return loss(model, x0, Schedule())

        train(model, one, steps=6, ctx=ctx, what="x", lr=1e-3, ema=0.9)
        return model.state_dict()

    whole = trained(Context(seed=1))
    ctx = Context(seed=1, snapshot=Snapshot(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        trained(ctx, stop=3)
    again = trained(ctx)
    assert all(torch.equal(value, whole[key]) for key, value in again.items())
