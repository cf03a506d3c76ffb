"""What gradients make of a start, beside what a prompt makes of it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from pdiff.context import Context
from pdiff.data import TensorSplit
from pdiff_plugins.gpt.prompts import gradients as prompt_baselines
from tests.gpt.prompts.helpers import OBEDIENT, asker_of

CTX = Context(seed=0)


def square(theta_MD, batch):
    return theta_MD.square().sum(dim=1)


def unmapped(theta_MD, batch):
    return square(theta_MD, batch) * (1 if float(theta_MD.detach().sum()) < 1e9 else 0)


@pytest.mark.parametrize("losses", [square, unmapped])
def test_gradients_of_networks_together_are_each_ones_own(losses) -> None:
    theta_MD = torch.tensor([[1.0, -2.0], [0.0, 3.0], [5.0, 0.5]])
    found_MD = prompt_baselines.gradients(SimpleNamespace(losses=losses), theta_MD, None)
    torch.testing.assert_close(found_MD, 2 * theta_MD)


def regression(theta_MD, batch):
    return torch.stack([(batch.inputs @ theta_D - batch.targets).square().mean() for theta_D in theta_MD])


def test_gradients_of_a_split_are_summed_over_its_batches(monkeypatch) -> None:
    x_ED, y_E, theta_MD = torch.randn(300, 2), torch.randn(300), torch.randn(3, 2)
    split, sizes = TensorSplit(x_ED, y_E), []

    def losses(theta_MD, batch):
        sizes.append(len(batch.targets))
        return regression(theta_MD, batch)

    exact_MD = 2 / 300 * (theta_MD @ x_ED.T - y_E) @ x_ED
    for at_once in (prompt_baselines.AT_ONCE, 1):
        monkeypatch.setattr(prompt_baselines, "AT_ONCE", at_once)
        own_MD = prompt_baselines.whole_gradients(SimpleNamespace(losses=losses), theta_MD, split, torch.device("cpu"))
        assert torch.allclose(own_MD, exact_MD, atol=1e-5) and max(sizes) == 128
    few, many = (
        prompt_baselines.kept(
            SimpleNamespace(losses=regression), theta_MD, split.batch(torch.arange(count), torch.device("cpu"))
        )
        for count in (10, 100)
    )
    assert many - few >= 3 * 90, "the errors of 3 networks on 90 more examples"


def test_memory_that_runs_out_is_no_loss_without_vmap() -> None:
    def losses(theta_MD, batch):
        raise torch.OutOfMemoryError("no memory")

    with pytest.raises(torch.OutOfMemoryError):
        prompt_baselines.gradients(SimpleNamespace(losses=losses), torch.ones(2, 2), None)


def test_what_gradients_reach_and_when() -> None:
    def losses(theta_MD, batch):
        return 0.5 * (theta_MD - 0.1).square().sum(dim=1)

    asker, start_MD = asker_of(OBEDIENT, losses=losses), torch.full((4, 1), 3.0)
    prompted_MD = torch.full((4, 1), 1.0)
    own = prompt_baselines.curves(asker, start_MD, prompted_MD, 2, 30, 8, CTX)
    assert own["start"] == 3 and own["prompted"] == 1 and own["networks"] == 2
    assert own["steps"][0] == 1 and own["steps"][-1] == 30 and own["steps"] == sorted(set(own["steps"]))
    for curve in (own["sgd"], own["adam"]):
        before = [m for step, m in zip(own["steps"], curve["metric"], strict=True) if step < curve["reached"]]
        assert all(metric > 1 for metric in before)
    assert own["adam"]["rate"] == 0.1, "whose first steps, of its rate each, go furthest"
    assert own["adam"]["metric"][0] == pytest.approx(2.9, abs=1e-3)
    never = prompt_baselines.curves(asker, start_MD, torch.full((4, 1), -50.0), 2, 5, 8, CTX)
    assert never["sgd"]["reached"] is None


def test_one_step_takes_the_best_rate() -> None:
    asker = asker_of(OBEDIENT, losses=lambda theta_MD, batch: theta_MD.square().sum(dim=1) / 2)
    asker.view.bench.objective.split = TensorSplit(torch.zeros(7, 1), torch.zeros(7))
    own = prompt_baselines.one_step(asker, torch.full((2, 1), 3.0), 0, CTX)
    assert own["gradient"]["rate"] == 100 and own["sign"]["metric"] == pytest.approx(3 - 100)
    assert own["gradient"]["examples"] == 7
