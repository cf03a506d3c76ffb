"""Networks from conditions: gradients against autograd, symmetry, storage, and what is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from pdiff.components import Ahead, Architecture, Family
from pdiff.context import Context
from pdiff.data import DatasetSplits
from pdiff.errors import UserError
from pdiff.files import load_tensors, save_tensors
from pdiff.networks import build_network
from pdiff.testing import Points, TinyNet, TinyTask, bench_of, check_component, tiny_splits, tiny_zoo
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.conditions.generated import fitting
from pdiff_plugins.conditions.generated.methods import Hypernetwork, Multitask
from pdiff_plugins.conditions.generated.modules import PerClass
from pdiff_plugins.conditions.generated.teachers import Tasks

CLASSES = 4
DATA = tiny_splits(outputs=CLASSES, count=120)
SUBSETS = [list(s) for size in range(1, CLASSES) for s in itertools.combinations(range(CLASSES), size)]
SHORT = {"steps": 5, "tasks": 4, "batch_size": 8, "width": 8, "ema": 0.5}


def data_of(outputs: int) -> DatasetSplits:
    """Return the data for networks of so many outputs."""
    return replace(DATA, outputs=outputs, classes=CLASSES)


class Subsets(Family):
    """Whether a class is one of some."""

    name = "some_classes"
    metric = "accuracy"

    def tasks(self, counts: Any, data: Any, generator: Any) -> dict[str, list[dict[str, Any]]]:
        raise NotImplementedError

    def outputs(self, outputs: int) -> int:
        return 2

    def targets(self, targets: Tensor, about: Any) -> Tensor:
        return torch.isin(targets, torch.tensor(about["classes"])).long()

    loss, predict, score, wrong = TinyTask.loss, TinyTask.predict, TinyTask.score, TinyTask.wrong  # type: ignore[assignment]


class Orders(Subsets):
    """Classes under other numbers."""

    name = "orders_of_classes"

    def outputs(self, outputs: int) -> int:
        return outputs

    def targets(self, targets: Tensor, about: Any) -> Tensor:
        return torch.tensor(about["classes"]).argsort()[targets]


class Plain(Architecture):
    """Perceptron of two hidden layers."""

    name = "plain_perceptron"

    def build(self, *, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, outputs))


def bits(abouts: list[dict[str, Any]]) -> Tensor:
    return torch.tensor([[float(c in about["classes"]) for c in range(CLASSES)] for about in abouts])


def zoo_for(architecture: Architecture, abouts: list[dict[str, Any]], outputs: int = 2, spread: float = 0.3) -> Zoo:
    """Return noisy copies of one network, one for each task, and conditions."""
    model = build_network(architecture, data_of(outputs), seed=0)
    layout = Layout.of(model, list(model.state_dict()))
    noise_ND = spread * torch.randn(len(abouts), layout.dim, generator=torch.Generator().manual_seed(0))
    theta_ND = layout.from_free(layout.to_free(layout.vector(model.state_dict())) + noise_ND)
    rows = [{"run": n, "step": 1, "metrics": {}, "about": about} for n, about in enumerate(abouts)]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    return Zoo(theta_ND, layout, state, rows, condition_NC=bits(abouts))


def subsets_zoo(architecture: Architecture, **options: Any) -> tuple[Zoo, Any]:
    zoo = zoo_for(architecture, [{"classes": classes} for classes in SUBSETS], **options)
    return zoo, bench_of(zoo, architecture, Subsets(), data_of(2))


@pytest.mark.parametrize("architecture", [TinyNet(), Plain()])
def test_a_step_has_the_gradient_that_autograd_gives_network_by_network(architecture: Architecture) -> None:
    zoo, bench = subsets_zoo(architecture)
    tasks = Tasks(zoo, Subsets(), 8, True, bench, Context(seed=0))
    drawn = tasks.draw(torch.tensor([2, 0, 5]), torch.Generator().manual_seed(1))
    x_GD = zoo.layout.to_free(zoo.theta_ND[[2, 0, 5]]).requires_grad_()
    loss = tasks.loss(x_GD, drawn)
    (gradient_GD,) = torch.autograd.grad(loss, x_GD)

    own_GD, model = x_GD.detach().clone().requires_grad_(), build_network(architecture, data_of(2), 0).eval()
    losses = []
    for row, x_D, inputs, targets in zip((2, 0, 5), own_GD, *drawn, strict=True):
        entries = zoo.layout.tensors(zoo.layout.from_free(x_D))
        entries = {key: value.detach() if "running" in key else value for key, value in entries.items()}
        losses.append(F.cross_entropy(functional_call(model, entries, (inputs,)), targets))
        examples = DATA.train.batch(torch.arange(len(DATA.train)), torch.device("cpu"))
        for x, y in zip(inputs, targets, strict=True):
            original = examples.targets[(examples.inputs == x).all(dim=1)]
            assert bool(y) == (int(original[0]) in SUBSETS[row])
    (expected_GD,) = torch.autograd.grad(torch.stack(losses).mean(), own_GD)
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    torch.testing.assert_close(gradient_GD, expected_GD)


METHODS = [
    Hypernetwork(**SHORT), Hypernetwork(**SHORT | {"depth": 0}, around="mean"), Hypernetwork(**SHORT, loss="weights"),
    Hypernetwork(**SHORT, rank=3), Hypernetwork(**SHORT, rank=3, basis="learned", loss="weights"),
    Multitask(steps=5, tasks=4, batch_size=8), Multitask(steps=5, tasks=4, batch_size=8, into="first"),
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS, ids=range(len(METHODS)))
def test_what_is_stored_writes_the_same_networks(method: Any, tmp_path: Path) -> None:
    zoo, bench = subsets_zoo(TinyNet())
    fitted = method.fit(zoo, bench, Context(seed=3))
    save_tensors(tmp_path / "fitted.safetensors", fitted.tensors())
    loaded = method.load(load_tensors(tmp_path / "fitted.safetensors"), zoo, bench, Context(seed=3))
    theta_MD, again_MD = (g.sample(len(zoo), bench, Context(seed=4), zoo.condition_NC) for g in (fitted, loaded))
    assert torch.equal(theta_MD, again_MD) and fitted.conditional
    assert len(theta_MD.unique(dim=0)) == len(zoo)
    alone_1D = fitted.sample(1, bench, Context(seed=5), zoo.condition_NC[4:5])
    torch.testing.assert_close(alone_1D[0], theta_MD[4])
    drawn_MD = fitted.sample(30, bench, Context(seed=6))
    assert ((drawn_MD[:, None] - theta_MD).abs().amax(dim=2).amin(dim=1) < 1e-5).all()
    facts = fitted.facts["generated"]
    assert facts["network_parameters"] == 2 * 8 + 8 + 16 + 8 * 2 + 2
    assert facts["of_networks"] == (method.name == "hypernetwork" and (method.around == "mean" or method.rank > 0))
    read = 0 if getattr(method, "loss", "task") == "weights" else 5 * 4 * 8
    assert fitted.facts["examples"] == facts["examples"] == read


@pytest.mark.parametrize("method", [METHODS[0], METHODS[3], METHODS[5]], ids=range(3))
def test_running_statistics_which_no_loss_teaches_stay_the_base_networks(method: Any) -> None:
    zoo, bench = subsets_zoo(TinyNet())
    theta_MD = method.fit(zoo, bench, Context(seed=0)).sample(len(zoo), bench, Context(seed=0), zoo.condition_NC)
    for key, values in zoo.layout.tensors(theta_MD).items():
        same = torch.allclose(values, zoo.anchor[key].expand_as(values), rtol=1e-5)
        assert same == ("running" in key), key


def test_by_weights_it_comes_to_the_zoos_own() -> None:
    zoo, bench = subsets_zoo(TinyNet())
    method = Hypernetwork(loss="weights", steps=800, tasks=14, width=32, lr=5e-3, around="mean", ema=0)
    theta_MD = method.fit(zoo, bench, Context(seed=0)).sample(len(zoo), bench, Context(seed=0), zoo.condition_NC)
    error = zoo.layout.to_free(theta_MD) - zoo.layout.to_free(zoo.theta_ND)
    assert error.square().mean() < 0.02 * 0.3**2


@pytest.mark.parametrize("method", [Hypernetwork(steps=150, lr=1e-2), Multitask(steps=300, lr=2e-2)])
def test_by_tasks_it_answers_those_that_it_has_not_learnt(method: Any) -> None:
    zoo, _ = subsets_zoo(Plain())
    unseen = [{"classes": [0, 2]}, {"classes": [1]}]
    zoo = zoo.subset([row for row, classes in enumerate(SUBSETS) if {"classes": classes} not in unseen])
    bench = bench_of(zoo, Plain(), Subsets(), data_of(2))
    fitted = method.fit(zoo, bench, Context(seed=0))
    theta_MD = fitted.sample(2, bench, Context(seed=0), bits(unseen))
    larger_class = 0.75
    assert bench.score(theta_MD, unseen).min() > larger_class
    assert bench.score(theta_MD, unseen[::-1]).max() < larger_class


def test_multitask_is_a_network_that_has_the_condition_beside_each_layers_input() -> None:
    zoo, bench = subsets_zoo(Plain())
    fitted = Multitask(steps=30, lr=0.05).fit(zoo, bench, Context(seed=0))
    std_C, mean_C = torch.std_mean(zoo.condition_NC, dim=0, correction=0)
    probes = torch.cat([mean_C[None], mean_C + torch.diag(std_C)])
    probe_MD = fitted.sample(len(probes), bench, Context(seed=0), probes)
    told, *others = [zoo.layout.tensors(theta_D) for theta_D in probe_MD]
    model, asked_C = build_network(Plain(), data_of(2), 0), torch.tensor([0.3, -1.0, 2.0, 0.7])
    inputs, c = DATA.test.batch(torch.arange(20), torch.device("cpu")).inputs, (asked_C - mean_C) / std_C
    h = inputs
    for layer in ("0", "2", "4"):
        assert all(torch.equal(other[f"{layer}.weight"], told[f"{layer}.weight"]) for other in others)
        columns = torch.stack([other[f"{layer}.bias"] - told[f"{layer}.bias"] for other in others], dim=1)
        wide = nn.Linear(h.shape[1] + len(c), len(columns))
        wide.weight.data, wide.bias.data = torch.cat([told[f"{layer}.weight"], columns], 1), told[f"{layer}.bias"]
        h = wide(torch.cat([h, c.expand(len(h), -1)], dim=1))
        h = h if layer == "4" else h.relu()
    (theta_D,) = fitted.sample(1, bench, Context(seed=0), asked_C[None])
    answer = functional_call(model, zoo.layout.tensors(theta_D), (inputs,))
    torch.testing.assert_close(answer, h, atol=1e-4, rtol=1e-4)


def orders_zoo() -> tuple[Zoo, Any]:
    """Return a zoo of label orders, whose condition is the centre of each output's class."""
    orders = list(itertools.permutations(range(CLASSES)))[::2]
    zoo = zoo_for(Plain(), [{"classes": list(order)} for order in orders], outputs=CLASSES)
    centres = torch.stack([DATA.train.inputs[DATA.train.targets == c].mean(dim=0) for c in range(CLASSES)])
    zoo.condition_NC = centres[torch.tensor(orders)].flatten(1)
    return zoo, bench_of(zoo, Plain(), Orders(), data_of(CLASSES))


