"""Conditions: networks of what is asked for, from every method with a latent space; guidance, means and middles."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from pdiff.components import KINDS, Transform
from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.running.progress import Progress
from pdiff.testing import Points
from pdiff.zoo import Entry, Layout, Zoo
from pdiff_plugins.backbones.codecs import Autoencoder, Identity, Pca
from pdiff_plugins.backbones.denoisers import Conv1dDenoiser, MlpDenoiser
from pdiff_plugins.backbones.transformers import TransformerDenoiser
from pdiff_plugins.latent import conditions
from pdiff_plugins.latent.pdiff import PDiff
from pdiff_plugins.latent.priors import FlowMatching
from pdiff_plugins.latent.vae import Vae

CTX = Context(seed=3, progress=Progress(), warn=lambda line: None)
ASKED = torch.eye(2)


def zoo(count: int = 60, dim: int = 6) -> Zoo:
    """Two clusters, told by the condition: around -1 and 1 in every number; one number of it never changes."""
    generator = torch.Generator().manual_seed(0)
    of = torch.arange(count) % 2
    theta = 2.0 * of[:, None] - 1 + 0.2 * torch.randn(count, dim, generator=generator)
    rows = [{"run": n, "step": 0, "metrics": {}, "about": {"classes": [int(c)]}} for n, c in enumerate(of)]
    layout = Layout((Entry("w", (dim,), 0),))
    return Zoo(theta, layout, {"w": theta[0]}, rows, condition_NC=torch.cat([ASKED[of], torch.ones(count, 1)], dim=1))


def wanted(count: int, still: float = 1.0) -> torch.Tensor:
    """Return the conditions of so many networks of the first cluster, and as many of the second."""
    return torch.cat([ASKED.repeat_interleave(count, dim=0), torch.full((2 * count, 1), still)], dim=1)


SHORT = {"steps": 300, "lr": 5e-3, "ema": 0.9}
SMALL = {"codec": Pca(latent=4), "denoiser": MlpDenoiser(width=32, depth=1)}
METHODS = {
    "pdiff": PDiff(**SHORT, **SMALL, timesteps=20, schedule="cosine"),
    "flow_matching": FlowMatching(**SHORT, **SMALL, sampling_steps=10),
    "vae": Vae(codec=Autoencoder(latent=4, hidden=32), steps=300, lr=5e-3),
}
DRAWN = [METHODS["pdiff"].model_copy(update={"sampler": "ddim"}), METHODS["flow_matching"]]


@pytest.fixture(scope="module")
def fitted():
    own = zoo()
    return {name: method.fit(own, Points(own), CTX) for name, method in METHODS.items()}


@pytest.mark.parametrize("name", METHODS)
def test_a_network_is_of_the_cluster_that_is_asked_for(name, fitted):
    own, generator = zoo(), fitted[name]
    bench = Points(own)
    assert generator.conditional
    cluster_M = generator.sample(40, bench, CTX, wanted(20)).mean(dim=1).sign()
    assert (cluster_M[:20] == -1).sum() >= 19 and (cluster_M[20:] == 1).sum() >= 19
    assert 8 < (generator.sample(40, bench, CTX).mean(dim=1) > 0).sum() < 32, "conditions are those of checkpoints"
    again = METHODS[name].load({key: value.clone() for key, value in generator.tensors().items()}, own, bench, CTX)
    assert again.conditional and again.sample(6, bench, CTX, wanted(3)).equal(
        generator.sample(6, bench, CTX, wanted(3))
    )


@pytest.mark.parametrize("name", METHODS)
def test_what_never_changed_in_training_says_nothing(name, fitted):
    bench = Points(zoo())
    usual, other = (fitted[name].sample(6, bench, CTX, wanted(3, still)) for still in (1.0, 50.0))
    assert usual.equal(other)


@pytest.mark.parametrize("name", METHODS)
def test_networks_that_were_not_seen_go_through_the_codec(name, fitted):
    new_MD = zoo().theta_ND[:8] + 0.05 * torch.randn(8, 6, generator=torch.Generator().manual_seed(9))
    through_MD = fitted[name].through(new_MD, Points(zoo()), CTX)
    assert (through_MD - new_MD).square().mean() < 0.5 * new_MD.sub(zoo().theta_ND.mean(dim=0)).square().mean()
    exact = PDiff(steps=2, timesteps=4, codec=Identity()).fit(zoo(), Points(zoo()), CTX)
    torch.testing.assert_close(exact.through(new_MD, Points(zoo()), CTX), new_MD)


@pytest.mark.parametrize("denoiser", [Conv1dDenoiser(channels=(8, 8)), TransformerDenoiser(width=16, depth=1, heads=2)])
def test_other_denoisers_take_the_condition(denoiser):
    own = zoo()
    method = PDiff(**SHORT, codec=Pca(latent=4), denoiser=denoiser, timesteps=20, schedule="cosine")
    cluster_M = method.fit(own, Points(own), CTX).sample(40, Points(own), CTX, wanted(20)).mean(dim=1).sign()
    assert (cluster_M[:20] == -1).sum() >= 18 and (cluster_M[20:] == 1).sum() >= 18


@pytest.mark.parametrize("method", DRAWN, ids=["pdiff", "flow_matching"])
def test_a_mean_is_that_of_as_many_samples(method, fitted):
    own, stored = zoo(), fitted[method.name].tensors()
    each, mean = (method.model_copy(update={"mean_of": of}).load(stored, own, Points(own), CTX) for of in (1, 4))
    alone_LD = each.sample(24, Points(own), CTX, wanted(3).repeat_interleave(4, dim=0))
    mean_MD = mean.sample(6, Points(own), CTX, wanted(3))
    torch.testing.assert_close(mean_MD, alone_LD.unflatten(0, (6, 4)).mean(dim=1))
    _, path = mean.path(6, 3, CTX)
    assert path.shape == (3, 6, 6) and path[-1].equal(mean.sample(6, Points(own), CTX))


@pytest.mark.parametrize("method", DRAWN, ids=["pdiff", "flow_matching"])
def test_without_noise_a_condition_has_one_sample(method, fitted):
    own, stored = zoo(), fitted[method.name].tensors()
    middle = method.model_copy(update={"noise": 0.0}).load(stored, own, Points(own), CTX)
    theta_MD = middle.sample(6, Points(own), CTX, wanted(3))
    torch.testing.assert_close(theta_MD[:3], theta_MD[:1].expand(3, -1))
    assert (theta_MD[3] - theta_MD[0]).abs().min() > 1


def test_guidance_goes_beyond_the_condition():
    def denoiser(z_BZ, t_B, condition_BC):
        return z_BZ if condition_BC is None else z_BZ + 1

    z_BZ, t_B, condition_BC = torch.zeros(3, 2), torch.zeros(3), torch.ones(3, 2)
    for guidance in (0.0, 1.0, 2.5):
        said = conditions.guided(denoiser, z_BZ, t_B, condition_BC, guidance)
        assert torch.equal(said, torch.full((3, 2), guidance))
    assert conditions.guided(denoiser, z_BZ, t_B, condition_BC[:, :0], 1.0).equal(z_BZ)


@pytest.mark.parametrize("method", DRAWN, ids=["pdiff", "flow_matching"])
def test_without_guidance_the_condition_is_not_read(method, fitted):
    own, stored = zoo(), fitted[method.name].tensors()
    draw = {
        guidance: method.model_copy(update={"guidance": guidance}).load(stored, own, Points(own), CTX).sample(
            6, Points(own), CTX, wanted(3)
        ) for guidance in (0.0, 1.0)
    }  # fmt: skip
    blind = method.model_copy(update={"guidance": 0.0}).load(stored, own, Points(own), CTX)
    other = blind.sample(6, Points(own), CTX, wanted(3).flip(0))
    assert draw[0.0].equal(other) and not draw[0.0].allclose(draw[1.0])


def test_options_of_conditions_are_of_no_use_without_them():
    own = replace(zoo(), condition_NC=None)
    for option in ({"guidance": 2.0}, {"mean_of": 4}):
        for method in (PDiff, FlowMatching):
            generator = method(steps=2, **option).fit(own, Points(own), CTX)
            assert not generator.conditional
            with pytest.raises(
                UserError, match=rf"^method.{next(iter(option))}: there are no conditions .* \[encoder\]"
            ):
                generator.sample(3, Points(own), CTX)
    assert not PDiff(steps=2, condition=False).fit(zoo(), Points(zoo()), CTX).conditional
    with pytest.raises(ValidationError, match=r"noise = 0.5: sampler 'ddpm' adds noise at every step"):
        PDiff(noise=0.5)


@pytest.mark.parametrize("option", [{"labels": True}, {"label": 7}])
def test_labels_are_a_case_of_conditions(option):
    with pytest.raises(ValidationError, match=r"has gone: .* write the table \[encoder\] with name = 'label'"):
        KINDS["method"].model_validate({"name": "pdiff"} | option)


def test_what_older_finished_runs_have_written_out_is_read():
    assert PDiff.model_validate({"labels": False}) == PDiff()


def test_options_that_came_later_change_no_key():
    for method in (PDiff(), FlowMatching(), Vae()):
        assert not method.identity().keys() & {"whiten", "condition", "mean_of", "noise"}
    assert PDiff().identity()["labels"] is False and FlowMatching(guidance=2).identity()["guidance"] == 2


class Turned(Transform):
    """Add copies of every checkpoint, of which it knows nothing, in another order."""

    name = "turned"

    def zoo(self, zoo, bench, ctx):
        return replace(zoo, theta_ND=zoo.theta_ND.flip(0).repeat(2, 1), rows=zoo.rows[::-1] * 2)


def test_copies_that_a_method_makes_have_the_conditions_of_what_they_copy():
    own = zoo()
    method = METHODS["pdiff"].model_copy(update={"augment": (Turned(),)})
    cluster_M = method.fit(own, Points(own), CTX).sample(40, Points(own), CTX, wanted(20)).mean(dim=1).sign()
    assert (cluster_M[:20] == -1).sum() >= 19 and (cluster_M[20:] == 1).sum() >= 19


def test_the_gate_scores_each_checkpoint_on_what_it_is_about():
    own, seen = zoo(), []

    class Bench(Points):
        def score(self, theta_MD, about=None):
            seen.append((len(theta_MD), about))
            return super().score(theta_MD)

    PDiff(steps=2, timesteps=4).fit(own, Bench(own), CTX)
    told, plain = ([pair for pair in seen if (pair[1] is None) == without] for without in (False, True))
    assert sum(count for count, _ in told) == 32 and plain == [(1, None)]
    assert all(len(about) == count and "classes" in about[0] for count, about in told)
