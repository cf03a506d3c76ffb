"""The pretence itself: it finds what it is for, and lets pass what CUDA lets pass."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.accelerator.modes import pretended


@pytest.fixture
def accelerator():
    with pretended() as pretence:
        yield pretence


def test_tensors_know_where_they_would_lie(accelerator) -> None:
    x = torch.ones(3, device="cuda:1")
    for tensor in (x, x + 1, x[:2], x.new_zeros(2), torch.zeros_like(x), copy.deepcopy(x), torch.stack([x, x])):
        assert tensor.is_cuda and tensor.device == torch.device("cuda:1")
    assert x.cpu().device == torch.device("cpu") and torch.zeros(3).to(x).is_cuda
    assert torch.func.vmap(lambda row: row.device == x.device and row * 2)(x[:, None]).is_cuda
    model = torch.nn.Linear(3, 2).to("cuda:1")
    model(x).sum().backward()
    assert model.weight.grad is not None and model.weight.grad.device == x.device and not accelerator.faults


@pytest.mark.parametrize("mistake", [lambda x, y: x + y, lambda x, y: torch.cat([x, y]), lambda x, y: x @ y.cuda(1)])
def test_mixed_devices_are_refused(accelerator, mistake) -> None:
    with pytest.raises(RuntimeError, match="same device"):
        mistake(torch.ones(3, device="cuda:0"), torch.ones(3))
    assert "mixed" in accelerator.faults[0]


def test_what_cuda_lets_pass_passes(accelerator) -> None:
    x = torch.ones(3, device="cuda")
    assert (x * torch.tensor(2.0)).is_cuda and x[torch.tensor([0, 1])].is_cuda and not accelerator.faults


def test_an_array_of_a_device_tensor_is_refused(accelerator) -> None:
    with pytest.raises(TypeError, match="numpy"):
        torch.ones(3, device="cuda").numpy()
    assert torch.ones(3, device="cuda").cpu().numpy().sum() == 3


@pytest.mark.parametrize("waits", [True, False])
def test_work_that_is_not_ordered_is_a_race(accelerator, waits) -> None:
    side, x = torch.cuda.Stream(), torch.zeros(3, device="cuda")
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        x.add_(1)
    if waits:
        torch.cuda.current_stream().wait_stream(side)
    x.mul(2)
    assert [fault.split(":")[0] for fault in accelerator.faults] == ([] if waits else ["race"])


def test_a_graph_runs_nothing_until_it_is_replayed(accelerator) -> None:
    graph, x = torch.cuda.CUDAGraph(), torch.ones(3, device="cuda")
    with torch.cuda.graph(graph):
        y = x.add_(1) * 2
    assert x.tolist() == [1, 1, 1] and y.isnan().all()
    graph.replay()
    graph.replay()
    assert x.tolist() == [3, 3, 3] and y.tolist() == [6, 6, 6]


def test_a_graph_of_another_device_is_empty(accelerator) -> None:
    x = torch.ones(3, device="cuda:1")
    with pytest.warns(UserWarning, match="Graph is empty"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        x.add_(1)
    assert "escaped" in accelerator.faults[0]


def test_waiting_in_a_capture_fails_and_leaves_the_stream_as_torch_does(accelerator) -> None:
    x, before = torch.ones(3, device="cuda"), torch.cuda.current_stream()
    with pytest.raises(RuntimeError, match="previous error"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        x.sum().item()
    assert torch.cuda.current_stream() is not before


def test_waiting_is_counted(accelerator) -> None:
    x = torch.ones(3).pin_memory().to("cuda", non_blocking=True)
    x + x
    assert not accelerator.syncs and not accelerator.pageable
    x.nonzero(), x.tolist(), x[x > 0], torch.ones(3).to("cuda")
    assert len(accelerator.syncs) == 4
    torch.ones(3).to("cuda", non_blocking=True)
    assert accelerator.pageable == 1
