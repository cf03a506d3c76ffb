"""Networks of many kinds: their symmetries are found, and change no function; what is not understood is named."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.networks import handed
from pdiff.zoo import Layout
from pdiff_plugins.symmetry import propagation
from pdiff_plugins.symmetry.align import aligner, symmetry_within
from pdiff_plugins.symmetry.checks import is_exact
from pdiff_plugins.symmetry.graph import Graph, tensors
from pdiff_plugins.symmetry.matching import match
from pdiff_plugins.symmetry.permutations import Symmetry
from pdiff_plugins.symmetry.rules.reading import kept
from pdiff_plugins.symmetry.scaling import Scaling
from tests.symmetry.nets import CASES, IDS, ROWS, Net, rows, text

SCALES = {  # of each scaled unit one, of a weight norm's also one of what it divides
    "bag of words": 8, "tied": 0, "gpt": 8 + 8 + 8, "lstm": 0, "attention": 8 + 8, "encoder, norm first": 72,
    "weight norm": 8 + 8, "weight norm, old": 8 + 8, "weight norm, whole": 0, "spectral norm": 0, "prelu": 8,
    "swiglu": 8, "cubes": 8 + 8, "mask and tokens": 6, "two inputs": 8, "dead units": 8, "attention by einsum": 8 + 6,
}  # fmt: skip


def case(name: str) -> tuple[nn.Module, Any, dict[str, Tensor]]:
    torch.manual_seed(0)
    build, inputs, _ = CASES[name]
    model = build().eval()
    for value in model.state_dict().values():  # norms are all ones and zeros when new, which would hide a mistake
        if value.is_floating_point():
            value.add_(0.1 + 0.3 * torch.rand_like(value))
    return model, inputs, {key: value.clone() for key, value in model.state_dict().items()}


def outputs(model: nn.Module, state: dict[str, Tensor], inputs: Any) -> list[Tensor]:
    positional, named = handed(model, inputs)
    model.load_state_dict(state)
    with torch.no_grad():
        return [tensor.clone() for tensor in tensors(model(*positional, **named))]


def layout_of(model: nn.Module) -> Layout:
    return Layout.of(model, list(model.state_dict()))


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", list(CASES))
def test_reordered_and_rescaled_networks_compute_the_same_and_become_one_point(name: str) -> None:
    model, inputs, state = case(name)
    graph, layout, generator = Graph.of(model, inputs), layout_of(model), torch.Generator().manual_seed(0)
    symmetry, exact = Symmetry.in_graph(graph), Scaling.in_graph(graph, layout.keys, norms=False)
    assert sorted(symmetry.sizes) == sorted(CASES[name][2]) and not symmetry.unknown
    assert exact.units == SCALES.get(name, exact.units)
    before, theta_D = outputs(model, state, inputs), layout.vector(state)
    for scaled_D in exact.rescaled(theta_D.expand(2, -1), layout, exact.random(2, 0.3, generator)):
        scaled = state | layout.tensors(scaled_D)
        copy = symmetry.permuted(scaled, symmetry.random(generator))
        assert not symmetry.sizes or any(not copy[key].equal(value) for key, value in state.items())
        for ours, theirs in zip(outputs(model, copy, inputs), before, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        back = symmetry.permuted(copy, match(symmetry, scaled, copy, generator))
        assert all(back[key].equal(value) for key, value in scaled.items())


@pytest.mark.parametrize("name", ["weight norm", "lstm", "gpt", "bag of words"])
def test_copies_of_token_networks_are_brought_to_one_point(name: str) -> None:
    model, inputs, state = case(name)
    layout, generator = layout_of(model), torch.Generator().manual_seed(1)
    graph, theta_D = Graph.of(model, inputs), layout.vector(state)
    symmetry, scaling = Symmetry.in_graph(graph), Scaling.in_graph(graph, layout.keys)
    scaled_MD = scaling.rescaled(theta_D.expand(3, -1), layout, scaling.random(3, 0.3, generator))
    copies = [symmetry.permuted(layout.tensors(row_D), symmetry.random(generator)) for row_D in scaled_MD]
    each = aligner(model, inputs, layout, theta_D, Context(seed=0))
    assert each is not None
    one_MD = each(torch.stack([theta_D, *map(layout.vector, copies)]), None)
    assert (one_MD - one_MD[:1]).norm(dim=1).max() < 1e-6 * one_MD[0].norm()


class Spectrum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft(x).abs()


def told_apart() -> Net:
    """One operation without a rule, and a layer that it does not touch."""
    return Net(
        lambda s, x: s.out(s.mid(s.one(x))) + s.three(s.two(x).relu()), mid=Spectrum(), one=nn.Linear(6, 8),
        out=nn.Linear(5, 3), two=nn.Linear(6, 7), three=nn.Linear(7, 3),
    )  # fmt: skip


def test_an_operation_without_a_rule_is_named_with_its_module() -> None:
    model = rows(lambda s, h: s.mid(h), read=5, mid=Spectrum())
    with pytest.raises(UserError) as caught:
        symmetry_within(model, ROWS, layout_of(model), "zoo: align")
    assert str(caught.value) == (
        "zoo: align: no hidden units can be reordered: there is no rule for aten._fft_r2c (of fft_rfft, in module mid)"
        ", which leaves the units that it reads in their order"
    )


def test_what_is_not_understood_is_said_where_the_rest_is_aligned_and_not_where_it_is_not_selected() -> None:
    model, lines = told_apart(), list[str]()
    layout = layout_of(model)
    ctx = Context(seed=0, warn=lines.append)
    assert symmetry_within(model, ROWS, layout, "").sizes == [7]
    assert aligner(model, ROWS, layout, layout.vector(model.state_dict()), ctx) is not None
    assert len(lines) == 1 and "no rule for aten._fft_r2c (of fft_rfft, in module mid)" in lines[0]
    some = Layout.of(model, ["two.weight", "two.bias", "three.weight"])
    assert aligner(model, ROWS, some, some.vector(model.state_dict()), ctx) is not None and len(lines) == 1


def test_why_nothing_can_be_reordered() -> None:
    alone = nn.Linear(6, 3)
    with pytest.raises(UserError, match=r"^x: no hidden units can be reordered: the network tells all of its units"):
        symmetry_within(alone, ROWS, layout_of(alone), "x")
    model, inputs, _ = case("dead units")
    with pytest.raises(UserError, match=r"as they move with alive, of which all networks have the same, as it holds"):
        symmetry_within(model, inputs, layout_of(model), "x")
    model, inputs, _ = case("weight norm")
    some = Layout.of(model, [key for key in model.state_dict() if key != "out.weight"])
    with pytest.raises(UserError, match=r"as they move with out.weight; select whole layers .* \(selector 'entire'\)$"):
        symmetry_within(model, inputs, some, "x")


def test_a_tied_entry_may_be_selected_under_either_of_its_names() -> None:
    model, inputs, _ = case("tied")
    symmetry = Symmetry.of(model, inputs)
    for left in ("emb.weight", "head.weight"):
        assert symmetry.within([key for key in model.state_dict() if key != left]).sizes == [8]
    assert not symmetry.within(["mid.weight", "mid.bias"]).sizes


def test_a_rule_that_is_wrong_is_found_out_on_two_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    model, lines = rows(lambda s, h: h.cumsum(dim=1)), list[str]()
    layout = layout_of(model)
    assert not Symmetry.of(model, ROWS).sizes
    monkeypatch.setitem(propagation.RULES, torch.ops.aten.cumsum.default, kept)
    with pytest.raises(UserError, match=r"^x: reordering this network's hidden units, .* changes what it computes"):
        symmetry_within(model, ROWS, layout, "x")
    theta_D = layout.vector(model.state_dict())
    assert aligner(model, ROWS, layout, theta_D, Context(seed=0, warn=lines.append)) is None
    assert lines == [lines[0]] and "changes what it computes" in lines[0]


@pytest.mark.parametrize("kind", ["half precision", "random", "own state"])
def test_the_check_holds_for_rounding_and_lets_what_is_random_pass(kind: str) -> None:
    torch.manual_seed(0)
    if kind == "half precision":
        model: nn.Module = Net(
            lambda s, x: s.own(x.bfloat16()).float(),
            own=nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3)).bfloat16(),
        )
    else:
        model = rows(lambda s, h: h + torch.randn_like(h) if kind == "random" else h)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    symmetry = Symmetry.of(model, ROWS)
    assert is_exact(model, ROWS, symmetry) and (symmetry.sizes or kind == "random")
    assert all(value.equal(state[key]) for key, value in model.state_dict().items())


def test_integers_are_traced_as_integers_and_floats_for_tokens_have_no_graph() -> None:
    model = text(lambda s, h: h.mean(dim=1))
    assert Symmetry.of(model, IDS.int()).sizes == Symmetry.of(model, IDS).sizes == [8]
    with pytest.raises(UserError, match="no graph to find symmetries in"):
        Symmetry.of(model, torch.zeros(2, 5))
    given = Net(lambda s, batch: s.out(s.emb(batch["ids"]).mean(dim=1)), emb=nn.Embedding(9, 8), out=nn.Linear(8, 3))
    given.forward = lambda batch: given.function(given, batch)  # which takes them all as one argument
    assert Symmetry.of(given, {"ids": IDS}).sizes == [8]
