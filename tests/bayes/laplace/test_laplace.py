"""Laplace: against the library itself, where the curvature is known in closed form, and of a part of a network."""

from __future__ import annotations

import copy
import math
import subprocess
import sys

import laplace
import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector
from torch.utils.data import DataLoader, TensorDataset

from pdiff.files import save_tensors
from pdiff.testing import check_component, tiny_run
from pdiff_plugins.bayes.laplace.method import Laplace
from pdiff_plugins.images.classification import Classification
from tests.bayes.laplace.helpers import CTX, bench_of, nll, points, two_layers, zoo_of


def direct(model: nn.Module, weights: str, structure: str, prior: float):
    """Return the library's own object, fitted as its documentation does."""
    split = points()
    fitted = laplace.Laplace(model, "classification", subset_of_weights=weights, hessian_structure=structure)
    fitted.fit(DataLoader(TensorDataset(split.inputs, split.targets), batch_size=40))
    fitted.prior_precision = torch.tensor(prior)
    return fitted


@pytest.mark.parametrize("structure", ["kron", "diag"])
@pytest.mark.parametrize("weights", ["all", "last_layer"])
def test_networks_are_those_that_the_library_samples(weights: str, structure: str) -> None:
    model = two_layers()
    zoo = zoo_of(model)
    bench = bench_of(model, zoo)
    method = Laplace(weights=weights, structure=structure, grid=(3.0,))
    fitted = method.fit(zoo, bench, CTX)
    theta_MD, theirs = fitted.sample(5, bench, CTX), direct(model, weights, structure, 3.0)
    generator = CTX.generator("sample")
    random_MP = torch.cat([theirs.sample(1, generator) for _ in range(5)]).detach()
    torch.testing.assert_close(theta_MD[:, -random_MP.shape[1] :], random_MP, atol=1e-4, rtol=1e-3)
    still = zoo.layout.dim - random_MP.shape[1]
    assert still == (15 if weights == "last_layer" else 0)
    assert theta_MD[:, :still].equal(zoo.base[:still].expand(5, -1))
    assert fitted.facts["grid"][0]["evidence"] == pytest.approx(
        float(theirs.log_marginal_likelihood(torch.tensor(3.0))), rel=1e-4
    )


@pytest.mark.parametrize("structure", ["kron", "diag", "full"])
def test_linearised_answers_have_the_librarys_mean_and_covariance(structure: str) -> None:
    model = two_layers()
    zoo = zoo_of(model)
    bench, split = bench_of(model, zoo), points()
    fitted = Laplace(structure=structure, predictive="linearised", grid=(3.0,)).fit(zoo, bench, CTX)
    theirs = direct(model, "all", structure, 3.0)
    slope_EKP, f_EK = theirs.backend.jacobians(split.inputs)
    delta_MP = fitted.sample(6, bench, CTX) - zoo.base
    expected = (f_EK + torch.einsum("ekp,mp->mek", slope_EKP, delta_MP)).log_softmax(dim=2)
    torch.testing.assert_close(fitted.answers(split, 6, bench, CTX), expected, atol=1e-4, rtol=1e-3)
    many_MP = (fitted.sample(4000, bench, CTX) - zoo.base).double()
    cov_EKK = torch.einsum("ekp,pq,elq->ekl", slope_EKP.double(), many_MP.T.cov(), slope_EKP.double())
    _, their_EKK = theirs._glm_predictive_distribution(split.inputs)
    torch.testing.assert_close(cov_EKK.float(), their_EKK, rtol=0.15, atol=0.1 * float(their_EKK.abs().max()))


def test_of_a_softmax_regression_the_curvature_is_the_hessian() -> None:
    torch.manual_seed(0)
    model, split = nn.Linear(2, 3), points()
    zoo = zoo_of(model)
    fitted = Laplace(structure="full", grid=(0.5,)).fit(zoo, bench_of(model, zoo), CTX)

    def loss(theta_P: torch.Tensor) -> torch.Tensor:
        values = zoo.layout.tensors(theta_P)
        outputs = split.inputs @ values["weight"].T + values["bias"]
        return nn.functional.cross_entropy(outputs, split.targets, reduction="sum")

    hessian_PP = torch.func.hessian(loss)(zoo.base)
    ours_PP = fitted.curvature.blocks.to_matrix()
    torch.testing.assert_close(ours_PP, hessian_PP, atol=2e-4, rtol=1e-3)
    theta_MD = fitted.sample(20000, bench_of(model, zoo), CTX)
    expected_PP = torch.linalg.inv(hessian_PP + 0.5 * torch.eye(9))
    torch.testing.assert_close(theta_MD.T.cov(), expected_PP, atol=0.05 * float(expected_PP.max()), rtol=0.1)
    evidence = -float(loss(zoo.base)) - 0.5 * (
        float(torch.logdet(hessian_PP / 0.5 + torch.eye(9))) + 0.5 * float(zoo.base.square().sum())
    )
    assert fitted.facts["grid"][0]["evidence"] == pytest.approx(evidence, abs=1e-3)


