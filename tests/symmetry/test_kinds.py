"""Networks of many kinds: their permutations are found, and change no function."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pdiff.data import arguments
from pdiff_plugins.symmetry.graph import Graph, tensors
from pdiff_plugins.symmetry.matching import match
from pdiff_plugins.symmetry.permutations import Symmetry
from tests.symmetry.nets import CASES


def case(name: str) -> tuple[nn.Module, Any, dict[str, Tensor]]:
    torch.manual_seed(0)
    build, inputs, _ = CASES[name]
    model = build().eval()
    for value in model.state_dict().values():  # norms are all ones and zeros when new, which would hide a mistake
        if value.is_floating_point():
            value.add_(0.1 + 0.3 * torch.rand_like(value))
    return model, inputs, {key: value.clone() for key, value in model.state_dict().items()}


def outputs(model: nn.Module, state: dict[str, Tensor], inputs: Any) -> list[Tensor]:
    positional, named = arguments(inputs)
    model.load_state_dict(state)
    with torch.no_grad():
        return [tensor.clone() for tensor in tensors(model(*positional, **named))]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", list(CASES))
def test_reordered_networks_compute_the_same_function_and_are_brought_back(name: str) -> None:
    model, inputs, state = case(name)
    symmetry = Symmetry.in_graph(Graph.of(model, inputs))
    assert sorted(symmetry.sizes) == sorted(CASES[name][2]), symmetry.unknown
    before = outputs(model, state, inputs)
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        copy = symmetry.permuted(state, symmetry.random(generator))
        assert not symmetry.sizes or any(not copy[key].equal(value) for key, value in state.items())
        for ours, theirs in zip(outputs(model, copy, inputs), before, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        back = symmetry.permuted(copy, match(symmetry, state, copy, generator))
        far = sum(float((back[key].float() - value.float()).square().sum()) for key, value in state.items())
        assert far == 0, "copies become one point"
