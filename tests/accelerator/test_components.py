"""Every method, codec, denoiser, task and collector runs on a pretended accelerator as on the CPU.

No tensor on the wrong device, none handed to numpy, no race, no copy of pageable memory that a step waits for, and no
operation whose result differs from time to time.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pdiff.components import KINDS
from pdiff.context import Context
from pdiff.objective import Objective
from pdiff.plugins.discovery import registry
from pdiff.running.device import device_for, steady_attention
from pdiff.services import Absent
from pdiff.testing import Points, TinyNet, TinyTask, bench_of, tiny_splits, tiny_zoo
from pdiff.testing.contracts import build_network
from pdiff.zoo import Layout, Zoo
from tests.accelerator.helpers import clean
from tests.accelerator.modes import pretended
from tests.components.cases import CASES

QUICK = {"pdiff", "mlp", "trajectory", "seeds"}
"""Those that are tried each time; the others are slow, all together."""
STEPS = {"steps": 8, "sampling_steps": 7, "timesteps": 8}
"""Enough for a graph to be replayed: it is captured at the fifth."""


def cases(kind: str) -> list[Any]:
    return [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow, id=f"{kind}-{n}") for n in CASES[kind]]


def made(kind: str, name: str) -> Any:
    """Return a component at the size of a test, with steps enough to be captured where it takes steps."""
    component, _ = registry().find(kind, name)
    options = {key: value for key, value in CASES[kind][name].items() if key in component.model_fields}
    if "codec" in options:
        options["codec"] = options["codec"] | {"steps": 8}
    more = {key: value for key, value in STEPS.items() if key in component.model_fields and options.get(key, 1)}
    return KINDS[kind].model_validate({"name": name} | options | more)


def context(device: str, graphs: bool = True) -> Context:
    return Context(seed=3, device=torch.device(device), graphs=graphs, warn=lambda line: None)


def compared(work: Any, replays: bool = False, close: float = 1e-4) -> None:
    """`work(device, graphs)` gives on a device what it gives on the CPU, and with graphs the same bits as without."""
    cpu = work("cpu", True)
    with pretended() as pretence:
        device_for("cuda:1")
        found = work("cuda:1", True)
        assert pretence.replays > 0 or not replays
        assert work("cuda:1", False).equal(found), "with graphs it gives other bits"
    clean(pretence)
    assert not pretence.pageable and not pretence.unsteady
    torch.testing.assert_close(found, cpu, rtol=close, atol=close)


@pytest.mark.parametrize("name", cases("method"))
def test_method(name: str) -> None:
    zoo, data, method = tiny_zoo(), tiny_splits(), made("method", name)
    trains = "steps" in type(method).model_fields and method.steps > 0

    def work(device: str, graphs: bool) -> Tensor:
        objective = Objective(build_network(TinyNet(), data, 0), zoo.layout, TinyTask(), data.train)
        bench = Points(zoo, lambda seed: build_network(TinyNet(), data, seed), objective)
        fitted = next(iter(method.variants().values())).fit(zoo, bench, context(device, graphs))
        return fitted.sample(7, bench, context(device, graphs))

    compared(work, replays=trains, close=1e-3)


@pytest.mark.parametrize("name", ["pdiff", pytest.param("flow_matching", marks=pytest.mark.slow)])
def test_a_step_of_sampling_is_captured_once_while_its_network_stays(name: str) -> None:
    zoo, method = tiny_zoo(), made("method", name)
    with pretended() as pretence:
        ctx, captures = context("cuda:1"), []
        fitted = method.fit(zoo, Points(zoo), ctx)
        samples = []
        for moved in (False, False, True):
            if moved:
                (fitted.denoiser if name == "pdiff" else fitted.velocity).cpu()
            before = pretence.captures
            samples.append(fitted.sample(7, Points(zoo), ctx))
            captures.append(pretence.captures - before)
    clean(pretence)
    assert captures == [1, 0, 1] and samples[1].equal(samples[0]) and samples[2].equal(samples[0])


@pytest.mark.parametrize("name", cases("codec"))
def test_codec(name: str) -> None:
    codec, x_ND = made("codec", name), torch.randn(60, 40, generator=torch.Generator().manual_seed(0))

    def work(device: str, graphs: bool) -> Tensor:
        torch.manual_seed(0)
        module = codec.build(dim=40)
        codec.fit(module, x_ND.clone(), Absent("a codec alone"), context(device, graphs))
        module = module.to(device).eval()
        with torch.no_grad():
            return module.decode(module.encode(x_ND.to(device))).cpu()

    compared(work, replays="steps" in type(codec).model_fields, close=1e-3)


@pytest.mark.parametrize("name", cases("denoiser"))
def test_denoiser(name: str) -> None:
    denoiser = made("denoiser", name)

    def work(device: str, graphs: bool) -> Tensor:
        torch.manual_seed(0)
        model = denoiser.build(dim=16, condition_dim=3).to(device)
        z_BZ, t_B, c_BC = (torch.randn(5, *size).to(device) for size in ((16,), (), (3,)))
        with steady_attention(torch.device(device)):
            loss = model(z_BZ, t_B, c_BC).square().mean()
        loss.backward()
        return torch.cat([p.grad.cpu().flatten() for p in model.parameters() if p.grad is not None])

    compared(work)


@pytest.mark.parametrize("name", [case for case in cases("collector") if case.values[0] != "folder"])
@pytest.mark.parametrize("optimizer", ["sgd", pytest.param("adamw", marks=pytest.mark.slow)])
def test_collector(name: str, optimizer: str) -> None:
    options = {key: CASES["collector"][name][key] for key in ("architecture", "data", "task") if name == "fields"}
    data, architecture = options.get("data", tiny_splits()), options.get("architecture", TinyNet())
    task, collector = options.get("task", TinyTask()), made("collector", name)
    if "optimizer" in type(collector).model_fields:
        collector = collector.model_copy(update={"optimizer": optimizer})
    if name == "seeds":  # each fourth batch is short: the last call before a capture, if calls were counted alone
        collector = collector.model_copy(update={"batch_size": 16, "steps": 20})

    def work(device: str, graphs: bool) -> Tensor:
        model = build_network(architecture, data, seed=0)
        layout = Layout.of(model, list(dict(model.named_parameters())))
        bench = bench_of(Zoo.of_one(model.state_dict(), layout), architecture, task, data)
        ctx = context(device, graphs)
        return collector.collect(model.to(device), data=data, task=task, layout=layout, bench=bench, ctx=ctx).theta_ND

    # BatchNorm takes the bias before it away, and Adam makes steps of what rounding leaves of its gradient.
    compared(work, replays=True, close=1e-3 if optimizer == "sgd" or name != "seeds" else 0.1)