def test_in_a_last_layer_networks_and_linearised_are_the_same() -> None:
    model = two_layers()
    zoo = zoo_of(model)
    bench, split = bench_of(model, zoo), points()
    methods = Laplace(weights=("last_layer", "all"), predictive=("networks", "linearised"), grid=(1.0, 9.0)).variants()
    assert list(methods) == ["laplace last layer", "laplace all", "laplace all linearised"]
    fitted = {label: method.fit(zoo, bench, CTX) for label, method in methods.items()}
    last = fitted["laplace last layer"]
    assert last.answers(split, 4, bench, CTX) is None and fitted["laplace all"].answers(split, 4, bench, CTX) is None
    theta_MD = last.sample(16, bench, CTX.replace(seed=7))
    delta_MP = theta_MD[:, -18:] - zoo.base[-18:]
    linear = last.varied(bench.objective, CTX.device).linearised(delta_MP, split.inputs)
    torch.testing.assert_close(linear, bench.objective.log_probabilities(theta_MD, split.inputs), atol=1e-4, rtol=1e-4)


def test_the_prior_is_the_one_whose_ensemble_is_likeliest() -> None:
    model = two_layers()
    zoo = zoo_of(model)
    bench, split = bench_of(model, zoo), points()
    for predictive in ("networks", "linearised"):
        method = Laplace(predictive=predictive, grid=(0.1, 10.0, 1000.0), calibrated=False, members=8)
        fitted = method.fit(zoo, bench, CTX)
        rows = fitted.facts["grid"]
        assert fitted.facts["prior"] == min(rows, key=lambda row: row["nll"])["prior"]
        for row in rows:
            delta_MP = torch.stack([*fitted.curvature.draws(8, row["prior"], CTX.generator("prior"))])
            if predictive == "linearised":
                logp = fitted.varied(bench.objective, CTX.device).linearised(delta_MP, split.inputs)
            else:
                logp = bench.objective.log_probabilities(zoo.base + delta_MP, split.inputs)
            assert nll(logp) == pytest.approx(row["nll"], abs=1e-5)
        plain = bench.objective.log_probabilities(zoo.base[None], split.inputs)
        assert fitted.facts["plain_nll"] == pytest.approx(nll(plain), abs=1e-6)
    best = Laplace(prior="marglik", grid=(0.1, 10.0, 1000.0)).fit(zoo, bench, CTX).facts
    assert best["prior"] == max(best["grid"], key=lambda row: row["evidence"])["prior"]


def test_facts_say_what_it_began_from_and_read() -> None:
    model = two_layers()
    zoo = zoo_of(model)
    bench = bench_of(model, zoo)
    facts = {begin: Laplace(begin=begin, grid=(9.0,)).fit(zoo, bench, CTX) for begin in ("base", "soup")}
    assert {key: fitted.facts["begins"] for key, fitted in facts.items()} == {"base": "one", "soup": "checkpoints"}
    assert facts["base"].facts["examples"] == 120 * 3 and facts["base"].facts["random"] == zoo.layout.dim
    around_D = facts["soup"].sample(2000, bench, CTX).mean(dim=0)
    torch.testing.assert_close(around_D, zoo.theta_ND.mean(dim=0), atol=0.1, rtol=0)


def test_what_is_random_is_selected_and_known_to_the_structure() -> None:
    model = two_layers(nn.BatchNorm1d(5), nn.ReLU())
    zoo, said = zoo_of(model), list[str]()
    bench, ctx = bench_of(model, zoo), CTX.replace(warn=said.append)
    theta = zoo.layout.tensors(Laplace(grid=(9.0,)).fit(zoo, bench, ctx).sample(3, bench, CTX))
    moves = {key for key, value in theta.items() if not value.equal(model.state_dict()[key].expand_as(value))}
    assert moves == {"0.weight", "0.bias", "3.weight", "3.bias"}
    assert said[0].startswith("laplace all: Kronecker factors are of linear layers and convolutions alone; 2 other")
    theta = zoo.layout.tensors(Laplace(grid=(9.0,), structure="diag").fit(zoo, bench, ctx).sample(3, bench, CTX))
    moves = {key for key, value in theta.items() if not value.equal(model.state_dict()[key].expand_as(value))}
    assert moves == {"0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"}
    some = zoo_of(model, ["1.weight", "1.bias"])
    fitted = Laplace(grid=(9.0,), structure="full").fit(some, bench_of(model, some), CTX)
    assert fitted.sample(3, bench_of(model, some), CTX).shape == (3, 10) and fitted.facts["random"] == 10
    half = zoo_of(model, ["0.weight", "1.weight", "3.weight", "3.bias"])  # the first layer is not selected whole
    theta_MD = Laplace(grid=(9.0,)).fit(half, bench_of(model, half), CTX).sample(3, bench_of(model, half), CTX)
    assert theta_MD[:, :15].equal(half.base[:15].expand(3, -1)) and not theta_MD[0, 15:].equal(half.base[15:])


