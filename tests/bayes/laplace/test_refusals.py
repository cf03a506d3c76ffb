"""What Laplace refuses, and what it tells of a prior that does harm."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pdiff.components import KINDS, Ahead
from pdiff.data import TensorSplit
from pdiff.errors import UserError
from pdiff.recipe.loading import load_recipe
from pdiff.testing import tiny_run
from pdiff_plugins.adapters.selector import Lora
from pdiff_plugins.bayes.laplace import curvature
from pdiff_plugins.bayes.laplace.choice import likelihoods
from pdiff_plugins.bayes.laplace.dropout import Dropout
from pdiff_plugins.bayes.laplace.method import GRID, Laplace
from pdiff_plugins.images.classification import Classification
from tests.bayes.laplace.helpers import CTX, bench_of, points, two_layers, zoo_of
from tests.helpers import TINY


def refused(method: Laplace, model: nn.Module, keys=(), task=None, split=None) -> str:
    zoo = zoo_of(model, keys)
    with pytest.raises(UserError) as error:
        method.fit(zoo, bench_of(model, zoo, task, split), CTX)
    return str(error.value)


def test_selections_in_which_nothing_can_be_random(monkeypatch: pytest.MonkeyPatch) -> None:
    model = two_layers(nn.LayerNorm(5), nn.Tanh())
    first = refused(Laplace(weights="last_layer"), model, ["0.weight", "0.bias", "3.weight"])
    assert first.startswith("method.weights = 'last_layer': 3.bias is not selected")
    norms = refused(Laplace(), model, ["1.weight", "1.bias"])
    assert norms.startswith("method.structure = 'kron': no linear layer or convolution of its own is in the")
    ends = refused(Laplace(weights="last_layer"), nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)))
    assert ends.startswith("method.weights = 'last_layer': the network's last is 1, of LayerNorm, which is not linear")
    monkeypatch.setattr(curvature, "MOST", 10)
    whole = refused(Laplace(structure="full"), model)
    assert whole.startswith("method.structure = 'full': 43 parameters are random, and of at most 10 the whole matrix")


def test_of_layers_that_share_a_weight_and_of_adapters_no_factors_are_known(tmp_path) -> None:
    model, said = two_layers(nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh()), list[str]()
    model[4].weight = model[2].weight
    zoo = zoo_of(model)
    fitted = Laplace(grid=(9.0,)).fit(zoo, bench_of(model, zoo), CTX.replace(warn=said.append))
    assert fitted.facts["still"] == ["2.weight", "2.bias", "4.bias"] and len(said) == 1
    assert fitted.sample(3, bench_of(model, zoo), CTX).isfinite().all()
    run = tiny_run(
        tmp_path, architecture={"name": "mlp", "hidden": (5,)}, task=Classification(), selector=Lora(rank=1),
        collect={"name": "trajectory", "count": 4, "lr": 0.01, "batch_size": 20},
    )  # fmt: skip
    with pytest.raises(UserError, match=r"^method.structure = 'kron': no linear layer or convolution of its own"):
        Laplace().fit(run.zoo, run.bench, CTX)
    fitted = Laplace(structure="diag", predictive="linearised", grid=(9.0,)).fit(run.zoo, run.bench, CTX)
    assert fitted.answers(run.bench.examples("test"), 3, run.bench, CTX).isfinite().all()


def test_what_the_library_cannot_do_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("sizes\n  differ")

    monkeypatch.setattr("laplace.baselaplace.ParametricLaplace.fit", fails)
    assert refused(Laplace(structure="diag"), two_layers()) == (
        "laplace: the library cannot take the curvature of this network (RuntimeError: sizes differ); try another "
        "method.structure than 'diag', or leave the method out"
    )


class Recurrent(nn.Module):
    """Reads each point as two steps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.LSTM(1, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(inputs[:, :, None])[0][:, -1])


def test_a_layer_without_a_derivative_forwards_is_told_in_one_line() -> None:
    line = refused(Laplace(structure="diag", predictive="linearised", grid=(9.0,)), Recurrent().eval())
    assert line.startswith("method.predictive = 'linearised': a layer has no derivative forwards (Trying to use")
    assert "\n" not in line and line.endswith("; set it to 'networks'")


def test_tasks_and_inputs_that_it_cannot_read() -> None:
    model, split = two_layers(), points()
    for name, targets in (("regression", torch.randn(120, 3)), ("multilabel", torch.randint(2, (120, 3)))):
        task = KINDS["task"].model_validate({"name": name})
        line = refused(Laplace(), model, task=task, split=TensorSplit(split.inputs, targets))
        assert line.startswith(f"laplace: task {name} does not give each example one of several classes")
    pairs = TensorSplit((split.inputs, split.inputs), split.targets)
    assert refused(Laplace(), model, split=pairs).startswith("laplace: the library reads one tensor for each example")