def test_per_class_another_order_of_classes_is_another_order_of_outputs() -> None:
    zoo, bench = orders_zoo()
    fitted = Hypernetwork(**SHORT | {"steps": 200, "lr": 0.02}, per_class=True).fit(zoo, bench, Context(seed=0))
    condition_C = torch.randn(CLASSES, 2, generator=torch.Generator().manual_seed(5))
    order = torch.tensor([2, 0, 3, 1])
    conditions = torch.stack([condition_C, condition_C[order]]).flatten(1)
    theta_MD = fitted.sample(2, bench, Context(seed=0), conditions)
    plain, turned = (zoo.layout.tensors(theta_D) for theta_D in theta_MD)
    for key, values in plain.items():
        expected = values[order] if key.startswith("4.") else values
        torch.testing.assert_close(turned[key], expected, msg=key)
    unseen = [{"classes": list(order)} for order in list(itertools.permutations(range(CLASSES)))[1::2]]
    centres = zoo.condition_NC[0].view(CLASSES, -1)
    asked = torch.stack([centres[torch.tensor(about["classes"])].flatten() for about in unseen])
    assert bench.score(fitted.sample(len(unseen), bench, Context(seed=0), asked), unseen).min() > 0.6
    loaded = Hypernetwork(**SHORT, per_class=True).load(fitted.tensors(), zoo, bench, Context(seed=0))
    assert torch.equal(loaded.sample(2, bench, Context(seed=0), conditions), theta_MD)


