"""A posterior begun at one network: nothing of the checkpoints is read; and what fits say that they read."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from pdiff.errors import UserError
from pdiff.recipe.loading import load_recipe
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.posterior.method import Posterior
from tests.helpers import TINY
from tests.posterior.test_mixtures import bench_of as bench_of_norms
from tests.posterior.test_posterior import CTX, bench_of_points, linear_zoo

ONE = {"begin": "one", "rank": 4, "lr": 0.05}


def test_only_the_base_network_is_read() -> None:
    zoo = linear_zoo()
    other = replace(zoo, theta_ND=7 * zoo.theta_ND.flip(0))
    fitted = [Posterior(steps=20, **ONE).fit(of, bench_of_points(of), CTX).tensors() for of in (zoo, other)]
    assert all(value.equal(fitted[1][key]) for key, value in fitted[0].items())


def test_it_begins_around_the_base_as_wide_as_is_said() -> None:
    zoo = linear_zoo()
    bench = bench_of_points(zoo)
    begun = Posterior(steps=0, begin="one", rank=32, spread=2.0).fit(zoo, bench, CTX)
    theta_MD, base = begun.sample(4000, bench, CTX), zoo.layout.tensors(zoo.base)
    torch.testing.assert_close(theta_MD.mean(dim=0), zoo.base, atol=0.02, rtol=0)
    for key, value in zoo.layout.tensors(theta_MD).items():
        size = float(base[key].square().mean().sqrt())
        assert float((value - base[key]).square().mean().sqrt()) == pytest.approx(2 * 0.05 * size, rel=0.25)
    assert begun.gaussians.factors.shape == (1, 15, 15)  # no more directions than parameters


def test_training_lowers_the_loss_and_without_directions_gives_one_network() -> None:
    zoo, loss = linear_zoo(), {}
    bench = bench_of_points(zoo)
    batch = bench.objective.split.batch(torch.arange(500), CTX.device)
    for steps in (0, 150):
        for rank in (0, 4):
            theta = Posterior(steps=steps, together=0.0, **ONE | {"rank": rank, "lr": 0.5}).fit(zoo, bench, CTX)
            theta = theta.sample(50, bench, CTX)
            assert len(theta) == (50 if rank else 1)
            loss[steps, rank] = bench.objective.losses(theta, batch).mean().item()
    assert loss[150, 0] < 0.8 * loss[0, 0] and loss[150, 4] < 0.8 * loss[0, 4]


def test_running_statistics_and_zeros() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).eval()
    nn.init.zeros_(model[3].bias)
    layout = Layout.of(model, [key for key in model.state_dict() if "num_batches" not in key])
    zoo = Zoo.of_one(model.state_dict(), layout)
    theta = Posterior(steps=5, **ONE).fit(zoo, bench_of_norms(zoo), CTX).sample(9, bench_of_norms(zoo), CTX)
    values = layout.tensors(theta)
    for key in ("1.running_mean", "1.running_var"):
        torch.testing.assert_close(values[key], model.state_dict()[key].expand_as(values[key]))
    assert float(values["3.bias"].std()) > 1e-4  # what is zero has a size all the same


def test_labels_and_keys() -> None:
    methods = (Posterior(), Posterior(begin="one"), Posterior(begin="one", rank=0))
    assert [*map(list, map(Posterior.variants, methods))] == [["posterior"], ["posterior from one"], ["trained one"]]
    assert "begin" not in Posterior().identity() and Posterior(begin="one").identity()["begin"] == "one"


@pytest.mark.parametrize("own", [{}, {"rank": 0}, {"begin": "one"}, {"within": "span"}])
def test_facts_count_what_networks_saw(own: dict) -> None:
    zoo = linear_zoo()
    method = Posterior.model_validate({"steps": 3, "networks": 5, "batch_size": 7, "rank": 2} | own)
    facts = method.fit(zoo, bench_of_points(zoo), CTX).facts
    assert facts == {"examples": 3 * 5 * 7, "begins": own.get("begin", "checkpoints")}
    if own.get("within"):  # where all networks of a step are one, one is computed
        alone = method.model_copy(update={"rank": 0}).fit(zoo, bench_of_points(zoo), CTX)
        assert alone.facts["examples"] == 3 * 7


def test_refusals(tmp_path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    for own, line in (
        ({"within": "span"}, "begin = 'one' has no checkpoints to span anything; set within = 'all'"),
        ({"centres": 3}, "begin = 'one' has one centre, the base network; set centres = 0, not 3"),
    ):
        with pytest.raises(UserError, match=line):
            load_recipe(tmp_path / "tiny.toml", {"method": {"name": "posterior", "begin": "one"} | own})
