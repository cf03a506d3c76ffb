"""Evaluators against the definitions, written out the slow way."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdiff.context import Context
from pdiff.testing import Points, tiny_run, tiny_zoo
from pdiff_plugins.baselines.plain import Constant
from pdiff_plugins.evaluators.accuracy import Accuracy
from pdiff_plugins.evaluators.denoising import Front
from pdiff_plugins.evaluators.distance import Distance
from pdiff_plugins.evaluators.similarity import Similarity
from pdiff_plugins.images.classification import Classification
from pdiff_plugins.maths.neighbours import nearest
from pdiff_plugins.maths.overlap import iou
from pdiff_plugins.transforms.temperature import tempered

CTX = Context(seed=0)


@settings(max_examples=50)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 12), st.integers(0, 999))
def test_overlap_is_the_set_definition(m: int, n: int, e: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.rand(m, e, generator=generator) < 0.4, torch.rand(n, e, generator=generator) < 0.4
    for i, j in itertools.product(range(m), range(n)):
        first, second = set(a[i].nonzero()[:, 0].tolist()), set(b[j].nonzero()[:, 0].tolist())
        expected = len(first & second) / len(first | second) if first | second else 1.0
        assert iou(a, b)[i, j].item() == pytest.approx(expected)


def view(protocol: str = "holdout", **predictions: torch.Tensor) -> SimpleNamespace:
    """Three classes, ten examples; predictions by source."""
    targets = torch.arange(10) % 3
    recipe = SimpleNamespace(task=Classification())
    return SimpleNamespace(
        recipe=recipe, method="pdiff", selection="test" if protocol == "paper" else "validation",
        theta=dict.fromkeys(predictions), targets=lambda split: targets, methods={},
        predictions=lambda source, split: predictions[source] if split == "test" else predictions[source].flip(0),
    )  # fmt: skip


def some(count: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 3, (count, 10), generator=torch.Generator().manual_seed(seed)).short()


def test_best_is_chosen_on_the_selection_split() -> None:
    original = some(6, 0)
    accuracy = (original == torch.arange(10) % 3).double().mean(dim=1)
    paper = Accuracy().evaluate(view("paper", original=original, pdiff=some(4, 1)), CTX)["networks"]["original"]
    assert paper["best"] == pytest.approx(accuracy.max().item()) == pytest.approx(paper["max"])
    holdout = Accuracy().evaluate(view(original=original, pdiff=some(4, 1)), CTX)["networks"]["original"]
    assert holdout["best"] == pytest.approx(accuracy[accuracy.flip(0).argmax()].item())
    assert holdout["mean"] == pytest.approx(accuracy.mean().item())
    assert holdout["std"] == pytest.approx(accuracy.std(correction=0).item())


def test_similarity_leaves_a_network_out_of_its_own_comparison() -> None:
    original, own = some(5, 0), some(3, 1)
    scores = Similarity().evaluate(view(original=original, pdiff=own), CTX)
    wrong = {name: p != torch.arange(10) % 3 for name, p in (("o", original), ("g", own))}

    def overlap(a: torch.Tensor, b: torch.Tensor) -> float:
        return ((a & b).sum() / (a | b).sum()).item()

    oo = [overlap(a, b) for a, b in itertools.permutations(wrong["o"], 2)]
    gg = [overlap(a, b) for a, b in itertools.combinations(wrong["g"], 2)]
    og = [[overlap(g, o) for o in wrong["o"]] for g in wrong["g"]]
    assert scores["oo"] == pytest.approx(sum(oo) / len(oo))
    assert scores["gg"] == pytest.approx(sum(gg) / len(gg))
    assert scores["og"] == pytest.approx(sum(map(sum, og)) / 15)
    assert scores["og_max"] == pytest.approx(sum(map(max, og)) / 3)
    assert scores["oo_max"] == pytest.approx(sum(max(oo[4 * i : 4 * i + 4]) for i in range(5)) / 5)


def test_a_single_network_has_no_overlap_within() -> None:
    scores = Similarity().evaluate(view(original=some(4, 0), pdiff=some(3, 1), soup=some(1, 2)), CTX)
    assert scores["networks"]["soup"]["within"] is None


def view_of(zoo_ND: torch.Tensor, **theta: torch.Tensor) -> SimpleNamespace:
    """Return points by source, and checkpoints."""
    zoo = SimpleNamespace(theta_ND=zoo_ND)
    return SimpleNamespace(zoo=zoo, theta={"original": zoo_ND, **theta}, bench=Points(zoo))


def test_copies_are_at_distance_zero_and_originals_leave_themselves_out() -> None:
    zoo = torch.tensor([[0.0, 0], [3, 4], [3, 5]])
    assert nearest(zoo, zoo, leave_self_out=True).tolist() == pytest.approx([5, 1, 1])
    assert nearest(zoo[1:2] + 1e-6, zoo).item() == pytest.approx(1e-6 * 2**0.5, rel=0.2)
    seen = view_of(zoo, copy=zoo[:1])
    scores = Distance().evaluate(seen, CTX)
    assert scores["leave_one_out"] == pytest.approx(1) and scores["networks"]["copy"]["ratio"] == 0


def test_networks_that_were_generated_twice_are_counted() -> None:
    zoo = torch.arange(10.0)[:, None] * torch.ones(10, 4)
    twice = torch.cat([zoo[:3] + 0.3, zoo[:3] + 0.31, zoo[6:8] + 0.3])
    seen = view_of(zoo, pdiff=twice, soup=zoo[:1])
    networks = Distance().evaluate(seen, CTX)["networks"]
    assert networks["original"]["repeats"] == 0.0 and networks["pdiff"]["repeats"] == pytest.approx(6 / 8)
    assert "repeats" not in networks["soup"]


def noted(seen: SimpleNamespace) -> list[str]:
    """Return the notes of a view's scores."""
    given = Accuracy().evaluate(seen, CTX)
    networks = {source: {"accuracy": own} for source, own in given.pop("networks").items()}
    scores = {
        "method": "pdiff", "main": "accuracy", "selection": seen.selection, "facts": {}, "networks": networks,
        "accuracy": given,
    }  # fmt: skip
    return [finding.text for finding in Accuracy().findings(scores) if finding.note]


