"""Symmetry: permuted networks compute the same function, and copies are brought back to one point."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import pdiff
from pdiff.plugins.discovery import registry
from pdiff_plugins.symmetry.factors import every, free, reshaped, root, tie
from pdiff_plugins.symmetry.matching import match
from pdiff_plugins.symmetry.permutations import Symmetry

CASES = {  # name: (input shape, permutations' sizes)
    "mlp_mini": ((1, 16, 16), [64, 16]), "convnet_mini": ((3, 32, 32), [8, 8, 4, 16]),
    "resnet_mini": ((3, 32, 32), [8, 4, 4, 16]), "cnn_medium": ((3, 32, 32), [16, 32, 15, 20]),
    "hyper_cnn": ((1, 28, 28), [8, 6, 4, 20]), "resnet20": ((3, 16, 16), None), "resnet18": ((3, 32, 32), None),
    "convnext_mini": ((3, 32, 32), None),
    "vit_mini": ((3, 32, 32), 4 * [4, 8, 64]),  # of each block heads, channels within them, and the perceptron's units
}  # fmt: skip


def network(name: str, seed: int = 0) -> tuple[nn.Module, torch.Tensor]:
    component, values = registry().find("architecture", name)
    torch.manual_seed(seed)
    model = component(**values).build(input_shape=CASES[name][0], outputs=10)
    generator = torch.Generator().manual_seed(seed)
    for value in model.state_dict().values():  # norms are all ones and zeros when new, which would hide a mistake
        if value.is_floating_point():
            value.add_(0.1 * torch.rand(value.shape, generator=generator))
    return model.eval(), torch.randn(2, *CASES[name][0], generator=generator)


@pytest.mark.parametrize("name", list(CASES))
def test_permuted_networks_compute_the_same_function(name: str) -> None:
    model, x = network(name)
    symmetry, state = Symmetry.of(model, x), {key: value.clone() for key, value in model.state_dict().items()}
    if CASES[name][1] is not None:
        assert sorted(symmetry.sizes) == sorted(CASES[name][1])
    assert symmetry.sizes
    permutations = symmetry.random(torch.Generator().manual_seed(2))
    with torch.no_grad():
        before = model(x)
        model.load_state_dict(symmetry.permuted(state, permutations))
        after = model(x)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    moved = {key for key, value in model.state_dict().items() if not value.equal(state[key])}
    assert moved == {key for key in state if any(of is not None for _, of in symmetry.factors(key))}


@pytest.mark.slow
def test_every_head_and_unit_of_a_timm_vit_is_found_and_matched() -> None:
    torch.manual_seed(0)
    model = registry().find("architecture", "timm_model")[0](model="vit_tiny_patch16_224")
    model = model.build(input_shape=(3, 32, 32), outputs=10).eval()
    symmetry = Symmetry.of(model, torch.randn(2, 3, 32, 32))
    assert sorted(symmetry.sizes) == sorted([192, *(12 * [3, 64, 768])])  # the stream; of each block as in vit_mini
    state, generator = dict(model.state_dict()), torch.Generator().manual_seed(0)
    copy = symmetry.permuted(state, symmetry.random(generator))
    back = symmetry.permuted(copy, match(symmetry, state, copy, generator))
    assert all(back[key].equal(value) for key, value in state.items())


@pytest.mark.parametrize("name", ["mlp_mini", "resnet_mini", "cnn_medium", "resnet20", "vit_mini"])
def test_permuted_copies_collapse_to_one_point(name: str) -> None:
    model, x = network(name)
    symmetry, state = Symmetry.of(model, x), dict(model.state_dict())
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        copy = symmetry.permuted(state, symmetry.random(generator))
        back = symmetry.permuted(copy, match(symmetry, state, copy, generator))
        assert all(back[key].equal(value) for key, value in state.items())


def test_matching_brings_other_networks_nearer_and_keeps_their_function() -> None:
    (model, x), (other, _) = network("cnn_medium", 0), network("cnn_medium", 1)
    symmetry, reference = Symmetry.of(model, x), dict(model.state_dict())
    state = {key: value.clone() for key, value in other.state_dict().items()}
    nearer = symmetry.permuted(state, match(symmetry, reference, state, torch.Generator().manual_seed(0)))
    distances = [sum(float((reference[k] - s[k]).square().sum()) for k in s) for s in (nearer, state)]
    assert distances[0] < 0.95 * distances[1]
    with torch.no_grad():
        before = other(x)
        other.load_state_dict(nearer)
        torch.testing.assert_close(other(x), before, rtol=1e-4, atol=1e-4)
    again = match(symmetry, reference, nearer, torch.Generator().manual_seed(0))
    assert all(own.equal(torch.arange(len(own))) for own in again)


class Residual(nn.Module):
    """One permutation on both axes of a weight; a cast, which export marks with a node without value."""

    def __init__(self):
        super().__init__()
        self.enter, self.inner, self.leave = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        h = self.enter(x).float()
        return self.leave(h + self.inner(h).tanh().to(torch.float32))


def test_a_permutation_on_two_axes_never_ends_worse_than_it_began() -> None:
    x = torch.randn(2, 4)
    for seed in range(6):
        torch.manual_seed(seed)
        ours, theirs = Residual().eval(), Residual().eval()
        symmetry = Symmetry.of(ours, x)
        assert symmetry.sizes == [6]
        reference, state = dict(ours.state_dict()), dict(theirs.state_dict())
        back = symmetry.permuted(state, match(symmetry, reference, state, torch.Generator().manual_seed(0)))
        products = [sum(float((reference[k] * s[k]).sum()) for k in s) for s in (back, state)]
        assert products[0] >= products[1] - 1e-5


class Mixed(nn.Module):
    """A residual around convolutions with BatchNorm, then attention whose queries, keys and values are chunks."""

    def __init__(self):
        super().__init__()
        self.enter, self.first, self.second = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 5, 1), nn.Conv2d(5, 6, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in (6, 5, 6))
        self.qkv, self.leave = nn.Linear(6, 24), nn.Linear(8, 3)

    def forward(self, x):
        h = self.norms[0](self.enter(x)).relu()
        h = h + self.norms[2](self.second(self.norms[1](self.first(h)).relu()))
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.qkv(h.flatten(2).mT).chunk(3, dim=-1))
        return self.leave(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)).mean(dim=1)


@pytest.fixture(scope="module")
def mixed() -> tuple[nn.Module, torch.Tensor, Symmetry]:
    torch.manual_seed(0)
    model, x = Mixed().eval(), torch.randn(2, 2, 5, 5)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand(value.shape))
    return model, x, Symmetry.of(model, x)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31))
def test_any_permutation_of_norms_residuals_and_heads_changes_no_function(mixed, seed: int) -> None:
    model, x, symmetry = mixed
    assert sorted(symmetry.sizes) == [2, 4, 5, 6]
    generator = torch.Generator().manual_seed(seed)
    state = symmetry.permuted(model.state_dict(), symmetry.random(generator))
    with torch.no_grad():
        torch.testing.assert_close(torch.func.functional_call(model, state, (x,)), model(x), rtol=1e-4, atol=1e-4)
    back = symmetry.permuted(state, match(symmetry, model.state_dict(), state, generator))
    assert all(back[key].equal(value) for key, value in model.state_dict().items())


SHAPES = [(2, 3, 4), (24,), (6, 4), (1, 24), (4, 6), (2, 12), (8, 3), (3, 1, 8), (2, 3, 2, 2)]


@given(before=st.sampled_from(SHAPES), after=st.sampled_from(SHAPES), seed=st.integers(0, 99))
def test_factors_move_alike_before_and_after_a_reshape(before: tuple, after: tuple, seed: int) -> None:
    axes = free(before)
    read, generator = reshaped(axes, before, after), torch.Generator().manual_seed(seed)
    orders = {
        factor: torch.arange(factor.size) if factor.fixed else torch.randperm(factor.size, generator=generator)
        for factor in root(tuple(every(axes)))
    }

    def permuted(x: torch.Tensor, labels: tuple) -> torch.Tensor:
        factors = root(tuple(every(labels)))
        x = x.reshape([factor.size for factor in factors])
        for axis, factor in enumerate(factors):
            x = x.index_select(axis, orders.get(factor, torch.arange(factor.size)))
        return x.flatten()

    assert permuted(torch.arange(24), axes).equal(permuted(torch.arange(24), read))


def test_tied_axes_share_the_factors_that_match_and_fix_the_others() -> None:
    (whole,), (heads, channels) = free([24]), free([4, 6])
    tie(whole, heads + channels)
    assert root(whole) == root(heads + channels) and [f.size for f in root(whole)] == [4, 6]
    assert not any(factor.fixed for factor in root(whole))
    ours, theirs = free([2, 9]), free([3, 6])
    tie(ours[0] + ours[1], theirs[0] + theirs[1])
    assert all(factor.fixed for factor in every((ours, theirs)))


def test_tied_and_unread_entries_are_left_alone() -> None:
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.unread = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(self.first(x).tanh())

    assert Symmetry.of(Tied(), torch.randn(2, 4)).sizes == []


def test_what_is_not_understood_is_left_alone() -> None:
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.second(self.first(x).cumsum(dim=1))

    assert Symmetry.of(Sorted(), torch.randn(2, 4)).sizes == []


def test_only_permutations_within_the_selection_are_used() -> None:
    model, x = network("mlp_mini")
    symmetry = Symmetry.of(model, x)
    keys = list(model.state_dict())
    assert symmetry.within(keys) == symmetry
    assert symmetry.within(keys[:-2]).sizes == [64]  # the last layer, which reads the 16, is not selected
    assert symmetry.within(keys[:1]).sizes == []


def test_a_run_of_independent_seeds_is_aligned_and_predicts_the_same(tiny: Path) -> None:
    own = {
        "run.out": str(tiny.parent / "runs"), "method": {"name": "soup"}, "baseline": [], "report": [],
        "collect": {"name": "seeds", "count": 6, "steps": 150, "lr": 0.01, "batch_size": 64},
    }  # fmt: skip
    raw = pdiff.run(tiny, set=own, quiet=True)
    run = pdiff.run(tiny, set=own | {"zoo": [{"name": "align"}]}, quiet=True)
    assert run.pipeline.plan.collect == raw.pipeline.plan.collect
    model, targets = run.pipeline.bench.network, run.pipeline.data.test.targets
    batch = run.pipeline.data.test.batch(torch.arange(len(targets)), torch.device("cpu"))
    with torch.no_grad():
        for index in range(6):
            model.load_state_dict(run.pipeline.zoo.state_dict(run.theta("original")[index]))
            kept = run.pipeline.predictions("original", "test")[index]
            assert (model.eval()(batch.inputs).argmax(dim=1) == kept).float().mean() > 0.99
    spread = [zoo.theta_ND.var(dim=0).sum() for zoo in (run.pipeline.zoo, raw.pipeline.zoo)]
    assert spread[0] < 0.95 * spread[1]
    means = [r.scores["networks"]["soup"]["accuracy"]["mean"] for r in (run, raw)]
    assert means[0] > means[1]
