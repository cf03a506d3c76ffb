"""Scaling: rescaled networks compute the same function, and rescaled and reordered copies are brought to one point."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from pdiff.context import Context
from pdiff.plugins.discovery import registry
from pdiff.zoo import Layout
from pdiff_plugins.networks.nets.minis import mlp
from pdiff_plugins.networks.nets.vit import SimpleViT
from pdiff_plugins.symmetry.align import aligner_in
from pdiff_plugins.symmetry.graph import Graph
from pdiff_plugins.symmetry.permutations import Symmetry
from pdiff_plugins.symmetry.scaling import Scaling


class Normed(nn.Module):
    """Convolutions with BatchNorm around a residual, pooling, PReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.first, self.second = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 5, 1), nn.Conv2d(5, 6, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in (6, 5, 6))
        self.act, self.leave = nn.PReLU(), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norms[0](self.enter(x)).relu()
        h = h + self.norms[2](self.second(self.act(self.norms[1](self.first(h)))))
        return self.leave(nn.functional.max_pool2d(h.relu(), 2).flatten(1))


def built(name: str, **values: object) -> Callable[[], nn.Module]:
    component, given_values = registry().find("architecture", name)
    return lambda: component(**{**given_values, **values}).build(input_shape=CASES[name][0], outputs=10)


CASES = {  # name: (input shape, units, of these before a LayerNorm)
    "mlp": ((1, 4, 4), 10 + 7, 0), "mlp_mini": ((1, 8, 8), 64 + 16, 2),
    "convnet_mini": ((3, 32, 32), 8 + 8 + 4 + 16, 3), "cnn_medium": ((3, 32, 32), 16 + 32 + 15 + 20, 0),
    "resnet_mini": ((3, 32, 32), 4 + 4 + 8 + 16, 3), "hyper_cnn": ((1, 28, 28), 0, 0),
    "normed": ((2, 6, 6), 6 + 6 + 5 + 5 + 6, 0), "vit": ((3, 8, 8), 2 * 24 + 3 * 16 + 48, 1),
}  # fmt: skip
"""hyper_cnn has GELU here. normed: the stream, and before and behind each norm. vit: queries against keys, and values,
of each channel; behind each norm, but for the stream, to which positions are added; before the embedding's norm."""
BUILD = {name: built(name) for name in CASES if name not in ("mlp", "normed", "vit")} | {
    "hyper_cnn": built("hyper_cnn", activation="gelu"), "normed": Normed,
    "mlp": lambda: mlp((1, 4, 4), (10, 7), 10, "relu"),
    "vit": lambda: SimpleViT((3, 8, 8), 5, patch=4, dim=16, depth=1, heads=4, head_dim=6, mlp_dim=12),
}  # fmt: skip


class Case:
    """A network in float64, none of whose entries is as it is when new, and its symmetries."""

    def __init__(self, name: str):
        torch.manual_seed(0)
        self.model = BUILD[name]().double().eval()
        for value in self.model.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 + 0.2 * torch.rand_like(value))
        self.x = torch.randn(2, *CASES[name][0]).double()
        self.layout = Layout.of(self.model, list(self.model.state_dict()))
        self.graph = Graph.of(self.model, self.x)
        self.scaling = Scaling.in_graph(self.graph, self.layout.keys)
        self.exact = Scaling.in_graph(self.graph, self.layout.keys, norms=False)
        state = self.model.state_dict()
        self.theta_D = torch.cat([state[key].reshape(-1) for key in self.layout.keys])
        self.aligner = aligner_in(self.graph, self.layout, self.theta_D.float(), Context(seed=0))

    def outputs(self, theta_D: Tensor) -> Tensor:
        return functional_call(self.model, self.layout.tensors(theta_D), (self.x,))

    def copies(self, scaling: Scaling, count: int, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return scaling.rescaled(self.theta_D.expand(count, -1), self.layout, scaling.random(count, 0.3, generator))


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return {name: Case(name) for name in CASES}


@pytest.mark.parametrize("name", list(CASES))
def test_rescaled_networks_compute_the_same_function(cases: dict[str, Case], name: str) -> None:
    case, (_, units, normed) = cases[name], CASES[name]
    assert (case.exact.units, case.scaling.units) == (units, units + normed)
    before = case.outputs(case.theta_D)
    for theta_D in case.copies(case.exact, 2, 1):
        assert units == 0 or not theta_D.equal(case.theta_D)
        torch.testing.assert_close(case.outputs(theta_D), before, rtol=1e-10, atol=1e-10)
    for theta_D in case.copies(case.scaling, 2, 2):  # a norm's eps is not rescaled
        torch.testing.assert_close(case.outputs(theta_D), before, rtol=1e-3, atol=1e-3)


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**31))
@pytest.mark.parametrize("name", list(CASES))
def test_rescaled_and_reordered_copies_become_one_point(cases: dict[str, Case], name: str, seed: int) -> None:
    case, generator = cases[name], torch.Generator().manual_seed(seed)
    symmetry = Symmetry.in_graph(case.graph).within(case.layout.keys)
    each = case.aligner
    copies = [case.layout.tensors(theta_D.float()) for theta_D in case.copies(case.scaling, 3, seed)]
    moved = [symmetry.permuted(state, symmetry.random(generator)) for state in copies]
    theta_MD = torch.stack([case.theta_D.float(), *(case.layout.vector(state) for state in moved)])
    assert each is not None and torch.pdist(theta_MD).min() > 0.1 * theta_MD[0].norm()
    one_MD = each(theta_MD, None)
    far = torch.cdist(one_MD.double(), one_MD[:1].double(), compute_mode="donot_use_mm_for_euclid_dist").max()
    assert far < 1e-5 * one_MD[0].double().norm()
    assert each(one_MD, None).sub(one_MD).norm(dim=1).max() < 1e-5 * one_MD[0].norm(), "the form is its own form"
    before = case.outputs(case.theta_D)
    for theta_D in one_MD[:2].double():
        torch.testing.assert_close(case.outputs(theta_D), before, rtol=1e-3, atol=1e-3)