def test_entries_in_another_order_and_convolutions_with_channels_last() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Unflatten(1, (1, 2, 1)), nn.Conv2d(1, 4, 1), nn.Tanh(), nn.Conv2d(4, 3, (2, 1)), nn.Flatten()
    )  # fmt: skip
    theirs, generator = direct(copy.deepcopy(model), "all", "kron", 2.0), CTX.generator("sample")
    expected_P = theirs.sample(1, generator)[0].detach()
    model = model.to(memory_format=torch.channels_last)
    zoo = zoo_of(model, ["3.bias", "1.weight", "3.weight", "1.bias"])
    bench, split = bench_of(model, zoo), points()
    fitted = Laplace(grid=(2.0,)).fit(zoo, bench, CTX)
    state = zoo.layout.tensors(fitted.sample(1, bench, CTX)[0])
    ours_P = parameters_to_vector([state[key] for key, _ in model.named_parameters()])
    torch.testing.assert_close(ours_P, expected_P, atol=1e-4, rtol=1e-3)
    assert math.isfinite(nll(bench.objective.log_probabilities(fitted.sample(3, bench, CTX), split.inputs)))


def test_attention_has_a_curvature_and_a_linear_model_and_torch_says_nothing_of_it() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    model = nn.Sequential(nn.Linear(2, 8), nn.Unflatten(1, (2, 4)), layer, nn.Flatten(), nn.Linear(8, 3)).eval()
    zoo, split = zoo_of(model), points()
    bench = bench_of(model, zoo)
    fitted = Laplace(structure="diag", predictive="linearised", grid=(9.0,)).fit(zoo, bench, CTX)  # warnings are errors
    delta_MP = 1e-3 * (fitted.sample(3, bench, CTX) - zoo.base)
    linear = fitted.varied(bench.objective, CTX.device).linearised(delta_MP, split.inputs)
    near = bench.objective.log_probabilities(zoo.base + delta_MP, split.inputs)
    plain = bench.objective.log_probabilities(zoo.base[None], split.inputs)
    assert float((linear - near).abs().max()) < 0.02 * float((near - plain).abs().max())
    assert torch.backends.mha.get_fastpath_enabled()


QUIET = """
from pdiff_plugins.bayes.laplace.method import Laplace
from tests.bayes.laplace.helpers import CTX, bench_of, points, two_layers, zoo_of

model = two_layers()
zoo = zoo_of(model)
bench = bench_of(model, zoo)
fitted = Laplace(predictive="linearised", grid=(9.0,)).fit(zoo, bench, CTX)
fitted.answers(points(), 2, bench, CTX)
"""


def test_nothing_that_libraries_say_of_themselves_is_told() -> None:
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_contract_and_the_same_bytes_twice(tmp_path) -> None:
    check_component(
        Laplace, weights=("last_layer", "all"), structure=("kron", "diag", "full"), grid=(10.0, 100.0), members=3,
        predictive=("networks", "linearised"), strict=True,
    )  # fmt: skip


def test_a_run_gives_the_same_bytes_twice_and_loads_what_it_fitted(tmp_path) -> None:
    found = []
    for name in ("one", "other"):
        method = Laplace(grid=(10.0, 100.0), predictive="linearised")
        run = tiny_run(tmp_path / name, method=method, task=Classification())
        bench = run.bench
        generator = run.generator("laplace all linearised")
        logp_MEK = generator.answers(bench.examples("test"), 4, bench, CTX)
        save_tensors(tmp_path / f"{name}.safetensors", generator.tensors() | {"answers": logp_MEK})
        found.append(((tmp_path / f"{name}.safetensors").read_bytes(), generator.facts))
    assert found[0] == found[1]
    again = method.fit(run.zoo, bench, CTX)
    assert again.facts["examples"] == 60 * 3 and logp_MEK.shape == (4, 60, 3)
    torch.testing.assert_close(logp_MEK.exp().sum(dim=2), torch.ones(4, 60))
