"""Layouts of networks with tied and complex parameters: one set of columns each, and whole state dicts again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.files import load_tensors, save_tensors
from pdiff.objective import Objective
from pdiff.testing import TinyTask, tiny_splits
from pdiff.training.optimizers import optimizer_for
from pdiff.zoo import Layout, Zoo, tied
from pdiff_plugins.collectors.seeds.collector import Seeds
from pdiff_plugins.collectors.trajectory import Trajectory
from tests.collectors.helpers import builder
from tests.collectors.test_collectors import collect


class Odd(nn.Module):
    """A complex filter at an odd column, one block three times, and an embedding that is also the output."""

    def __init__(self) -> None:
        super().__init__()
        self.inp = nn.Linear(4, 5)
        self.filter = nn.Parameter(torch.randn(3, dtype=torch.cfloat))
        self.again = nn.ModuleList([self.inp])
        self.out = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.fft.irfft(torch.fft.rfft(self.again[0](x).relu()) * self.filter, n=5)
        return self.out(h)


def odd(seed: int = 0) -> Odd:
    torch.manual_seed(seed)
    return Odd()


def entire(model: nn.Module) -> Layout:
    return Layout.of(model, list(model.state_dict()))


def test_a_tied_tensor_counts_once_and_goes_back_under_all_its_names() -> None:
    layout = entire(odd())
    assert layout.dim == 4 * 5 + 5 + 2 * 3 + 5 * 3 + 3
    assert sorted(layout.keys) == sorted(odd().state_dict())
    state = odd(1).state_dict()
    zoo = Zoo(torch.randn(2, layout.dim), layout, dict(odd().state_dict()), [{}, {}])
    back = zoo.state_dict(layout.vector(state))
    odd().load_state_dict(back, strict=True)
    assert all(back[name].equal(value) and back[name].dtype == value.dtype for name, value in state.items())
    drawn = zoo.state_dict(zoo.theta_ND[0])
    assert drawn["inp.weight"].equal(drawn["again.0.weight"])
    assert Layout.from_json(layout.to_json()) == layout


def test_one_name_of_a_tied_tensor_selects_it_whole() -> None:
    layout = Layout.of(odd(), ["again.0.bias", "inp.bias"])
    assert layout.keys == ["again.0.bias", "inp.bias"] and layout.dim == 5


def test_equal_values_are_no_tie() -> None:
    state = {"a": torch.zeros(3), "b": torch.zeros(3), "c": torch.empty(0), "d": torch.empty(0)}
    assert not tied(state) and not tied(nn.Linear(3, 3, device="meta").state_dict())
    assert tied({"a": state["a"], "b": state["a"].view(3), "c": state["a"][:2]}) == {"a": ["a", "b"], "b": ["a", "b"]}


def test_an_entry_of_no_numbers_stays_with_the_anchor() -> None:
    model = nn.ParameterDict({"none": nn.Parameter(torch.zeros(0, 4)), "some": nn.Parameter(torch.ones(2))})
    layout = entire(model)
    assert layout.keys == ["some"]
    state = Zoo.of_one(dict(model.state_dict()), layout).state_dict(torch.tensor([3.0, 4.0]))
    assert state["none"].shape == (0, 4) and state["some"].tolist() == [3, 4]
    with pytest.raises(UserError, match="no floating-point numbers"):
        Layout.of(model, ["none"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_an_objective_takes_networks_of_other_types(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 3).to(dtype)
    x, layout = torch.randn(5, 4).to(dtype), entire(model)
    theta_MD = layout.vector(model.state_dict())[None].requires_grad_()
    outputs = Objective(model, layout, TinyTask(), tiny_splits().train).outputs(theta_MD, x)
    assert outputs.dtype == dtype
    torch.testing.assert_close(outputs[0], model(x))
    outputs.sum().backward()
    assert theta_MD.grad is not None and theta_MD.grad[0, -3:].tolist() == [5, 5, 5]


@settings(max_examples=30)
@given(values=st.lists(st.complex_numbers(max_magnitude=1e3, width=64), min_size=3, max_size=3))
def test_complex_numbers_survive_as_two_columns_each(values: list[complex]) -> None:
    model = odd()
    layout = entire(model)
    model.filter.data = torch.tensor(values, dtype=torch.cfloat)
    theta_D = layout.vector(model.state_dict())
    entry = next(entry for entry in layout.entries if entry.key == "filter")
    assert theta_D[entry.columns].tolist() == [
        part for value in model.filter.tolist() for part in (value.real, value.imag)
    ]
    assert layout.tensors(theta_D)["filter"].equal(model.filter)


def test_networks_of_many_vectors_give_what_each_gives_alone(tmp_path: Path) -> None:
    models, x = [odd(seed) for seed in range(3)], torch.randn(7, 4)
    layout = entire(models[0])
    theta_MD = torch.stack([layout.vector(model.state_dict()) for model in models])
    objective = Objective(models[0], layout, TinyTask(), tiny_splits().train)
    torch.testing.assert_close(objective.outputs(theta_MD, x), torch.stack([model(x) for model in models]))
    save_tensors(tmp_path / "a.safetensors", models[1].state_dict())
    fresh = odd(9)
    fresh.load_state_dict(load_tensors(tmp_path / "a.safetensors"), strict=True)
    assert fresh(x).equal(models[1](x))


def test_a_trajectory_trains_complex_parameters_as_plain_adam_does() -> None:
    zoo = collect(Trajectory(count=3, lr=0.01, batch_size=40), odd(), list(odd().state_dict()))
    states = [zoo.state_dict(theta_D) for theta_D in zoo.theta_ND]
    moved = [state["filter"] - zoo.anchor["filter"] for state in states]
    assert all(step.abs().min() > 0 for step in moved) and moved[2].abs().mean() > moved[0].abs().mean()
    assert all(state["inp.weight"].equal(state["again.0.weight"]) for state in states)
    model = odd()
    own = optimizer_for("adam", list(model.parameters()), 0.01, 0.0)
    model.filter.grad = torch.full((3,), 2 - 1j)
    before = model.filter.detach().clone()
    own.step()  # of a first step, Adam keeps the sign of each part alone
    torch.testing.assert_close(model.filter.detach(), before - 0.01 * torch.full((3,), 1 - 1j), rtol=0, atol=1e-6)


def test_seeds_refuse_what_they_cannot_hold() -> None:
    keys = list(odd().state_dict())
    with pytest.raises(UserError, match=r"'filter' is complex, which networks trained together cannot have"):
        collect_seeds(Odd, keys)
    with pytest.raises(UserError, match=r"'1\.alive' is drawn anew for each network, and whole numbers are not"):
        collect_seeds(lambda: nn.Sequential(nn.Linear(4, 3), Drawn()), None)


class Drawn(nn.Module):
    """Draws a permutation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("alive", torch.randperm(50))

    def forward(self, x: Tensor) -> Tensor:
        return x


def collect_seeds(make, keys: list[str] | None) -> Zoo:
    torch.manual_seed(0)
    model = make()
    layout = Layout.of(model, keys or list(model.state_dict()))
    from pdiff_plugins.images.classification import Classification
    from tests.collectors.helpers import splits

    seeds = Seeds(count=2, steps=2, lr=0.01, batch_size=8)
    return seeds.collect(
        model, data=splits((4,)), task=Classification(), layout=layout, bench=builder(make), ctx=Context(seed=1)
    )