def test_per_class_holds_for_any_weights_and_for_layers_without_bias() -> None:
    module = PerClass(6, 11, 4, 1, torch.tensor([[1, 2], [4, 3], [9, 7]]))
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    module.begin(torch.randn(11), torch.ones(11), torch.randn(20, 6))
    c, order = torch.randn(3, 2), torch.tensor([1, 2, 0])
    x, turned = module(torch.stack([c, c[order]]).flatten(1))
    torch.testing.assert_close(turned[module.columns_WR], x[module.columns_WR][order])
    others = [0, 5, 6, 8, 10]
    assert torch.equal(turned[others], x[others]) and not torch.equal(turned, x)


def test_it_keeps_the_contract_of_methods() -> None:
    zoo = tiny_zoo(20)
    zoo.condition_NC = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    check_component(Hypernetwork(**SHORT, loss="weights"), strict=True, zoo=zoo)


def test_what_cannot_be_learnt_is_one_line() -> None:
    ahead = Ahead(SimpleNamespace(encoder=None, task=Subsets()), "method", Path(), True, 30)
    Multitask().foresee(ahead)
    ahead_task = Ahead(SimpleNamespace(encoder="bits", task=TinyTask()), "method", Path(), True, 30)
    Hypernetwork().foresee(ahead_task)
    Hypernetwork(loss="weights").foresee(ahead_task)
    (encoder,), (family,) = ahead.what("lacks"), ahead_task.what("lacks")
    assert "needs conditions; write an [encoder] table" in encoder and "loss = 'weights'" in family
    fine = Ahead(SimpleNamespace(encoder="bits", task=Subsets()), "method", Path(), True, 30)
    Hypernetwork().foresee(fine)
    assert not fine.said

    zoo, bench = subsets_zoo(Plain())
    points = Points(zoo, objective=bench_of(zoo, Plain(), TinyTask(), data_of(2)).objective)
    with pytest.raises(UserError, match="task 'tiny_task' knows of no conditions; take loss = 'weights', or"):
        Hypernetwork(**SHORT).fit(zoo, points, Context(seed=0))
    with pytest.raises(UserError, match="needs conditions"):
        Hypernetwork(**SHORT).fit(tiny_zoo(), bench, Context(seed=0))
    zoo.condition_NC = torch.randn(len(zoo), 5)
    with pytest.raises(UserError, match="each of the 2 outputs, and conditions have 5 numbers"):
        Hypernetwork(**SHORT, per_class=True).fit(zoo, bench, Context(seed=0))
    unbiased = Layout.of(build_network(Plain(), data_of(2), 0), ["0.weight", "4.weight"])
    zoo = Zoo(torch.randn(4, unbiased.dim), unbiased, zoo.anchor, zoo.rows[:4], condition_NC=torch.randn(4, 2))
    with pytest.raises(UserError, match="holds no bias"):
        Multitask().fit(zoo, bench, Context(seed=0))


def test_a_layer_larger_than_memory_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    zoo, bench = subsets_zoo(Plain())
    monkeypatch.setattr(fitting, "free_bytes", lambda device: 1000)
    with pytest.raises(UserError, match=r"set method\.rank, such as 64"):
        Hypernetwork(**SHORT).fit(zoo, bench, Context(seed=0))
    with pytest.raises(ValueError, match="per_class"):
        Hypernetwork(per_class=True, rank=3)
