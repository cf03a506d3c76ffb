"""Populations: sharing the frozen part changes no prediction."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from pdiff.context import Context
from pdiff.data import TensorSplit
from pdiff.errors import UserError
from pdiff.population import check, predict, score_model, score_on
from pdiff.prefix import Prefixed, prefixed
from pdiff.zoo import Entry, Layout
from pdiff_plugins.classification import Classification
from pdiff_plugins.networks import ConvNetMini, ConvNextMini, MlpMini, ResNet20, ResNetMini, VitMini
from pdiff_plugins.selectors import Entire, LastNorms, Layers

CTX = Context(seed=0, batch_size=5)


def networks(model: nn.Module, keys: list[str], count: int = 4) -> tuple[Layout, torch.Tensor]:
    layout = Layout.of(model, keys)
    base = layout.to_free(layout.vector(model.state_dict()))
    noise = torch.randn(count, layout.dim, generator=torch.Generator().manual_seed(1))
    return layout, layout.from_free(base + 0.1 * noise)


def plain(model: nn.Module, layout: Layout, theta_MD: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """One network after the other, through load_state_dict."""
    rows = []
    for theta_D in theta_MD:
        state = {key: value.clone() for key, value in model.state_dict().items()}
        own = dict(state) | layout.tensors(theta_D)
        model.load_state_dict(own)
        with torch.no_grad():
            rows.append(torch.cat([model.eval()(part).argmax(dim=1) for part in x.split(5)]))
        model.load_state_dict(state)
    return torch.stack(rows)


CASES = [
    (MlpMini(), (1, 16, 16)), (ConvNetMini(), (3, 32, 32)), (ResNetMini(), (3, 32, 32)), (VitMini(), (3, 32, 32)),
    (ConvNextMini(), (3, 64, 64)), (ResNet20(), (3, 32, 32)),
]  # fmt: skip


@pytest.mark.parametrize(("architecture", "shape"), CASES, ids=[a.name for a, _ in CASES])
@pytest.mark.parametrize("selector", [LastNorms(n=1), Entire()], ids=["last norm", "entire"])
def test_predictions_are_those_of_the_plain_loop(architecture, shape, selector) -> None:
    torch.manual_seed(0)
    model = architecture.build(input_shape=shape, outputs=10)
    layout, theta_MD = networks(model, selector.select(model))
    x = torch.randn(12, *shape)
    split = TensorSplit(x, torch.zeros(12, dtype=torch.long))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    predictions = predict(model, layout, theta_MD, task=Classification(), split=split, ctx=CTX, what="")
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    assert predictions.long().equal(plain(model, layout, theta_MD, x))
    scores = score_on(model, layout, theta_MD, task=Classification(), split=split, ctx=CTX, what="")
    model.load_state_dict(model.state_dict() | layout.tensors(theta_MD[2]))
    assert score_model(model, Classification(), split, CTX) == scores[2].item()


def test_the_prefix_is_what_the_selection_does_not_reach() -> None:
    model = timm.create_model("resnet18").eval()
    parted = Prefixed(model, LastNorms(n=2).select(model))
    modules = [str(node.target) for node in parted.suffix_nodes if node.op == "call_module"]
    assert modules[0] == "layer4.1.bn1" and "layer4.1.conv1" not in modules and "fc" in modules
    assert not Prefixed(model, ["conv1.weight"]).shares_work
    early = Prefixed(model, Layers(layer="norm", positions=(9,), skip=("*downsample*",)).select(model))
    assert "layer3.0.bn1" in [str(node.target) for node in early.suffix_nodes]


class InPlace(nn.Module):
    """Overwrites a frozen value with one that depends on the selection."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frozen = self.first(x)
        frozen.add_(self.last(x))
        return frozen


class Branches(nn.Module):
    """Control flow that depends on values: no graph can be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return self.last(x) if x.sum() > 0 else self.last(-x)


@pytest.mark.parametrize("kind", [InPlace, Branches])
def test_a_network_that_cannot_be_parted_runs_as_it_is(kind) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    layout, theta_MD = networks(model, ["last.weight"])
    x = torch.randn(12, 3)

    def write(network: int) -> None:
        model.last.weight.data.copy_(layout.tensors(theta_MD[network])["last.weight"])

    with torch.no_grad():
        said: list[str] = []
        assert prefixed(model, layout.keys, x, write, said.append) is None
        assert f"{kind.__name__} is run whole for every network" in said[0]
    split = TensorSplit(x, torch.zeros(12, dtype=torch.long))
    predictions = predict(model, layout, theta_MD, task=Classification(), split=split, ctx=CTX, what="")
    assert predictions.long().equal(plain(model, layout, theta_MD, x))


def test_vectors_that_are_no_networks_are_refused() -> None:
    layout = Layout((Entry("w", (2,), 0), Entry("bn.running_var", (1,), 2, positive=True)))
    check(torch.tensor([[1.0, -2.0, 0.5]]), layout, "pdiff")
    with pytest.raises(UserError, match="pdiff: 1 of 2 sampled networks hold NaN or Inf"):
        check(torch.tensor([[1.0, 2.0, 0.5], [float("nan"), 0.0, 1.0]]), layout, "pdiff")
    with pytest.raises(UserError, match=r"bn\.running_var is negative"):
        check(torch.tensor([[1.0, 2.0, -0.1]]), layout, "pdiff")
