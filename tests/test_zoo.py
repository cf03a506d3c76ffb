"""Layout and zoo: vectors and state dicts map to each other without loss."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pdiff.errors import UserError
from pdiff.zoo import Layout, Zoo


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_selection_survives_the_round_trip(data: st.DataObject) -> None:
    model = network()
    floating = [key for key, value in model.state_dict().items() if value.is_floating_point()]
    keys = data.draw(st.lists(st.sampled_from(floating), min_size=1, unique=True))
    layout = Layout.of(model, keys)
    theta = torch.randn(layout.dim, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    zoo = Zoo(theta[None], layout, dict(model.state_dict()), [{}])
    state = zoo.state_dict(theta)
    assert layout.vector(state).equal(theta)
    untouched = [key for key in state if key not in keys]
    assert all(state[key].equal(model.state_dict()[key]) for key in untouched)
    assert Layout.from_json(layout.to_json()) == layout
    network().load_state_dict(state, strict=True)


def test_batched_vectors_become_stacked_tensors() -> None:
    layout = Layout.of(network(), ["0.weight", "3.bias"])
    theta = torch.arange(5 * layout.dim).float().reshape(5, -1)
    stacked = layout.tensors(theta)
    assert stacked["0.weight"].shape == (5, 3, 1, 3, 3)
    assert stacked["3.bias"][4].equal(theta[4, -2:])


def test_step_counters_are_never_generated() -> None:
    layout = Layout.of(network(), ["1.num_batches_tracked", "1.running_mean"])
    assert layout.keys == ["1.running_mean"]
    with pytest.raises(UserError, match="no floating-point numbers"):
        Layout.of(network(), ["1.num_batches_tracked"])


def test_a_key_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"names '9\.weight', which is not in the network"):
        Layout.of(network(), ["9.weight"])


def test_variances_are_positive_in_free_coordinates_whatever_is_added() -> None:
    layout = Layout.of(network(), ["1.weight", "1.running_var"])
    theta = torch.rand(4, layout.dim) + 0.1
    assert layout.from_free(layout.to_free(theta)).allclose(theta)
    far = layout.from_free(layout.to_free(theta) - 5)
    assert (far[:, 3:] > 0).all() and (far[:, :3] < 0).all()


def test_a_zoo_survives_the_disk(tmp_path) -> None:
    model = network()
    layout = Layout.of(model, ["3.weight"])
    rows = [{"run": 0, "step": step, "metrics": {"loss": 0.5}} for step in range(4)]
    zoo = Zoo(torch.randn(4, layout.dim), layout, dict(model.state_dict()), rows)
    zoo.save(tmp_path)
    again = Zoo.open(tmp_path)
    assert again.theta_ND.equal(zoo.theta_ND) and again.rows == rows and again.layout == layout
    assert again.base.equal(zoo.base)
    assert again.anchor["1.num_batches_tracked"].dtype == torch.int64
