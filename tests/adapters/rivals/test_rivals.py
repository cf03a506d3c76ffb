"""One adapter for all tasks beside generated ones: what it is, what it has learnt from, and when it ends."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from pdiff.context import Context
from pdiff.data import some
from pdiff.testing import check_definition
from pdiff.testing.showing import _check_declared
from pdiff_plugins.adapters.rivals.evaluator import Adapters
from pdiff_plugins.adapters.rivals.inversion import NAME
from pdiff_plugins.adapters.rivals.networks import OneAdapter
from pdiff_plugins.adapters.rivals.rows import Rivals
from pdiff_plugins.adapters.rivals.watching import Ended, Watched
from pdiff_plugins.adapters.selector import Lora
from pdiff_plugins.conditions.evaluation.asking import Asker
from pdiff_plugins.conditions.evaluation.judging import Judge
from pdiff_plugins.conditions.evaluation.tasks import tasks_of
from pdiff_plugins.conditions.families.shifts import Shifts
from tests.adapters.rivals.helpers import FAMILY, QUICK, given, view

ROWS = ("one adapter", "one adapter, rank x 4", "one adapter, told the condition",
        "one adapter, rank x 4, told the condition")  # fmt: skip

CTX = Context(seed=0, warn=lambda line: None)


@pytest.fixture(scope="module")
def scores() -> dict[str, Any]:
    return given(view(Lora(rank=1, alpha=2.0)))


def test_one_table_has_every_rival_at_equal_examples_and_trained_on(scores: dict[str, Any]) -> None:
    beside = scores["beside"]
    assert {"no adapter", "mean of all networks", NAME.format(count=80), *ROWS} < set(beside)
    for row in ROWS:
        assert beside[row]["seen"] == 1600 and scores["common"][row]["times"] == 1
        assert beside[f"{row}, trained on"]["seen"] == 3200 and scores["common"][f"{row}, trained on"]["times"] == 2
        first, last = (scores["common"][f"{row}{end}"]["selection"] for end in ("", ", trained on"))
        assert first == last[:1] and len(last) == 2
    assert beside["mean of all networks"]["seen"] == 1600 == scores["networks"]["original"]["seen"]
    assert beside[NAME.format(count=80)]["seen"] == 1600 + 3 * 32
    options = Adapters(**QUICK)
    _check_declared(options, scores["networks"], {k: v for k, v in scores.items() if k != "networks"})


def test_what_learns_is_better_than_no_adapter_and_the_verdict_names_it(scores: dict[str, Any]) -> None:
    means = {row: each["mean"] for row, each in scores["beside"].items()}
    best = "one adapter, rank x 4, told the condition, trained on"
    assert means[best] > means["no adapter"] + 0.1
    assert scores["networks"]["hypernetwork"]["mean"] == pytest.approx(means["no adapter"])
    assert "one network for all tasks wins: at equal examples one adapter" in scores["plain"]
    assert "with more examples one adapter" in scores["plain"] and "(2 times as many)" in scores["plain"]


def test_the_method_s_own_count_of_examples_is_the_first(scores: dict[str, Any]) -> None:
    told = given(view(Lora(rank=1), generated={"examples": 320}), rival_most=0, inversion_examples=0)
    assert [told["beside"][row]["seen"] for row in ROWS] == [320] * 4
    assert not any("trained on" in row or "inversion" in row for row in told["beside"])


@pytest.mark.parametrize(("facts", "seen"), [({"examples": 320}, 320), ({"examples": 320, "of_networks": 1}, 1920)])
def test_what_begins_with_the_zoo_has_learnt_what_its_networks_have(facts: dict[str, int], seen: int) -> None:
    told = given(view(Lora(rank=1), generated=facts), rival_most=0, inversion_examples=0)
    assert told["networks"]["hypernetwork"]["seen"] == seen
    assert {told["beside"][row]["seen"] for row in ROWS} == {seen}


def test_a_zoo_of_files_says_not_what_its_networks_have_seen() -> None:
    seen = view(Lora(rank=1), generated={"examples": 320, "of_networks": True})
    seen.recipe.collect = SimpleNamespace()
    told = given(seen, rival_most=0, inversion_examples=0)
    assert {told["beside"][row]["seen"] for row in ROWS} == {320} and told["networks"]["hypernetwork"]["seen"] is None
    assert "does not win: one adapter" in told["plain"] or "wins: one adapter" in told["plain"]


def test_inversion_asks_for_examples_that_tasks_have() -> None:
    class Few(Shifts):
        """Asks about the first examples alone."""

        def asked(self, split: Any, about: Any) -> Any:
            return super().asked(some(split, 20, torch.Generator()), about)

    seen = view(Lora(rank=1))
    seen.recipe.task = Few.model_construct(**dict(FAMILY))
    assert NAME.format(count=20) in given(seen, rival_images=32, rival_most=0)["beside"]


def test_fewer_examples_than_those_of_the_zoo_are_not_called_equal() -> None:
    told = given(view(Lora(rank=1)), rival_images=800, inversion_examples=0)
    assert {each["times"] for each in told["common"].values()} == {0.5, 1.0}


def test_it_hears_each_task_as_often_as_the_method_does() -> None:
    seen, heard = view(Lora(rank=1)), []

    class Again(Shifts):
        """Tells tasks again by another level, which says how often."""

        def again(self, about: Any, number: int) -> dict[str, Any]:
            heard.append(number)
            return {**about, "blur": float(number)}

    seen.methods = {"hypernetwork": SimpleNamespace(tellings=3)}
    seen.recipe.task = Again.model_construct(**dict(FAMILY))
    asker = Asker(seen, tasks_of(seen, 5, CTX), Judge(seen.recipe.task, seen.bench, [], "test"), CTX)
    told_RC, condition_NC = Rivals(Adapters(**QUICK), asker).told_RC, seen.zoo.condition_NC
    assert heard == [1] * 8 + [2] * 8 and told_RC.shape == (24, condition_NC.shape[1])
    assert told_RC[:8].equal(condition_NC) and not told_RC[8:16].equal(told_RC[16:])


def test_one_adapter_is_the_frozen_network_with_the_side_path_of_the_selector() -> None:
    seen = view(Lora(rank=1, alpha=3.0))
    made = OneAdapter(seen.bench, FAMILY, seen.recipe.selector, 4, seen.zoo.condition_NC, 5)
    x, other = torch.randn(4, 1, 8, 8), seen.bench.build(3)
    first = made(seen.zoo.condition_NC[:4], x)
    assert torch.allclose(first, other(x), atol=1e-6) and [len(p) for p in made.learnt[::2]] == [
        3,
        4,
        4,
        4,
    ]  # 3 at most
    nn.init.normal_(made.learnt[1])
    nn.init.normal_(made.shift.weight)
    plain = seen.bench.build(0, outputs=4)
    plain.load_state_dict(seen.recipe.selector.plain(seen.bench.build(0).state_dict()))
    seen.recipe.selector.widened(plain, 4).extend(plain)
    state = {key: value.detach() for key, value in zip(made.names, made.learnt, strict=True)}
    plain.load_state_dict(plain.state_dict() | state)
    condition_NC = seen.zoo.condition_NC
    standard_NC = (condition_NC - condition_NC.mean(dim=0)) / condition_NC.std(dim=0, correction=0).clamp_min(1e-6)
    said_NS, start = made.shift(standard_NC).detach(), 0
    for number, row in enumerate(x):
        layers, begun = [m for m in plain.modules() if hasattr(m, "lora_A")], {}
        start = 0
        for layer in layers:
            begun[layer] = layer.bias.detach().clone()
            layer.bias.data += said_NS[number, start : start + len(layer.bias)]
            start += len(layer.bias)
        assert torch.allclose(made(condition_NC[:4], x)[number], plain(row[None])[0], atol=1e-4)
        for layer in layers:
            layer.bias.data = begun[layer]
    assert start == said_NS.shape[1]


def test_a_training_ends_where_more_adds_little_and_goes_on_after_a_kill() -> None:
    module, looked = nn.Linear(1, 1, bias=False), []
    nn.init.zeros_(module.weight)
    values = iter([0.1, 0.5, 0.504, 0.9])

    def look() -> float:
        looked.append(float(module.weight.detach()))
        return next(values)

    watched, seen = Watched(module, [2, 4, 8, 16], look, 0.005), []
    with torch.no_grad(), pytest.raises(Ended):
        for step in range(1, 17):
            module.weight.fill_(step)
            seen.append(step)
            if step == 5:
                stored = {key: value.clone() for key, value in watched.tensors().items()}
                watched = Watched(module, [2, 4, 8, 16], look, 0.005)
                watched.restore(stored)
            watched.after(step)
    assert seen[-1] == 8 and watched.scores == [0.1, 0.5, 0.504] and float(module.weight.detach()) == 8
    weights = [math.comb(step + 8, 8) for step in range(9)]  # the start, 0, is one of them
    mean = sum(weight * step for step, weight in enumerate(weights)) / sum(weights)
    assert looked[2] == pytest.approx(mean, rel=1e-5)
    watched.take(1)
    assert float(module.weight.detach()) == looked[1]


@pytest.mark.parametrize("rates", [(1e4, 0.1), (0.1, 1e4)])
def test_a_rate_at_which_nothing_is_learnt_is_not_taken(rates: tuple[float, ...]) -> None:
    told = given(view(Lora(rank=1)), rival_rates=rates, rival_images=3200, rival_most=0, inversion_examples=0)
    assert {each["lr"] for each in told["common"].values()} == {0.1}


def test_what_it_needs_is_said_ahead() -> None:
    def lacks(selector: Any, task: Any) -> list[str]:
        said: list[str] = []
        recipe = SimpleNamespace(
            selector=selector, task=task, encoder=1, sample=SimpleNamespace(step=()), architecture=None
        )  # fmt: skip
        ahead: Any = SimpleNamespace(recipe=recipe, key="evaluate[0]", lacks=said.append, note=said.append)
        Adapters().foresee(ahead)
        return said

    entire: Any = SimpleNamespace(name="entire", extends=False)
    assert lacks(Lora(), FAMILY) == []
    assert ["selector entire makes none" in line for line in lacks(entire, FAMILY)] == [True]
    assert "is none of a family" in lacks(Lora(), SimpleNamespace(name="classification"))[0]


def test_it_is_well_defined() -> None:
    check_definition(Adapters())
