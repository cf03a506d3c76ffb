"""The reader of statistics: what it reads, and that the order and the scale of hidden units have no say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pdiff.context import Context
from pdiff.errors import UserError
from pdiff.objective import Objective
from pdiff.testing import Points, TinyTask, tiny_splits
from pdiff.zoo import Layout, Zoo
from pdiff_plugins.reading.readers.moments import statistics
from pdiff_plugins.reading.readers.statistics import Statistics
from pdiff_plugins.symmetry.align import symmetry_of
from pdiff_plugins.symmetry.graph import Graph
from pdiff_plugins.symmetry.scaling import Scaling

COUNT = 40


def bench_of(width: int = 5, layers: int = 2) -> Points:
    """Return the services for perceptrons, whose rows are random."""
    hidden = [part for _ in range(layers - 2) for part in (nn.Linear(width, width), nn.ReLU())]

    def build(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(2, width), nn.ReLU(), *hidden, nn.Linear(width, 3))

    model, data = build(0), tiny_splits()
    layout = Layout.of(model, list(model.state_dict()))
    theta_ND = torch.randn(COUNT, layout.dim, generator=torch.Generator().manual_seed(1))
    zoo = Zoo(theta_ND, layout, model.state_dict(), [{"run": n, "step": 0, "metrics": {}} for n in range(COUNT)])
    return Points(zoo, build, Objective(model, layout, TinyTask(), data.train))


BENCH = bench_of()
THETA_ND, LAYOUT = BENCH.zoo.theta_ND, BENCH.zoo.layout
VALUE_N = THETA_ND.double().square().mean(dim=1)
READOUTS = {
    balance: Statistics(balance=balance, trees=30).fit(THETA_ND, VALUE_N, BENCH, Context(seed=0))
    for balance in (False, True)
}
SYMMETRY = symmetry_of(BENCH, LAYOUT, "test")
SCALING = Scaling.in_graph(Graph.of(BENCH.build(0), torch.zeros(2, 2)), LAYOUT.keys, norms=False)


def test_statistics_are_numpys() -> None:
    found, entries = statistics(THETA_ND, LAYOUT).numpy(), LAYOUT.tensors(THETA_ND)
    expected = [
        [[x.mean(), x.var(), *np.quantile(x, [0, 0.25, 0.5, 0.75, 1])] for x in entry.double().flatten(1).numpy()]
        for entry in entries.values()
    ]
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), rtol=1e-12)


@given(st.integers(0, 2**31), st.booleans())
@settings(max_examples=12, deadline=None)
def test_networks_in_another_order_read_the_same(seed: int, balance: bool) -> None:
    orders, state = SYMMETRY.random(torch.Generator().manual_seed(seed)), LAYOUT.tensors(THETA_ND[0])
    moved_D = LAYOUT.vector(SYMMETRY.permuted(state, orders))
    both = READOUTS[balance].read(torch.stack([THETA_ND[0], moved_D]), BENCH)
    assert both[0] == pytest.approx(float(both[1]), abs=1e-6 if balance else 0)


@given(st.integers(0, 2**31), st.floats(0.01, 1.5))
@settings(max_examples=6, deadline=None)
def test_rescaled_networks_have_the_same_statistics(seed: int, spread: float) -> None:
    log_MU = SCALING.random(2, spread, torch.Generator().manual_seed(seed))
    scaled_MD = SCALING.rescaled(THETA_ND[:2], LAYOUT, log_MU)
    before, after = (READOUTS[True]._statistics(theta_MD, BENCH) for theta_MD in (THETA_ND[:2], scaled_MD))
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(statistics(scaled_MD, LAYOUT), statistics(THETA_ND[:2], LAYOUT), atol=1e-4)


def test_it_tells_what_statistics_hold_of_networks_that_it_has_not_seen() -> None:
    learnt = Statistics().fit(THETA_ND[:30], VALUE_N[:30], BENCH, Context(seed=0))
    read, true = learnt.read(THETA_ND[30:], BENCH), VALUE_N[30:]
    assert np.corrcoef(read, true)[0, 1] > 0.5
    wider = bench_of(width=9)
    assert READOUTS[False].read(wider.zoo.theta_ND, wider).isfinite().all(), "another width has as many entries"


def test_networks_of_more_entries_are_refused() -> None:
    deeper = bench_of(layers=3)
    with pytest.raises(UserError, match=r"fitted on networks of 4 entries, and these have 6; read networks of one"):
        READOUTS[False].read(deeper.zoo.theta_ND, deeper)
