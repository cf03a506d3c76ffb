"""Rivals of few-shot generators: they are told a task by the same examples, and write no network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from pdiff.components import KINDS
from pdiff.context import Context
from pdiff.networks import build_network
from pdiff.testing import bench_of, tiny_splits
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.conditions.encoders.features import Features
from pdiff_plugins.conditions.encoders.support import drawn
from pdiff_plugins.conditions.evaluation.judging import Judge
from pdiff_plugins.conditions.shots import rivals
from pdiff_plugins.conditions.shots.orders import Orders

SHOTS = 4
FAMILY = Orders(ways=3, unseen=(5,), shots=SHOTS, metric_steps=60)
DATA = replace(tiny_splits(input_shape=(6,), outputs=6, count=180), outputs=3, classes=6)
NET = KINDS["architecture"].model_validate({"name": "mlp", "hidden": (8,)})
CTX = Context(seed=2)


@pytest.fixture(scope="module")
def bench():
    net = build_network(NET, DATA, seed=0)
    state = {key: value.detach().clone() for key, value in net.state_dict().items()}
    zoo = Zoo.of_one(state, Layout.of(net, list(state)))
    zoo.rows[0]["about"] = TASKS[0]
    return bench_of(zoo, NET, FAMILY, DATA, encoder=Features(by="inputs", shots=SHOTS))


TASKS = [{"classes": [4, 0, 2], "draw": 7}, {"classes": [1, 5, 3], "draw": 8}]


def test_every_rival_answers_every_task_on_the_examples_asked(bench):
    known = FAMILY.rivals(bench, CTX)
    assert len(known) == 6
    for name, rival in known.items():
        wrong_TE = rival(TASKS, DATA.test)
        assert wrong_TE.dtype == torch.bool and wrong_TE.shape == (2, len(FAMILY.asked(DATA.test, TASKS[0]))), name
        assert wrong_TE.float().mean() < 0.3, name  # classes lie well apart; two of three would be chance
        assert torch.equal(FAMILY.rivals(bench, CTX)[name](TASKS[1:], DATA.test)[0], wrong_TE[1]), f"{name}: not alone"


def test_of_some_examples_rivals_answer_those(bench):
    judge = Judge(FAMILY, bench, TASKS, "test", 60, torch.Generator().manual_seed(0))
    for name, rival in FAMILY.rivals(bench, CTX).items():
        judged = judge.rival(rival)
        assert judged.right_TE.shape == (2, len(judge.targets(0))), name
        whole_TE, of_split = ~rival(TASKS, DATA.test), FAMILY.asked(DATA.test, TASKS[0])
        chosen = {int(number) for number in judge.drawn.chosen_E}
        right = dict(zip(of_split.chosen_E.tolist(), whole_TE[0].tolist(), strict=True))
        some = FAMILY.asked(judge.drawn, TASKS[0])
        numbers = judge.drawn.chosen_E[some.chosen_E].tolist()
        assert torch.equal(judged.example_TE[0], some.chosen_E) and judged.groups() == []
        assert set(numbers) <= chosen
        assert all(right[n] == bool(r) for n, r in zip(numbers, judged.right_TE[0], strict=True) if n in right), name


def test_class_means_are_those_that_the_encoder_gives(bench):
    wrong_TE = FAMILY.rivals(bench, CTX)["class means"](TASKS, DATA.test)
    mean_TWF = bench.encode(TASKS).unflatten(1, (3, -1))
    for number, task in enumerate(TASKS):
        asked = FAMILY.asked(DATA.test, task)
        batch = asked.batch(torch.arange(len(asked)), torch.device("cpu"))
        distance_EW = (batch.inputs[:, None] - mean_TWF[number]).square().sum(dim=2)
        assert torch.equal(distance_EW.argmin(dim=1) != batch.targets, wrong_TE[number])


def test_another_order_of_classes_is_another_order_of_answers(bench):
    turned = {"classes": [2, 4, 0], "draw": 7}
    each = len(FAMILY.asked(DATA.test, turned)) // 3
    for name in ("class means", "class means, by angle", "ridge on the examples", "class means in a learned metric"):
        first, other = (FAMILY.rivals(bench, CTX)[name]([task], DATA.test)[0] for task in (TASKS[0], turned))
        assert torch.equal(first.view(3, each)[[2, 0, 1]], other.view(3, each)), name


def test_steps_on_the_examples_are_plain_steps_from_the_base_network(bench):
    few = rivals.FewShots(FAMILY, bench, CTX)
    sgd_TD, adam_TD = (few._after(TASKS, f, 5, 0.1) for f in (rivals.sgd, rivals.adam))
    for number, task in enumerate(TASKS):
        index = drawn(DATA.train.targets, task["classes"], SHOTS, task["draw"]).flatten()
        for theta_TD, optimiser in ((sgd_TD, torch.optim.SGD), (adam_TD, torch.optim.Adam)):
            net = build_network(NET, DATA, seed=0)
            steps = optimiser(net.parameters(), 0.1)
            for _ in range(5):
                steps.zero_grad()
                cross_entropy(net(DATA.train.inputs[index]), torch.arange(3).repeat_interleave(SHOTS)).backward()
                steps.step()
            assert torch.allclose(bench.zoo.layout.vector(net.state_dict()), theta_TD[number], atol=1e-4)


def test_rates_are_judged_on_other_examples_than_those_trained_on(bench):
    few = rivals.FewShots(FAMILY, bench, CTX)
    for task in few.tuning()[:8]:
        for support_K, query_Q in zip(few.supports(task), few.queries(task), strict=True):
            assert len({*support_K.tolist(), *query_Q.tolist()}) == SHOTS + rivals.QUERIES


def test_without_steps_there_is_no_learned_metric(bench):
    assert "class means in a learned metric" not in Orders(ways=3, metric_steps=0).rivals(bench, CTX)
