"""Memory that runs out: it goes on with less."""

from __future__ import annotations

import pytest
import torch

from pdiff.context import Context
from pdiff.data import TensorSplit
from pdiff.engine.bench import predictor_of
from pdiff.errors import UserError
from pdiff.running.memory import free_bytes, in_chunks, ran_out
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.networks.small import MlpMini
from pdiff_plugins.populations.ways import Way
from pdiff_plugins.selectors import Entire
from tests.populations.helpers import networks, plain

CTX = Context(seed=0, batch_size=5)


def test_out_of_memory_it_goes_on_with_less(monkeypatch) -> None:
    torch.manual_seed(0)
    model = MlpMini().build(input_shape=(1, 16, 16), outputs=10)
    layout, theta_MD = networks(model, Entire().select(model), count=9)
    split = TensorSplit(torch.randn(12, 1, 16, 16), torch.zeros(12, dtype=torch.long))
    expected = plain(model, layout, theta_MD, split.inputs)[0]
    whole, limit = Way._joint, 10

    def tight(self, theta_mD, inputs, kept):
        if len(theta_mD) * len(inputs) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, theta_mD, inputs, kept)

    monkeypatch.setattr(Way, "_joint", tight)
    predictor, said = predictor_of(model, layout, Classification(), CTX), []
    predictor.chooser.known[(torch.Size((5, 1, 16, 16)),)] = (99, Way(model, layout, Classification(), None, 8))
    assert predictor.predict(theta_MD, split, CTX.replace(warn=said.append), "p").long().equal(expected)
    limit = 3
    assert predictor.predict(theta_MD, split, CTX.replace(warn=said.append), "p").long().equal(expected)
    assert said == ["p: out of memory; going on with 3 examples at a time"]
    limit = 0
    with pytest.raises(UserError, match="p: not even one example fits into the memory of cpu"):
        predictor.predict(theta_MD, split, CTX.replace(warn=said.append), "p")


def test_chunks_are_halved_when_memory_runs_out() -> None:
    def tight(rows: torch.Tensor) -> torch.Tensor:
        if len(rows) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 2 * rows

    rows = torch.arange(10.0)
    assert in_chunks(tight, rows, 8).equal(2 * rows)
    assert in_chunks(tight, rows[:0], 8).numel() == 0
    with pytest.raises(RuntimeError, match="something else"):
        in_chunks(lambda rows: (_ for _ in ()).throw(RuntimeError("something else")), rows, 8)
    assert free_bytes(torch.device("cpu")) > 2**20


@pytest.mark.parametrize(("error", "memory"), [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True), (MemoryError(), True),
    (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), True),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
    (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
    (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True),
    (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), False), (ValueError("out of memory"), False),
])  # fmt: skip
def test_memory_that_runs_out_is_told_from_other_faults(error: Exception, memory: bool) -> None:
    assert ran_out(error) == memory
