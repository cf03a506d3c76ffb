"""Adapters of a network with BatchNorm are trained with the statistics that they are run with: the base network's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call

from pdiff.components import Architecture
from pdiff.testing import tiny_run
from pdiff_plugins.adapters.layers import in_training
from pdiff_plugins.adapters.selector import Lora
from tests.adapters.test_runs import DIGITS

RATE = 0.1


class Normed(Architecture):
    """A convolution and its BatchNorm."""

    name = "normed"

    def build(self, *, input_shape: Any, outputs: int) -> nn.Module:
        norm = nn.BatchNorm2d(4)
        norm.running_mean = torch.linspace(-1, 1, 4)  # as no batch has them
        return nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(144, outputs))


@pytest.mark.parametrize("start", ["base", "shared", "independent"])
def test_a_step_of_training_is_by_the_base_networks_statistics(start: str, tmp_path: Path) -> None:
    together = {"optimizer": "sgd", "schedule": "constant", "include_start": True, "start": start}
    pipeline = tiny_run(
        tmp_path, dataset=DIGITS, task={"name": "classification"}, architecture=Normed(), selector={"name": "lora"},
        train={"epochs": 1, "batch_size": 32},
        collect={"name": "seeds", "count": 2, "steps": 1, "lr": RATE, "batch_size": 2000} | together,
    )  # fmt: skip
    zoo, bench, split = pipeline.zoo, pipeline.bench, pipeline.data.train
    base = pipeline.base_network().state_dict()
    assert all(zoo.anchor[key].equal(value) for key, value in base.items()), "the anchor is the base network"
    batch, network = split.batch(torch.arange(len(split)), torch.device("cpu")), bench.network.eval()
    for begun_D, trained_D in zoo.theta_ND.split(2):
        given_D = begun_D.clone().requires_grad_(True)
        outputs = functional_call(network, zoo.layout.tensors(given_D), (batch.inputs,))
        (gradient_D,) = torch.autograd.grad(nn.functional.cross_entropy(outputs, batch.targets), given_D)
        torch.testing.assert_close(trained_D, begun_D - RATE * gradient_D, rtol=1e-4, atol=1e-6)
        assert not trained_D.equal(begun_D)


def test_a_network_without_adapters_learns_its_statistics() -> None:
    network = Normed().build(input_shape=(1, 8, 8), outputs=3)
    assert all(module.training for module in in_training(network.eval()).modules())
    Lora().extend(network)
    assert [module.training for module in in_training(network.eval())][:2] == [True, False]  # type: ignore[operator]
