"""Parting a network: what is shared, what is left per network, and that both give its outputs."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pdiff.networks import entry_of
from pdiff_plugins.populations.parting import Parted
from pdiff_plugins.selectors import LastNorms, Layers
from tests.populations.helpers import InPlace


def operations(part: torch.fx.GraphModule) -> list[str]:
    return [str(node.target) for node in part.graph.nodes if node.op == "call_function"]


def flops(function) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("name", "selector", "low", "high"),
    [
        # One 3 x 3 convolution of the last block: 0.116 of 1.82 G multiply-adds.
        ("resnet18", LastNorms(n=2), 0.055, 0.07),
        # The MLP of one block in twelve is 5.5 %, but only the class token is read in the end.
        ("vit_tiny_patch16_224", LastNorms(n=2), 0.0, 0.001),
        # One block's MLP is 5.2 %, the second half of it behind the pooling.
        ("convnext_tiny", LastNorms(n=2), 0.02, 0.03),
        ("resnet18", Layers(layer="norm", positions=(9,), skip=("*downsample*",)), 0.4, 0.6),
    ],
    ids=["resnet18", "vit", "convnext", "resnet18 layer3"],
)
def test_the_share_of_the_work_that_is_left_per_network(name, selector, low: float, high: float) -> None:
    model = timm.create_model(name).eval()
    keys = selector.select(model)
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        parted = Parted(model, keys, (x,))
        kept = parted.prefix(x)
        own = {key: entry_of(model, key) for key in keys}
        share = flops(lambda: parted.suffix(own, kept)) / flops(lambda: model(x))
        assert low <= share <= high
        assert parted.suffix(own, kept).allclose(model(x), atol=1e-5)


def test_nothing_is_shared_behind_the_first_layer() -> None:
    model = timm.create_model("resnet18").eval()
    with torch.no_grad():
        assert not Parted(model, ["conv1.weight"], (torch.randn(1, 3, 32, 32),)).shares_work


class Commuting(nn.Module):
    """All that a slice and a mean can pass, and some that they cannot."""

    def __init__(self, reduce) -> None:
        super().__init__()
        self.reduce, self.first, self.norm = reduce, nn.Linear(6, 6), nn.LayerNorm(6)
        self.second, self.bn, self.gamma = nn.Linear(6, 6), nn.BatchNorm1d(4), nn.Parameter(torch.randn(4, 1))
        nn.init.normal_(self.bn.running_mean)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = nn.functional.gelu(self.second(self.norm(self.first(x))))
        h = self.bn(self.gamma * self.second(h) + x) - 0.5 * h
        return self.reduce(h)


REDUCTIONS = {
    "token": lambda h: h[:, 1], "last token": lambda h: h[:, -1], "tokens": lambda h: h[:, 1:3],
    "mean": lambda h: h.mean(dim=1), "mean over channels": lambda h: h.mean(-1, keepdim=True),
    "transposed": lambda h: h.permute(2, 0, 1).mean(dim=-1), "both": lambda h: h.mean(dim=(1, 2)),
    "channel": lambda h: h[..., 2],
}  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("key", ["first.bias", "norm.weight", "second.weight", "bn.running_var", "gamma"])
def test_moving_a_slice_or_a_mean_changes_no_output(reduction: str, key: str) -> None:
    torch.manual_seed(1)
    model = Commuting(REDUCTIONS[reduction]).double().eval()
    x, other = torch.randn(3, 4, 6, dtype=torch.float64), torch.rand(entry_of(model, key).shape, dtype=torch.float64)
    with torch.no_grad():
        parted = Parted(model, [key], (x,))
        ours = parted.suffix({key: other}, parted.prefix(x))
        batched = torch.vmap(lambda value: parted.suffix({key: value}, parted.prefix(x)))(other[None])[0]
        model.load_state_dict(model.state_dict() | {key: other})
        assert ours.allclose(model(x), atol=1e-12) and batched.allclose(model(x), atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("stride", "padding", "side"), [(1, 1, 1), (1, 1, 2), (2, 1, 2), (1, 0, 3), (1, 1, 3)])
def test_a_convolution_wider_than_its_image_is_a_linear_layer(bias: bool, stride: int, padding: int, side: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 5, 3, stride, padding, bias=bias)).double().eval()
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    with torch.no_grad():
        parted = Parted(model, ["0.weight"], (x,))
        scale = torch.rand(3, dtype=torch.float64)
        ours = parted.suffix({"0.weight": scale}, parted.prefix(x))
        assert ("aten.conv2d.default" in operations(parted._suffix)) == (side == 3)
        model[0].weight.data = scale
        assert ours.allclose(model(x), atol=1e-12)


class Tied(nn.Module):
    """One tensor under two names, both on the way to the output."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.last.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.middle(self.first(x)).relu_())


def test_a_tied_entry_is_selected_wherever_it_is_read() -> None:
    model, x = Tied().eval(), torch.randn(2, 3)
    with torch.no_grad():
        parted = Parted(model, ["last.weight"], (x,))
        other = torch.randn(3, 3)
        ours = parted.suffix({"last.weight": other}, parted.prefix(x))
        model.first.weight.data = other
        torch.testing.assert_close(ours, model(x))


def test_what_is_overwritten_in_place_is_parted_rightly() -> None:
    torch.manual_seed(0)
    model, x = InPlace().eval(), torch.randn(4, 3)
    with torch.no_grad():
        parted = Parted(model, ["last.weight"], (x,))
        kept = parted.prefix(x)
        for _ in range(2):
            other = torch.randn(3, 3)
            ours = parted.suffix({"last.weight": other}, kept)
            model.last.weight.data = other
            torch.testing.assert_close(ours, model(x))


def test_what_is_frozen_is_computed_once_for_a_batch_that_comes_again(monkeypatch) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    first, second = torch.randn(2, 5, 6)
    key, other = "2.weight", torch.randn(3, 8)
    with torch.no_grad():
        parted, calls = Parted(model, [key], (first,)), []
        front = parted._prefix
        monkeypatch.setattr(parted, "_prefix", lambda *tensors: calls.append(1) or front(*tensors))
        monkeypatch.setattr(parted, "_room", 5 * 8 * 4)  # one batch
        for batch in (first, second, first.clone(), second, first):
            ours = parted.suffix({key: other}, parted.prefix(batch))
            hidden = model[:2](batch)
            assert torch.allclose(ours, hidden @ other.T + model[2].bias, atol=1e-6)
        assert len(calls) == 3  # the second found no room
    parted.prefix(first)
    assert len(calls) == 4  # what has gradients is not kept, nor given what has none
