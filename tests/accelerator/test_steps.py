"""Captured steps on a pretended accelerator: a replayed graph is the step, on each device; nothing else changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pdiff.context import derive
from pdiff.running.device import device_for, seed_torch
from pdiff.training import loop
from pdiff.training.capture import captured
from tests.accelerator.helpers import clean, fit, waiting, waiting_late
from tests.accelerator.modes import pretended

OPTIONS = [
    {"clip": 1.0}, {"precision": "bfloat16"}, {"ema": 0.9}, {"optimizer": "sgd", "weight_decay": 0.1},
    {"optimizer": "adam", "schedule": "constant"}, {"count": 20},
]  # fmt: skip


@pytest.fixture
def accelerator():
    with pretended() as pretence:
        yield pretence


@pytest.mark.parametrize("options", OPTIONS, ids=[next(iter(options)) for options in OPTIONS])
def test_graphs_and_the_second_device_change_no_bit(accelerator, options) -> None:
    written = fit("cuda:0", graphs=False, **options)
    assert accelerator.replays == 0
    assert fit("cuda:0", **options).equal(written) and accelerator.replays >= 6
    assert fit("cuda:1", **options).equal(written)
    clean(accelerator)


def test_a_run_on_the_accelerator_is_the_run_on_the_cpu() -> None:
    cpu = fit("cpu", steps=4)
    with pretended() as pretence:
        torch.testing.assert_close(fit("cuda:0", steps=4), cpu, rtol=1e-3, atol=1e-4)
    clean(pretence)


def test_both_shapes_of_an_epoch_are_replayed(accelerator) -> None:
    fit("cuda:0", count=20, steps=24)  # every third batch is short: 16 and 8 calls
    assert accelerator.replays == 24 - 2 * 3
    clean(accelerator)


@pytest.mark.parametrize("spoil", [waiting, waiting_late])
def test_a_step_that_waits_is_not_captured_and_leaves_the_streams_as_they_were(accelerator, spoil) -> None:
    said: list[str] = []
    assert fit("cuda:1", spoil, said=said).equal(fit("cuda:1", spoil, graphs=False))
    assert accelerator.captures == (spoil is waiting_late) and accelerator.replays == 0
    assert ["not replayed" in line for line in said] == [True]
    clean(accelerator)


def test_memory_that_runs_out_in_a_capture_changes_nothing(accelerator) -> None:
    class Full(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, slope):
            if torch.cuda.is_current_stream_capturing():
                raise torch.OutOfMemoryError("CUDA out of memory")
            return slope

    said: list[str] = []
    assert fit("cuda:0", lambda call, value: Full.apply(value), said=said).equal(fit("cuda:0", graphs=False))
    assert accelerator.replays == 0 and "out of memory" in said[0]
    clean(accelerator)


def test_a_capture_that_fails_forgets_its_gradients(accelerator) -> None:
    weight, calls = torch.nn.Parameter(torch.ones(3, device="cuda:0")), []

    def step(x: Tensor) -> Tensor:
        calls.append(1)
        (weight * x).sum().backward()
        if len(calls) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        with torch.no_grad():
            weight.sub_(weight.grad)
        weight.grad = None
        return weight.sum()

    def undo() -> None:
        weight.grad = None

    again = captured(step, torch.device("cuda:0"), True, lambda line: None, undo)
    for _ in range(6):
        again(torch.full((3,), 0.25, device="cuda:0"))
    assert weight.tolist() == [1 - 6 * 0.25] * 3
    clean(accelerator)


def test_a_step_of_another_device_is_a_mistake(accelerator) -> None:
    x = torch.ones(3, device="cuda:1")
    step = captured(lambda y: x.add_(1), torch.device("cuda:0"), True, pytest.fail)
    with pytest.raises(RuntimeError, match="runs nothing on cuda:0"):
        for _ in range(4):
            step(torch.zeros(1, device="cuda:0"))


def test_an_operation_without_a_deterministic_kernel_is_named(accelerator) -> None:
    said: list[str] = []
    device_for("cuda:0")
    fit("cuda:0", lambda call, value: value.expand(2).cumsum(0)[1], said=said)
    assert said and said[0].startswith("cumsum has no deterministic kernel")


def test_the_host_waits_for_a_row_of_the_log_alone(accelerator, monkeypatch) -> None:
    monkeypatch.setattr(loop, "LOG_ROWS", 2)
    syncs = []
    for steps in (20, 60):
        before = len(accelerator.syncs)
        fit("cuda:0", steps=steps, ema=0.9, clip=1.0, optimizer="sgd")
        syncs.append(accelerator.syncs[before:])
    assert sorted(syncs[0]) == sorted(syncs[1]) and accelerator.pageable == 0


def test_a_step_is_seeded_as_torch_does(accelerator) -> None:
    seeds, draws = [derive(1, "global", step) for step in range(3)], []
    for seed in (torch.manual_seed, lambda seed: seed_torch(seed, torch.device("cuda:1"))):
        draws.append(torch.cat([torch.rand(3) for value in seeds if seed(value) is not None or True]))
    assert draws[0].equal(draws[1])
    assert torch.cuda.default_generators[1].initial_seed() == seeds[-1]


def test_the_device_is_set_up_for_equal_bytes(accelerator) -> None:
    assert device_for("cuda:1") == torch.device("cuda:1") == torch.device("cuda", torch.cuda.current_device())
    assert torch.are_deterministic_algorithms_enabled() and not torch.utils.deterministic.fill_uninitialized_memory
    assert not torch.backends.cudnn.allow_tf32
    device_for("cuda", "bfloat16")
    assert torch.backends.cudnn.allow_tf32 and torch.cuda.current_device() == 0