def test_a_task_that_constants_solve_is_called_out() -> None:
    original = some(6, 0)
    good = (torch.arange(10) % 3)[None].short()
    said = Accuracy().evaluate(view(original=original, pdiff=some(4, 1), constant=good), CTX)
    assert "constant" not in said  # a source that is only called so
    seen = view(original=original, pdiff=some(4, 1), constant=good)
    seen.methods = {"constant": Constant()}
    assert "says nothing about a generator" in noted(seen)[0]
    seen = view(original=good.repeat(3, 1), pdiff=some(4, 1), constant=1 - good)
    seen.methods = {"constant": Constant()}
    assert noted(seen) == []


def test_temperature_moves_networks_along_lines_through_the_average() -> None:
    zoo = tiny_zoo()
    theta_MD = zoo.theta_ND[:5]
    free = zoo.layout.to_free
    mean_D = free(zoo.theta_ND).double().mean(dim=0).float()
    assert free(tempered(theta_MD, zoo, 0.0, CTX)).allclose(mean_D.expand(5, -1), atol=1e-5)
    assert tempered(theta_MD, zoo, 1.0, CTX).allclose(theta_MD, atol=1e-5)
    half = free(tempered(theta_MD, zoo, 0.5, CTX))
    assert half.allclose((free(theta_MD) + mean_D) / 2, atol=1e-5)


def test_the_front_ends_at_the_soup_and_at_the_networks_themselves(tmp_path) -> None:
    pipeline = tiny_run(tmp_path)
    view = pipeline.view()
    rows = Front(temperatures=(0.0, 1.0), networks=6).evaluate(view, Context(seed=0))["front"]
    task, targets = view.recipe.task, view.targets("test")
    own = task.score(view.predictions(view.method, "test"), targets).mean()
    soup = task.score(view.bench.predict(tempered(view.zoo.theta_ND[:1], view.zoo, 0.0, CTX), "test"), targets)
    assert rows[0]["score"] == pytest.approx(float(soup[0])) and rows[0]["within"] == 1.0
    assert rows[1]["score"] == pytest.approx(float(own)) and rows[1]["within"] < 1.0


def test_what_training_takes_is_said_with_its_unit() -> None:
    from pdiff_plugins.evaluators.memory import Memory

    (finding,) = Memory().findings({"method": "pdiff", "memory": {"codec": 19, "denoiser": 28}})
    assert finding.note and "pdiff takes 19 MiB for its codec and 28 MiB for its denoiser" in finding.text
