"""A family on small images, and a collect stage of it."""

from __future__ import annotations

import torch
from torch import nn

from pdiff.components import Architecture, Task
from pdiff.context import Context
from pdiff.data import DatasetSplits, TensorSplit
from pdiff.testing import bench_of
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.collectors.tasks.collector import Tasks
from pdiff_plugins.conditions.families.shifts import Shifts
from pdiff_plugins.conditions.families.subsets import Subsets
from pdiff_plugins.networks.small import Mlp, StridedCnn

CTX, CPU, COUNT, BATCH = Context(seed=7), torch.device("cpu"), 40, 16
SUBSETS, SHIFTS = Subsets(), Shifts()
CNN, MLP = StridedCnn(channels=(4, 5), hidden=(6,)), Mlp(hidden=(6,))


def splits(task: Task) -> DatasetSplits:
    """Return splits of 40 images of 8 x 8 in 4 classes, whose bright corner is the class's."""
    g = torch.Generator().manual_seed(0)
    x, targets = torch.randn(COUNT, 1, 8, 8, generator=g), torch.arange(COUNT) % 4
    for at, target in enumerate(targets.tolist()):
        x[at, :, 4 * (target // 2) :, 4 * (target % 2) :][..., :4, :4] += 2
    split = TensorSplit(x, targets)
    return DatasetSplits(split, split, split, (1, 8, 8), task.outputs(4), classes=4)


def options(**changes) -> Tasks:
    own = {"learnt": 5, "held_out": 2, "steps": 7, "lr": 0.01, "batch_size": BATCH, "optimizer": "adam"}
    return Tasks(**own | changes)


def bench(task: Task, architecture: Architecture, zoo: Zoo | None = None):
    """Return the services of a zoo, or of a new base network."""
    data = splits(task)
    if zoo is None:
        torch.manual_seed(0)
        model = architecture.build(input_shape=data.input_shape, outputs=data.outputs)
        zoo = Zoo.of_one(model.state_dict(), Layout.of(model, list(model.state_dict())))
    return bench_of(zoo, architecture, task, data)


def collect(options: Tasks, task: Task = SUBSETS, architecture: Architecture = MLP, ctx: Context = CTX) -> Zoo:
    given = bench(task, architecture)
    model = given.build(0)
    model.load_state_dict(given.zoo.anchor)
    return options.collect(
        model, data=splits(task), task=task, layout=given.zoo.layout, bench=given, ctx=ctx
    )  # fmt: skip


def trained(model: nn.Module, task, about, orders, options: Tasks, steps: int = 0) -> torch.Tensor:
    """Return the parameters of one network after a plain training on its own task; `orders(epoch)` of the examples."""
    data, per_epoch, steps = splits(task).train, -(-COUNT // BATCH), steps or options.steps
    optimizer = torch.optim.Adam(model.parameters(), lr=options.lr)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        epoch, position = divmod(step, per_epoch)
        index = orders(epoch)[position * BATCH : (position + 1) * BATCH]
        batch = task.ask(data.batch(index, CPU), about)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch.inputs), batch.targets).backward()
        optimizer.step()
        if options.schedule == "cosine":
            rate.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])
