"""Whole runs with adapters: collected in each way, sampled, scored, and handed on as plain networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pdiff.context import Context
from pdiff.engine.bench import predictor_of
from pdiff.engine.preflight import look_ahead
from pdiff.files import load_tensors
from pdiff.networks import extended
from pdiff.runs import Run
from pdiff.testing import tiny_run
from pdiff.zoo import Layout
from pdiff_plugins.adapters.factors import pairs
from pdiff_plugins.collectors.tasks.joint import TaskLosses
from pdiff_plugins.populations import chooser

DIGITS = {"name": "digits", "image_size": 8, "augment": "none"}
SHORT = {"lr": 0.01, "batch_size": 32}
TASKS = {"name": "tasks", "learnt": 4, "held_out": 2, "steps": 6, **SHORT}
COLLECTORS: dict[str, dict[str, Any]] = {
    "trajectory": {"collect": {"name": "trajectory", "count": 8, **SHORT}},
    "seeds shared": {"collect": {"name": "seeds", "count": 4, "steps": 6, "start": "shared", **SHORT}},
    "seeds independent": {"collect": {"name": "seeds", "count": 4, "steps": 6, "start": "independent", **SHORT}},
    "seeds base": {"collect": {"name": "seeds", "count": 4, "steps": 6, "start": "base", **SHORT}},
    "tasks": {
        "collect": TASKS, "task": {"name": "subsets"}, "encoder": {"name": "bits"}, "train": {},
        "baseline": [{"name": "nearest"}, {"name": "ridge"}, {"name": "hypernetwork", "steps": 3, "tasks": 2}],
    },
}  # fmt: skip
ARCHITECTURES = {
    "mlp": {"name": "mlp", "hidden": (12, 8)},
    "cnn": {"name": "strided_cnn", "channels": (4, 6), "hidden": (8,)},
    "vit": {"name": "vit_mini", "depth": 2, "dim": 8, "heads": 2, "head_dim": 4, "mlp_dim": 12, "patch": 4},
}


def tables(collector: str, architecture: str = "mlp", **lora: Any) -> dict[str, Any]:
    return {
        "dataset": DIGITS, "task": {"name": "classification"}, "architecture": ARCHITECTURES[architecture],
        "selector": {"name": "lora", "rank": 2} | lora, "train": {"epochs": 4, "batch_size": 32, "lr": 0.01},
        "method": {"name": "pdiff", "steps": 4, "timesteps": 6, "batch_size": 4, "codec": {"name": "pca", "latent": 2}},
        "baseline": [{"name": name} for name in ("base", "soup", "copy", "noise", "gaussian", "interpolation")],
        "evaluate": [{"name": "accuracy"}, {"name": "similarity"}, {"name": "distance"}],
    } | COLLECTORS[collector]  # fmt: skip


RUNS = [pytest.param(collector, "mlp") for collector in COLLECTORS]
RUNS += [pytest.param(collector, "cnn") for collector in ("seeds shared", "tasks")]
RUNS += [pytest.param(collector, "vit", marks=pytest.mark.slow) for collector in ("seeds shared", "tasks")]


@pytest.mark.parametrize(("collector", "architecture"), RUNS)
def test_run(collector: str, architecture: str, tmp_path: Path) -> None:
    given = tables(collector, architecture, alpha=3, biases=True)
    if collector == "tasks":
        given["evaluate"] = [{"name": "conditions", "tasks": 2, "samples": 2, "adapt": (0,), "rival_steps": 2}]
    pipeline = tiny_run(tmp_path, **given)
    run, zoo = Run(tmp_path / "run", pipeline), pipeline.zoo
    base, selector = pipeline.base_network(), pipeline.recipe.selector
    factors = {entry.key for pair in pairs(zoo.layout) for entry in (pair.a, pair.b)}
    biases = {entry.key for entry in zoo.layout.entries} - factors
    assert biases and all(key.endswith(".bias") for key in biases)
    for key, value in base.state_dict().items():
        assert zoo.anchor[key].equal(value), "adapters begin with the network as it was, with its biases"
    a_KRI = pairs(zoo.layout)[0].split(zoo.theta_ND)[0]
    assert not a_KRI[0].equal(a_KRI[-1]) and zoo.theta_ND.isfinite().all(), "adapters are trained"
    score_M = pipeline.bench.score(zoo.theta_ND, [row["about"] for row in zoo.rows] if collector == "tasks" else None)
    assert score_M.isfinite().all()
    for source in run.sources:
        assert run.theta(source).shape[1] == zoo.layout.dim
        state = run.state_dict(0, source)
        assert set(state) == set(base.state_dict())
        network = pipeline.base_network()
        network.load_state_dict(state, strict=True)
        larger = extended(pipeline.base_network(), selector, 0).eval()
        larger.load_state_dict(zoo.state_dict(run.theta(source)[0]))
        x = pipeline.data.test.batch(torch.arange(20), torch.device("cpu")).inputs
        torch.testing.assert_close(network.eval()(x), larger(x), rtol=1e-4, atol=1e-4)
    assert all(pipeline.evaluate(evaluator) for evaluator in pipeline.recipe.evaluate)


def test_the_network_that_is_written_beside_has_no_adapter_of_the_start(tmp_path: Path) -> None:
    start = {"start": "multitask", "start_steps": 20, "start_batch": 32, "start_lr": 0.01}
    pipeline = tiny_run(tmp_path, **tables("tasks") | {"collect": TASKS | start})
    run, zoo = Run(tmp_path / "run", pipeline), pipeline.zoo
    assert zoo.base[pairs(zoo.layout)[0].b.columns].any(), "the start is an adapter"
    run.export(tmp_path / "out", format="peft", source="original", which=0)
    for key, value in load_tensors(tmp_path / "out" / "base.safetensors").items():
        assert value.equal(pipeline.base_network().state_dict()[key])


@pytest.fixture(scope="module", params=["cnn", "vit"])
def population(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Tensor]:
    """Return the bench of adapters, and some of them."""
    pipeline = tiny_run(tmp_path_factory.mktemp("runs"), **tables("trajectory", request.param, alpha=3))
    theta_MD = pipeline.zoo.theta_ND + 0.1 * torch.randn(8, pipeline.zoo.layout.dim)
    return pipeline.bench, theta_MD


def test_each_way_of_a_population_predicts_what_merged_networks_do(
    population: tuple[Any, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, theta_MD = population
    plain, split = bench.build(0, outputs=10), bench.data.test
    expected = []
    with torch.no_grad():
        for theta_D in theta_MD:
            plain.load_state_dict(bench.selector.plain(bench.zoo.state_dict(theta_D)))
            x = split.batch(torch.arange(len(split)), torch.device("cpu")).inputs
            expected.append(plain.eval()(x).argmax(dim=1))
    for quick, worth, steady in ((1e9, 1e9, False), (0.0, 1e9, False), (0.0, 0.0, False), (0.0, 0.0, True)):
        monkeypatch.setattr(chooser, "QUICK_S", quick)
        monkeypatch.setattr(chooser, "WORTH_S", worth)
        predictor = predictor_of(bench.network, bench.zoo.layout, bench.task, Context(seed=0), steady)
        found_ME = predictor.predict(theta_MD, split, Context(seed=0), "population")
        assert (found_ME != torch.stack(expected)).float().mean() < 0.002


def test_what_no_adapter_reaches_is_computed_once(tmp_path: Path) -> None:
    given = tables("trajectory", "vit", targets=["blocks.1.*"])
    pipeline = tiny_run(tmp_path, **given)
    bench, x = pipeline.bench, pipeline.data.example()
    parted = chooser.Parted(bench.network.eval(), bench.zoo.layout.keys, (x,))
    whole = chooser.Parted(bench.network, Layout.of(bench.network, list(bench.zoo.anchor)).keys, (x,))
    assert parted.shares_work and parted.bytes < 0.7 * whole.bytes
    entries = bench.zoo.layout.tensors(bench.zoo.theta_ND[-1])
    bench.network.load_state_dict(bench.network.state_dict() | entries)
    torch.testing.assert_close(parted.suffix(entries, parted.prefix(x)), bench.network(x), rtol=1e-4, atol=1e-5)


def test_gradients_of_many_adapters_are_those_of_each(population: tuple[Any, Tensor]) -> None:
    bench, theta_MD = population
    losses = TaskLosses(replace(bench), Context(seed=0))
    index = torch.arange(32).reshape(8, 4)
    batches = [bench.data.train.batch(rows, torch.device("cpu")) for rows in index]
    batch = type(batches[0])(*map(torch.stack, zip(*batches, strict=True)))
    gradient_GD, losses_G = losses.gradients(theta_MD, batch)
    for theta_D, one, gradient_D, loss in zip(theta_MD, batches, gradient_GD, losses_G, strict=True):
        theta_1D = theta_D[None].requires_grad_()
        alone = bench.objective.losses(theta_1D, one)[0]
        alone.backward()
        torch.testing.assert_close(loss, alone.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradient_D, theta_1D.grad[0], rtol=1e-3, atol=1e-4 * gradient_D.abs().max().item())


@pytest.mark.parametrize("train", [{}, {"epochs": 1}])
def test_an_untrained_base_network_is_noted(train: dict[str, Any], tmp_path: Path) -> None:
    ahead = look_ahead(tiny_run(tmp_path, selector={"name": "lora", "rank": 2}, train=train).recipe)
    assert ("not trained" in str(ahead.what("notes"))) == (not train) and not ahead.what("lacks")
