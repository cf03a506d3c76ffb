"""Tokens and windows: exact inverses, what a token holds, and the published counts."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdiff.plugins.discovery import registry
from pdiff.zoo import Layout
from pdiff_plugins.backbones.nets.transformer import Windows
from pdiff_plugins.backbones.tokens import Tokens

SHAPES = st.lists(st.lists(st.integers(1, 5), max_size=3).map(tuple), min_size=1, max_size=5)
MODULES = st.lists(st.sampled_from(["", "a.", "b.c."]), min_size=5, max_size=5)


def layout_of(**shapes: tuple[int, ...]) -> Layout:
    return Layout.from_json(_rows(list(shapes.items())))


def _rows(shapes):
    return [{"key": key.replace("__", "."), "shape": shape, "positive": False} for key, shape in shapes]


@settings(max_examples=60)
@given(shapes=SHAPES, modules=MODULES, by=st.sampled_from(["layer", "neuron", "chunk"]), size=st.integers(0, 7))
def test_any_layout_survives_the_round_trip(shapes, modules, by, size) -> None:
    keys = [f"{module}w{i}" for i, module in enumerate(modules)]
    layout = Layout.from_json(_rows(zip(keys, shapes, strict=False)))
    tokens = Tokens.of(layout, by, size)
    x_BD = torch.randn(2, layout.dim)
    split = tokens.split(x_BD)
    assert split.shape == (2, *tokens.shape) and (not size or tokens.shape[1] <= size)
    assert tokens.join(split).equal(x_BD)
    assert not split[:, ~tokens.mask_TS].any() and tokens.mask_TS.any(dim=1).all()
    assert int(tokens.mask_TS.sum()) == layout.dim
    assert not tokens.state_dict()


def test_a_neuron_is_a_row_and_its_bias() -> None:
    tokens = Tokens.of(layout_of(a__weight=(2, 3), a__bias=(2,), b__weight=(1, 2)), "neuron")
    assert tokens.index_TS.tolist() == [[0, 1, 2, 6], [3, 4, 5, 7], [8, 9, -1, -1]]
    assert tokens.layer_T.tolist() == [0, 0, 1] and tokens.row_T.tolist() == [0, 1, 0]


def test_the_other_ways_to_cut_the_same_vector() -> None:
    layout = layout_of(a__weight=(2, 3), a__bias=(2,), b__weight=(1, 2))
    assert Tokens.of(layout, "layer").index_TS[1].tolist() == [6, 7, -1, -1, -1, -1]
    assert Tokens.of(layout, "chunk", 4).index_TS.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, -1, -1]]
    pieces = Tokens.of(layout, "neuron", 3)
    assert pieces.index_TS.tolist() == [[0, 1, 2], [6, -1, -1], [3, 4, 5], [7, -1, -1], [8, 9, -1]]
    assert pieces.row_T.tolist() == [0, 0, 1, 1, 0]


@pytest.mark.parametrize(
    ("name", "input_shape", "published"),
    [("hyper_cnn", (1, 28, 28), (48, 201)), ("cnn_medium", (3, 32, 32), (93, 289))],
)
def test_the_papers_networks_have_the_papers_tokens(name, input_shape, published) -> None:
    found, values = registry().find("architecture", name)
    model = found(**values).build(input_shape=input_shape, outputs=10)
    assert Tokens.of(Layout.of(model, list(model.state_dict())), "neuron").shape == published


@settings(max_examples=60)
@given(count=st.integers(1, 40), content=st.integers(1, 12), halo=st.integers(0, 6))
def test_windows_are_put_together_again(count, content, halo) -> None:
    windows, h_BTE = Windows(count, content, halo), torch.randn(2, count, 3)
    parts = windows.split(h_BTE)
    assert parts.shape[1] == windows.shape[1] == min(count, content + 2 * halo)
    assert (windows.shape[0] == 1) if count <= content + 2 * halo else (windows.shape[0] == -(-count // content))
    assert windows.merge(parts).equal(h_BTE)


@settings(max_examples=40)
@given(count=st.integers(20, 60), content=st.integers(1, 8), halo=st.integers(0, 4))
def test_content_has_its_context_on_both_sides(count, content, halo) -> None:
    windows = Windows(count, content, halo)
    length, at = windows.shape[1], windows.place_T % windows.shape[1]
    token = torch.arange(count)
    assert (at >= token.clamp(max=halo)).all()
    assert (length - 1 - at >= (count - 1 - token).clamp(max=halo)).all()
