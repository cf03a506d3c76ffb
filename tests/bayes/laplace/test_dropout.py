"""Dropout left on: its spread in closed form, what is random, and networks that have none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pdiff.data import TensorSplit
from pdiff.errors import UserError
from pdiff_plugins.bayes.laplace.dropout import Dropout
from tests.bayes.laplace.helpers import CTX, bench_of, points, two_layers, zoo_of


def test_the_spread_of_logits_is_that_of_dropped_features() -> None:
    torch.manual_seed(0)
    model, split = nn.Sequential(nn.Tanh(), nn.Dropout(0.3), nn.Linear(2, 2)).eval(), points(6)
    split = TensorSplit(split.inputs, split.targets % 2)
    zoo = zoo_of(model)
    bench = bench_of(model, zoo, split=split)
    for p in (0.0, 0.6):
        fitted = Dropout(p=p).fit(zoo, bench, CTX)
        logp_MEK = fitted.answers(split, 4000, bench, CTX)
        difference_ME = logp_MEK[..., 1] - logp_MEK[..., 0]
        weight = (model[2].weight[1] - model[2].weight[0]).detach()
        part_E2, dropped = weight * split.inputs.tanh(), p or 0.3
        mean_E = part_E2.sum(dim=1) + float((model[2].bias[1] - model[2].bias[0]).detach())
        variance_E = part_E2.square().sum(dim=1) * dropped / (1 - dropped)
        torch.testing.assert_close(difference_ME.mean(dim=0), mean_E, atol=0.08, rtol=0)
        torch.testing.assert_close(difference_ME.var(dim=0), variance_E, atol=0.02, rtol=0.15)
    assert model[1].p == 0.3 and not model[1].training


def test_all_else_is_as_in_evaluation_and_the_seed_decides() -> None:
    model, split = two_layers(nn.BatchNorm1d(5), nn.Dropout(0.5), nn.ReLU()), points()
    zoo = zoo_of(model)
    bench = bench_of(model, zoo)
    fitted = Dropout().fit(zoo, bench, CTX)
    torch.manual_seed(1)
    first_MEK = fitted.answers(split, 3, bench, CTX)
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    again_MEK = Dropout().load(fitted.tensors(), zoo, bench, CTX).answers(split, 3, bench, CTX)
    assert first_MEK.equal(again_MEK) and first_MEK.shape == (3, 120, 3)
    assert first_MEK[:2].equal(fitted.answers(split, 2, bench, CTX)) and not first_MEK[0].equal(first_MEK[1])
    assert not fitted.answers(split, 3, bench, CTX.replace(seed=5)).equal(first_MEK)
    torch.manual_seed(1)
    assert state.equal(torch.random.get_rng_state())  # nothing of the global stream is taken
    assert fitted.sample(9, bench, CTX).equal(zoo.base[None]) and fitted.facts == {"begins": "one"}
    twin = nn.Sequential(*model[:2], nn.Dropout(0.5).train(), *model[3:])
    norm = twin[1].running_mean.clone()
    assert norm.equal(model[1].running_mean) and model[1].running_mean.equal(zoo.anchor["1.running_mean"])


def test_networks_that_drop_nothing_are_refused() -> None:
    for between, line in (
        ((nn.Tanh(),), "a Sequential, has no nn.Dropout to leave on; take an architecture that has, such as hyper_cnn"),
        ((nn.Dropout(0.0),), "a Sequential, has nn.Dropout of p = 0, which drops nothing; set p"),
    ):
        model = two_layers(*between)
        zoo = zoo_of(model)
        with pytest.raises(UserError) as error:
            Dropout().fit(zoo, bench_of(model, zoo), CTX)
        assert str(error.value).startswith(f"method dropout: the network, {line}")
    bench = bench_of(model, zoo)
    assert Dropout(p=0.2).fit(zoo, bench, CTX).answers(points(), 2, bench, CTX).isfinite().all()
