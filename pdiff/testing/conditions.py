"""What is promised by encoders, and by families of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from pdiff.bench import Bench
from pdiff.components import PARTS, Encoder, Family, Task
from pdiff.context import Context
from pdiff.data import DatasetSplits
from pdiff.testing.asserts import is_json, seeded
from pdiff.testing.bench import bench_of
from pdiff.testing.tiny import TinyNet, TinyTask, tiny_splits, tiny_zoo

LEARNT = {"learnt": 3, "held out": 1, "hard": 0}


def as_asked(task: Task, data: DatasetSplits) -> DatasetSplits:
    """Return the data as a task has them: of a family, as the first that it learns."""
    if not isinstance(task, Family):
        return data
    data = replace(data, classes=data.classes or data.outputs)
    tasks, again = (task.tasks(LEARNT, data, torch.Generator().manual_seed(0)) for _ in range(2))
    is_json(tasks, f"{task.name}: tasks() gives what")
    assert tasks == again, f"{task.name}: tasks() draws from elsewhere than its generator"
    counts = {part: len(tasks.get(part, [])) for part in PARTS}
    assert counts == LEARNT, f"{task.name}: tasks() gives {counts} for {LEARNT}"
    parts = {name: task.asked(data.split(name), tasks["learnt"][0]) for name in ("train", "validation", "test")}
    return replace(data, outputs=task.outputs(data.outputs), classes=data.outputs, **parts)  # type: ignore[arg-type]


def check_encoder(
    component: Encoder, *, about: Sequence[Mapping[str, Any]] = (), asked: Mapping[str, str] | None = None,
    bench: Bench | None = None,
) -> None:  # fmt: skip
    """Vectors of one length, decided by what networks are about; what a person asks for is read as such.

    `about`: of a zoo's checkpoints; `asked`: words, by the keys that it `reads`, for one of them.
    """
    name, bench = component.name, bench or bench_of(tiny_zoo(), TinyNet(), TinyTask(), tiny_splits())
    known = list(about) or [{"label": number % 3} for number in range(6)]
    condition_NC, again_NC = (seeded(noise, component.encode, known, known, bench, Context(seed=3)) for noise in (1, 2))
    fits = condition_NC.ndim == 2 and len(condition_NC) == len(known) and condition_NC.dtype == torch.float32
    assert fits, f"{name}: encode() gives {condition_NC.dtype} {list(condition_NC.shape)} for {len(known)} checkpoints"
    assert condition_NC.isfinite().all(), f"{name}: gives NaN or Inf"
    assert torch.equal(condition_NC, again_NC), f"{name}: the same context gives other conditions"
    alone_1C = component.encode(known[1:2], known, bench, Context(seed=3))
    assert torch.allclose(alone_1C, condition_NC[1:2], atol=1e-5), f"{name}: a condition hangs on those beside it"
    if asked:
        read = component.read(asked, known, bench)
        is_json(read, f"{name}: read() gives what")
        one_1C = component.encode([read], known, bench, Context(seed=3))
        assert one_1C.shape == condition_NC[:1].shape, f"{name}: of what was asked it makes {list(one_1C.shape)}"