class Weighted(Classification):
    """Errors on one class count more."""

    name = "weighted"

    def loss(self, model, batch):
        weight = torch.tensor([1.0, 5.0, 1.0])
        return nn.functional.cross_entropy(model(batch.inputs), batch.targets, weight=weight)


def test_a_loss_of_another_curvature_is_refused_and_smoothed_labels_have_the_same() -> None:
    line = refused(Laplace(), two_layers(), task=Weighted())
    assert line.startswith("laplace: the loss of task weighted (") and line.endswith("; leave it out")
    zoo = zoo_of(two_layers())
    fitted = [
        Laplace(grid=(9.0,)).fit(zoo, bench_of(two_layers(), zoo, Classification(label_smoothing=part)), CTX).tensors()
        for part in (0.0, 0.2)
    ]
    assert all(value.equal(fitted[1][key]) for key, value in fitted[0].items())


def test_tasks_without_classes_are_told_before_anything_is_trained(tmp_path) -> None:
    recipe = SimpleNamespace(task=KINDS["task"].model_validate({"name": "regression"}))
    for method, line in (
        (Laplace(), "method: laplace needs classes' likelihood, and task regression has none; leave it out"),
        (Dropout(), "method: passes of dropout answer by classes' probabilities, and task regression has none; leave"),
    ):
        ahead = Ahead(recipe, "method", tmp_path, False, None)
        method.foresee(ahead)
        assert len(ahead.what("lacks")) == 1 and ahead.what("lacks")[0].startswith(line)


def test_a_missing_library_is_told_before_anything_is_done(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    recipe = load_recipe(tmp_path / "tiny.toml")
    ahead = Ahead(recipe, "method", tmp_path, False, None)
    Laplace().foresee(ahead)
    assert not ahead.said
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "laplace" else find(name))
    Laplace().foresee(ahead)
    (line,) = ahead.what("lacks")
    assert line == (
        "method: laplace: needs the library laplace-torch, which is missing; pip install 'neural-pdiff[laplace]', or "
        "leave the method out"
    )
    assert refused(Laplace(), two_layers()) == line.removeprefix("method: ")


def test_a_prior_that_does_harm_is_told_with_both_likelihoods() -> None:
    model = two_layers()
    zoo, said = zoo_of(model), list[str]()
    bench = bench_of(model, zoo)
    fitted = Laplace(grid=(1e-4,)).fit(zoo, bench, CTX.replace(warn=said.append))
    facts = fitted.facts
    assert facts["calibrated_nll"] > facts["plain_calibrated_nll"] and said == fitted.warnings() == [facts["worse"]]
    assert facts["worse"] == (
        f"laplace all: no better than the network it is around: calibrated NLL on the selection split "
        f"{facts['calibrated_nll']:.4f}, alone {facts['plain_calibrated_nll']:.4f}, with the prior's precision 0.0001"
    )
    said.clear()
    kind = Laplace(grid=(1e-4,), calibrated=False).fit(zoo, bench, CTX.replace(warn=said.append)).facts
    assert f": NLL on the selection split {kind['nll']:.4f}, alone {kind['plain_nll']:.4f}" in said[0]


def test_the_temperature_is_the_best_one() -> None:
    generator = torch.Generator().manual_seed(0)
    logp_EK = (3 * torch.randn(200, 4, generator=generator)).log_softmax(dim=1)
    targets_E = torch.distributions.Categorical(logits=logp_EK / 2.5).sample()
    raw, calibrated = likelihoods(logp_EK, targets_E)
    tried = [
        nn.functional.nll_loss((logp_EK.double() / t).log_softmax(dim=1), targets_E)
        for t in torch.linspace(0.1, 8, 2000, dtype=torch.float64)
    ]
    assert calibrated == pytest.approx(float(min(tried)), abs=1e-5) and calibrated < raw
    certain = torch.tensor([[0.0, -torch.inf], [0.0, -torch.inf]])
    assert all(map(torch.isfinite, map(torch.tensor, likelihoods(certain, torch.tensor([0, 0])))))


def test_lists_of_settings_are_a_row_each() -> None:
    method = Laplace.model_validate({"weights": "last_layer", "structure": ["kron", "diag"], "begin": "soup"})
    assert list(method.variants()) == ["laplace last layer soup", "laplace last layer diag soup"]
    assert Laplace(prior="marglik").variants().keys() == {"laplace all marglik"} and len(GRID) == 13
