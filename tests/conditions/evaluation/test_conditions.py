"""The evaluator of conditions on a family whose answers are known to the last digit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from pdiff.context import Context
from pdiff.testing import TinyTask, bench_of
from pdiff_plugins.conditions.evaluation.evaluator import Conditions
from pdiff_plugins.conditions.evaluation.tasks import deranged
from pdiff_plugins.transforms.choice import Holdout
from tests.conditions.evaluation.helpers import (
    Apart,
    Given,
    Linear,
    One,
    Parts,
    Written,
    data,
    network,
    view,
    wrong_in,
    zoo,
)

QUICK = Conditions(rival_steps=0, adapt=())


def given(seen: Any, options: Conditions = QUICK) -> dict[str, Any]:
    return options.evaluate(seen, Context(seed=0, warn=lambda line: None))


@pytest.mark.parametrize("family", [Parts(), Apart()])
def test_scores_are_those_of_the_classes_that_networks_get_wrong(family: Parts) -> None:
    seen = view({"perfect": Given(network), "one wrong": Given(wrong_in(1)), "same": One()}, family)
    scores = given(seen)
    networks = scores["networks"]
    assert scores["counts"] == {"learnt": 20, "held out": 8, "hard": 2} and scores["judged"] == "held out"
    for source, right in (("original", 1.0), ("perfect", 1.0), ("one wrong", 0.8)):
        assert [networks[source][key] for key in ("learnt", "held_out", "hard", "worst", "mean")] == pytest.approx(
            [right] * 5
        )
    assert networks["same"]["conditional"] is False and networks["perfect"]["conditional"] is True
    learnt = seen.zoo.holdout.condition_NC[:8]
    apart = [(seen.zoo.condition_NC[n] - learnt).abs().sum(dim=1) for n in range(3)]
    means = [float(1 - each.mean() / 5) for each in apart]
    assert any(networks["same"]["held_out"] == pytest.approx(mean) for mean in means)
    first = 1 - (learnt[:, 0] - 1).abs() / 5 - learnt[:, 1:].sum(dim=1) / 5
    assert scores["beside"]["yes to the first class"]["held_out"] == pytest.approx(float(first.mean()))
    larger = torch.maximum(learnt.sum(dim=1), 5 - learnt.sum(dim=1)) / 5
    assert scores["beside"]["larger class"]["held_out"] == pytest.approx(float(larger.mean()))


def test_distances_count_bits_and_learnt_tasks_are_at_none() -> None:
    seen = view({"perfect": Given(network)})
    scores = given(seen)
    held, learnt = seen.zoo.holdout.condition_NC[:8], seen.zoo.condition_NC
    expected = (held[:, None] - learnt).abs().sum(dim=2).amin(dim=1).tolist()
    assert scores["bits"] and scores["distances"]["held out"] == expected and set(scores["distances"]["learnt"]) == {0}


def test_shuffled_conditions_are_those_of_other_tasks() -> None:
    for kinds in ([0, 1], [2, 0, 1], [0, 0, 1, 1], [1, 0, 1, 2, 1, 0, 3], list(range(101))):
        kind_T, seeds = torch.tensor(kinds), range(5)
        for order in (deranged(kind_T, torch.Generator().manual_seed(seed)) for seed in seeds):
            assert sorted(order.tolist()) == list(range(len(kinds))) and (kind_T[order] != kind_T).all()
    scores = given(view({"perfect": Given(network), "deaf": Given(lambda c: network(torch.ones_like(c)))}))
    assert scores["networks"]["perfect"]["shuffled"] < 0.8 and scores["used"]["said"] == "better"
    deaf = scores["networks"]["deaf"]
    assert deaf["shuffled"] == pytest.approx(deaf["mean"])


class Reads(Written):
    """Text that names classes by their numbers; other words say nothing."""

    name, reads = "reads", ("text",)

    def encode(self, about: Any, known: Any, bench: Any, ctx: Context) -> torch.Tensor:
        said = [[int(word) for word in each["text"].split() if word.isdigit()] for each in about]
        return torch.tensor([[float(number in each) for number in range(5)] for each in said])


def test_random_words_are_asked_where_text_is_read_alone() -> None:
    assert given(view({"perfect": Given(network)}))["networks"]["perfect"]["random_text"] is None
    seen = view({"perfect": Given(network), "deaf": Given(lambda c: network(torch.ones_like(c))), "same": One()})
    seen.recipe.encoder = Reads()
    seen.bench = replace(seen.bench, encoder=seen.recipe.encoder)
    networks, right = given(seen)["networks"], seen.zoo.holdout.condition_NC[:8].mean()
    assert networks["perfect"]["random_text"] == pytest.approx(float(1 - right))  # no to every class
    assert networks["deaf"]["random_text"] == pytest.approx(networks["deaf"]["mean"])
    assert networks["same"]["random_text"] is None


def test_a_task_of_the_same_condition_is_no_other_task() -> None:
    made = zoo()
    assert made.holdout is not None and made.holdout.condition_NC is not None
    made.holdout.condition_NC[:7] = made.holdout.condition_NC[0]  # one of eight differs
    same = given(view({"perfect": Given(network)}, made=made))["networks"]["perfect"]
    first, last = made.holdout.condition_NC[[0, 7]]
    about = [set(row["about"]["classes"]) for row in made.holdout.rows[:8]]
    shares = [1 - len(about[7] ^ set(first.nonzero().flatten().tolist())) / 5]
    shares += [1 - len(each ^ set(last.nonzero().flatten().tolist())) / 5 for each in about[:7]]
    assert any(same["shuffled"] == pytest.approx((shares[0] + each) / 2) for each in shares[1:])
    made.holdout.condition_NC[:8] = made.holdout.condition_NC[0]
    assert given(view({"perfect": Given(network)}, made=made))["networks"]["perfect"]["shuffled"] is None


def test_the_gate_and_the_span_of_learnt_networks() -> None:
    made = zoo()
    scores = given(view({"perfect": Given(network)}, made=made))
    assert scores["networks"]["perfect"]["gate"] == 1.0 and scores["span"] == 1.0  # 20 networks span five bits
    made.theta_ND = made.theta_ND * torch.cat([torch.ones(8), torch.zeros(1), torch.ones(1)])  # nobody knows class 3
    seen = view({"perfect": Given(network)}, made=made)
    answers = given(seen)["span"]
    held = made.holdout.condition_NC[:8]
    assert answers == pytest.approx(float(1 - (held[:, 3] == 1).float().mean() / 5))


def test_several_samples_of_one_condition_are_better_together() -> None:
    scores = given(view({"noisy": Given(network, noise=1.5), "perfect": Given(network, noise=1e-6)}))
    several = scores["networks"]["noisy"]["samples"]
    assert several["count"] == 8 and several["weights"] > several["one"] and several["outputs"] > several["one"]
    assert "samples" not in scores["networks"]["perfect"]


def test_what_takes_no_conditions_is_the_best_network_of_its_own() -> None:
    scores = given(view({"same": One()}))
    assert scores["networks"]["same"]["shuffled"] is scores["networks"]["same"]["gate"] is None
    assert "takes no conditions" in scores["plain"]


def test_only_so_many_learnt_tasks_are_asked_for_and_the_same_ones_every_time() -> None:
    few = Conditions(rival_steps=0, adapt=(), tasks=5)
    first, second = (given(view({"perfect": Given(network)}), few) for _ in range(2))
    assert first["counts"]["learnt"] == 5 and first["asked"] == second["asked"]


def test_checkpoints_held_out_of_learnt_tasks_are_no_unseen_tasks() -> None:
    made = zoo()
    assert made.holdout is not None
    made.holdout = made.subset([0, 1])
    scores = given(view({"one wrong": Given(wrong_in(1))}, made=made))
    assert scores["known"] == 2 and scores["judged"] == "learnt" and "none was held out" in scores["plain"]
    assert scores["networks"]["one wrong"]["held_out"] is None and scores["networks"]["one wrong"]["mean"] == 0.8


def test_checkpoints_that_a_step_holds_out_are_unseen_tasks() -> None:
    made = zoo()
    made.holdout = None
    rest = Holdout(count=5).zoo(made, None, Context(seed=0))  # type: ignore[arg-type]
    scores = given(view({"perfect": Given(network)}, made=rest))
    assert scores["counts"] == {"learnt": 15, "held out": 5, "hard": 0} and scores["judged"] == "held out"


@pytest.mark.parametrize("family", [Parts(), Apart()])
def test_of_some_examples_every_row_has_the_same(family: Parts) -> None:
    generators = {"noisy": Given(wrong_in(1), noise=1.5), "perfect": Given(network), "same": One()}
    few = given(view(generators, family), Conditions(rival_steps=0, adapt=(), examples=37))
    every = list(few["networks"].values()) + list(few["beside"].values())
    shares = [37 * value for row in every for values in row["tasks"].values() for value in values]
    assert all(abs(share - round(share)) < 1e-9 for share in shares)
    assert few["networks"]["perfect"]["mean"] == 1.0 and few["networks"]["noisy"]["samples"]["outputs"] <= 1.0
    assert few == given(view(generators, family), Conditions(rival_steps=0, adapt=(), examples=37))


def test_where_all_networks_are_scored_alike_shuffling_tells_nothing() -> None:
    seen = view({"pdiff": Given(network), "soup": One()})
    seen.recipe.task = TinyTask()
    seen.bench = bench_of(seen.zoo, Linear(), TinyTask(), data())
    scores = given(seen, Conditions())
    assert scores["by_task"] is False and scores["networks"]["pdiff"]["shuffled"] is None and "used" not in scores
    alike = seen.bench.score(seen.zoo.holdout.theta_ND[:8])
    assert scores["networks"]["original"]["tasks"]["held out"] == alike.tolist()
    assert "matters" not in scores["plain"] and "adapted" not in scores
