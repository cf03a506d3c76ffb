"""Ensembles of a source: disjoint, whole in blocks, and of members that are no networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pdiff.bench import Bench
from pdiff.components import Generator
from pdiff.context import Context
from pdiff.data import Split
from pdiff_plugins.uncertainty import answers as module
from pdiff_plugins.uncertainty.answers import panel
from tests.uncertainty.helpers import CTX, sources, view


def seen(**counts: int) -> Any:
    return view(*sources(counts, examples=50), method=next(iter(counts)))


@pytest.mark.parametrize(("count", "size", "ensembles"), [(70, 16, 3), (40, 16, 2), (20, 16, 1), (5, 5, 1), (1, 1, 1)])
def test_a_source_is_disjoint_ensembles_or_all_it_has(count: int, size: int, ensembles: int) -> None:
    asked = panel(seen(a=count), "a", 16, 3, CTX)
    assert asked is not None and (asked.size, asked.count) == (size, ensembles)
    assert len(asked.index_M.unique()) == size * ensembles
    assert torch.equal(asked.weights().sum(dim=1), torch.ones(ensembles))
    assert torch.equal((asked.weights() > 0).sum(dim=0), torch.ones(size * ensembles, dtype=torch.int64))


def test_an_ensemble_answers_by_the_mean_of_its_networks_probabilities() -> None:
    run = seen(a=8)
    asked = panel(run, "a", 4, 2, CTX)
    assert asked is not None
    found, members = asked.answers(run.bench.examples("test")), run.bench.logp["test"][asked.index_M]
    assert len(asked.place_RS.unique()) == 8
    for logp_EK, within_E, place_S in zip(*found, asked.place_RS, strict=True):
        mine = members[place_S]
        assert torch.allclose(logp_EK, mine.exp().mean(dim=0).log(), atol=1e-5)
        assert torch.allclose(within_E, torch.special.entr(mine.double().exp()).sum(dim=2).mean(dim=0), atol=1e-5)


def test_without_one_is_each_ensemble_less_each_of_its_networks() -> None:
    asked = panel(seen(a=6), "a", 3, 2, CTX)
    assert asked is not None
    for row_M, ensemble, left_out in zip(
        asked.without_one(), [0, 0, 0, 1, 1, 1], asked.place_RS.flatten(), strict=True
    ):
        expected = asked.weights()[ensemble] * 3 / 2
        expected[left_out] = 0
        assert torch.allclose(row_M, expected) and float(row_M.sum()) == pytest.approx(1)


def test_blocks_of_examples_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    run = seen(a=6)
    asked = panel(run, "a", 3, 2, CTX)
    assert asked is not None
    whole = asked.answers(run.bench.examples("test"))
    monkeypatch.setattr(module, "AT_ONCE", 6 * 4 * 7)
    before = run.bench.asked
    parts = asked.answers(run.bench.examples("test"))
    assert run.bench.asked - before == 8  # of 50 examples, 7 at a time
    assert torch.allclose(whole.logp_REK, parts.logp_REK) and torch.allclose(whole.within_RE, parts.within_RE)


class Dropping(Generator):
    """Members that are no vectors: their answers are those of the table's other networks."""

    def __init__(self, bench: Any, given: int):
        super().__init__()
        self.bench, self.given = bench, given

    def answers(self, examples: Split, count: int, bench: Bench, ctx: Context) -> Tensor | None:
        if not self.given:
            return None
        order_M = torch.randperm(self.given, generator=ctx.generator("members"))[:count]
        answered: Tensor = self.bench.of(1 + order_M, examples)
        return answered


def test_a_method_that_answers_itself_is_asked_the_same_members_each_time() -> None:
    run = seen(a=1, others=9)
    run.generators = {"a": Dropping(run.bench, 9)}
    asked = panel(run, "a", 4, 8, CTX)
    assert asked is not None and (asked.size, asked.count) == (4, 2)
    test_EK, again_EK = (asked.members(run.bench.examples("test")) for _ in range(2))
    assert torch.equal(test_EK, again_EK)
    known = asked.members(run.bench.examples("validation"))
    same = [(run.bench.logp["test"] == member).flatten(1).all(dim=1).nonzero().item() for member in test_EK]
    assert torch.equal(known, run.bench.logp["validation"][same]) and 0 not in same


def test_a_method_that_gives_no_answers_is_its_networks() -> None:
    run = seen(a=3)
    run.generators = {"a": Dropping(run.bench, 0)}
    asked = panel(run, "a", 4, 8, CTX)
    assert asked is not None and not asked.asked and asked.size == 3