def test_one_hidden_layer_has_the_form_that_can_be_written_down() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.LeakyReLU(), nn.Linear(8, 3)).eval()
    layout = Layout.of(model, list(model.state_dict()))
    scaling = Scaling.in_graph(Graph.of(model, torch.zeros(2, 5)), layout.keys)
    theta_D = layout.vector(model.state_dict())
    state = layout.tensors(scaling.balanced(theta_D[None], scaling.lengths(theta_D, layout), layout)[0])
    read = torch.cat([model[0].weight, model[0].bias[:, None]], dim=1).norm(dim=1)
    scale = (model[2].weight.norm(dim=0) / read).sqrt()
    torch.testing.assert_close(state["0.weight"], model[0].weight.detach() * scale[:, None])
    torch.testing.assert_close(state["0.bias"], model[0].bias.detach() * scale)
    torch.testing.assert_close(state["2.weight"], model[2].weight.detach() / scale)


def test_units_without_a_side_keep_their_scale_and_variances_stay_positive(cases: dict[str, Case]) -> None:
    case = cases["normed"]
    theta_D = case.theta_D.clone()
    state = case.layout.tensors(theta_D)
    state["norms.1.running_var"][:2] = 1e-12
    state["first.weight"][1], state["first.bias"][1], state["norms.1.running_mean"][1] = 0, 0, 0
    state["leave.weight"][:, :4] = 0
    lengths_U = case.scaling.lengths(theta_D, case.layout)
    form_D = case.scaling.balanced(torch.stack([theta_D, theta_D * torch.nan]), lengths_U, case.layout)[0]
    assert form_D.isfinite().all() and (case.layout.tensors(form_D)["norms.1.running_var"] > 0).all()
    torch.testing.assert_close(case.outputs(form_D), case.outputs(theta_D), rtol=1e-9, atol=1e-9)


class Two(nn.Module):
    """Two linear layers, and something between them."""

    def __init__(self, between: Callable[[Tensor], Tensor], tied: bool = False):
        super().__init__()
        self.first, self.second, self.between = nn.Linear(4, 4), nn.Linear(4, 4), between
        if tied:
            self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(self.first(x)))


BETWEEN: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "gelu": (nn.functional.gelu, 0), "tanh": (torch.tanh, 0), "softmax": (lambda h: h.softmax(dim=1), 0),
    "unknown": (lambda h: h.cumsum(dim=1), 0), "a number added": (lambda h: (h + 1).relu(), 0),
    "multiplied by itself": (lambda h: h * h, 4), "divided by a part": (lambda h: h / (1 + h[:, :1]), 3),
    "twice the same": (lambda h: torch.cat([h, h], dim=1)[:, 1:5].relu(), 4), "a number": (lambda h: -2 * h.relu(), 4),
    "rounded": (lambda h: h.to(torch.int64).to(h.dtype), 0),
    "joined": (lambda h: torch.cat([h[:, 2:], h[:, :2]], dim=1).relu(), 4),
    "two added": (lambda h: (h[:, :2] + h[:, 2:]).repeat(1, 2), 0),
    "chunks": (lambda h: torch.cat(h.chunk(2, dim=1), dim=1), 4),
    "gated": (lambda h: torch.cat([h[:, :2].sigmoid() * h[:, 2:], h[:, 2:]], dim=1), 2),
}  # fmt: skip


@pytest.mark.parametrize("what", list(BETWEEN))
def test_only_what_is_homogeneous_is_rescaled(what: str) -> None:
    torch.manual_seed(0)
    (between, units), x = BETWEEN[what], torch.randn(3, 4).double()
    model = Two(between).double().eval()
    layout = Layout.of(model, list(model.state_dict()))
    scaling = Scaling.in_graph(Graph.of(model, x), layout.keys)
    assert scaling.units == units
    theta_D = torch.cat([value.reshape(-1) for value in model.state_dict().values()])
    scaled_MD = scaling.rescaled(theta_D[None], layout, scaling.random(1, 1.0, torch.Generator().manual_seed(0)))
    torch.testing.assert_close(functional_call(model, layout.tensors(scaled_MD[0]), (x,)), model(x))


def test_tied_entries_and_those_outside_the_selection_are_left_alone() -> None:
    graph, keys = Graph.of(Two(torch.relu), torch.randn(2, 4)), list(Two(torch.relu).state_dict())
    units = [Scaling.in_graph(graph, keys[:count]).units for count in range(1, 5)]
    assert units == [0, 0, 4, 4]  # the second layer's bias has no scale
    assert Scaling.in_graph(Graph.of(Two(torch.relu, tied=True), torch.randn(2, 4)), keys).units == 0
