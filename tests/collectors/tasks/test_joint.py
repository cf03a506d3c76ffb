"""The losses of networks on their own tasks as one function: those of each alone, with its gradient."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

from pdiff.data import Batch
from pdiff.testing import TinyNet
from pdiff_plugins.collectors.tasks.examples import shared
from pdiff_plugins.collectors.tasks.joint import TaskLosses
from tests.collectors.tasks.helpers import CNN, CPU, CTX, MLP, SHIFTS, SUBSETS, bench, collect, options


def alike(given, about, count: int) -> Batch:
    """Return random examples, the same for all, as each task has them."""
    index = torch.randint(40, (count,), generator=torch.Generator().manual_seed(1))
    return shared(given.task, given.data.train.batch(index, CPU), about)


@pytest.mark.parametrize("architecture", [MLP, CNN, TinyNet()], ids=["mlp", "cnn", "batch_norm"])
@pytest.mark.parametrize("task", [SUBSETS, SHIFTS], ids=["subsets", "shifts"])
def test_losses_and_gradients_are_those_of_each_network_alone(task, architecture) -> None:
    zoo = collect(options(steps=3), task, architecture)
    given, about = bench(task, architecture, zoo), [row["about"] for row in zoo.rows]
    losses = TaskLosses(given, CTX)
    batch = alike(given, about, 12)
    assert batch.targets.shape == (5, 12)
    theta_GD = (zoo.theta_ND + 0.1).requires_grad_()
    weights = torch.arange(1.0, 6)
    loss_G = losses(theta_GD, batch)
    (loss_G * weights).sum().backward()

    plain_GD, model = (zoo.theta_ND + 0.1).requires_grad_(), given.build(0).eval()
    model.load_state_dict(zoo.anchor)
    running = [key for key in zoo.layout.keys if "running" in key]
    alone = []
    for at, theta_D in enumerate(plain_GD):
        state = {key: value.detach() if key in running else value for key, value in zoo.layout.tensors(theta_D).items()}
        logits = functional_call(model, state, batch.inputs[at])
        alone.append(torch.nn.functional.cross_entropy(logits, batch.targets[at]))
    (torch.stack(alone) * weights).sum().backward()
    assert torch.allclose(loss_G, torch.stack(alone), atol=1e-6)
    assert torch.allclose(theta_GD.grad, plain_GD.grad, atol=1e-6) and theta_GD.grad.abs().sum() > 0


def test_examples_that_all_have_alike_are_told_from_those_of_each() -> None:
    given, about = bench(SUBSETS, CNN), [{"classes": [0]}, {"classes": [1, 2]}]
    theta_GD, losses = torch.stack([given.start(seed) for seed in (1, 2)]), TaskLosses(given, CTX)
    batch = alike(given, about, 6)
    mixed = Batch(torch.stack([batch.inputs[0], batch.inputs[1].flip(0)]), batch.targets)
    assert not losses(theta_GD, batch).equal(losses(theta_GD, mixed))
    assert losses(theta_GD, mixed).equal(TaskLosses(given, CTX)(theta_GD, mixed))


def test_tasks_see_the_same_examples_each_in_its_own_way() -> None:
    index = torch.randint(40, (9,), generator=torch.Generator().manual_seed(1))
    given = bench(SUBSETS, MLP)
    batch = alike(given, [{"classes": [0]}, {"classes": [1, 2]}], 9)
    assert batch.inputs.equal(given.data.train.inputs[index].expand(2, -1, -1, -1, -1))
    classes = given.data.train.targets[index]
    assert batch.targets.equal(torch.stack([classes == 0, (classes == 1) | (classes == 2)]).long())
