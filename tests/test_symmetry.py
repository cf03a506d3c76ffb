"""Symmetry: permuted networks compute the same function, and copies are brought back to one point."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import pdiff
from pdiff.align import aligned, match
from pdiff.plugins import registry
from pdiff.symmetry import Symmetry

CASES = {  # name: (input shape, permutations' sizes)
    "mlp_mini": ((1, 16, 16), [64, 16]), "convnet_mini": ((3, 32, 32), [8, 8, 4, 16]),
    "resnet_mini": ((3, 32, 32), [8, 4, 4, 16]), "cnn_medium": ((3, 32, 32), [16, 32, 15, 20]),
    "hyper_cnn": ((1, 28, 28), [8, 6, 4, 20]), "resnet20": ((3, 16, 16), None), "resnet18": ((3, 32, 32), None),
    "convnext_mini": ((3, 32, 32), None), "vit_mini": ((3, 32, 32), None),
}  # fmt: skip


def network(name: str, seed: int = 0) -> tuple[nn.Module, torch.Tensor]:
    found, values = registry().find("architecture", name)
    torch.manual_seed(seed)
    model = found(**values).build(input_shape=CASES[name][0], outputs=10)
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
    permutations = symmetry.random(torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = model(x)
        model.load_state_dict(symmetry.permuted(state, permutations))
        after = model(x)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    moved = [key for key, value in model.state_dict().items() if not value.equal(state[key])]
    assert len(moved) >= 2 * len(symmetry.sizes)


@pytest.mark.parametrize("name", ["mlp_mini", "resnet_mini", "cnn_medium", "resnet20"])
def test_permuted_copies_collapse_to_one_point(name: str) -> None:
    model, x = network(name)
    symmetry, state = Symmetry.of(model, x), dict(model.state_dict())
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        copy = symmetry.permuted(state, symmetry.random(generator))
        back = aligned(symmetry, state, copy, generator)
        assert all(back[key].equal(value) for key, value in state.items())


def test_matching_brings_other_networks_nearer_and_keeps_their_function() -> None:
    (model, x), (other, _) = network("cnn_medium", 0), network("cnn_medium", 1)
    symmetry, reference = Symmetry.of(model, x), dict(model.state_dict())
    state = {key: value.clone() for key, value in other.state_dict().items()}
    nearer = aligned(symmetry, reference, state, torch.Generator().manual_seed(0))
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
    for seed in range(12):
        torch.manual_seed(seed)
        ours, theirs = Residual().eval(), Residual().eval()
        symmetry = Symmetry.of(ours, x)
        assert symmetry.sizes == [6]
        reference, state = dict(ours.state_dict()), dict(theirs.state_dict())
        back = aligned(symmetry, reference, state, torch.Generator().manual_seed(0))
        products = [sum(float((reference[k] * s[k]).sum()) for k in s) for s in (back, state)]
        assert products[0] >= products[1] - 1e-5


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
    run = pdiff.run(tiny, set=own | {"zoo.align": True}, quiet=True)
    assert run.pipeline.collect_stage == raw.pipeline.collect_stage
    model, targets = run.pipeline.network, run.pipeline.data.test.targets
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
