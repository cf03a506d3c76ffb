"""G.pt's tokens, pairs and network."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdiff.networks import build_network
from pdiff.testing import tiny_splits
from pdiff.zoo import Layout
from pdiff_plugins.gpt.method import Gpt
from pdiff_plugins.gpt.net import PromptedTransformer, Waves
from pdiff_plugins.gpt.pairs import Pairs
from pdiff_plugins.gpt.tokens import Kinds, by_chunk, by_neuron, shuffled
from pdiff_plugins.networks.small import Mlp, TwoConvolutions
from pdiff_plugins.symmetry.permutations import Symmetry


@functools.cache
def network_of(architecture, shape=(2,)):
    """Return a network, its layout and its symmetry."""
    model = build_network(architecture, tiny_splits(shape), seed=0)
    layout = Layout.of(model, list(model.state_dict()))
    return model, layout, Symmetry.of(model, torch.zeros(2, *shape)).within(layout.keys)


@settings(max_examples=20)
@given(hidden=st.sampled_from([(5,), (5, 4)]), size=st.integers(1, 30), seed=st.integers(0, 99))
def test_tokens_of_every_kind_go_back_exactly(hidden, size, seed):
    _, layout, symmetry = network_of(Mlp(hidden=hidden))
    x_BD = torch.randn(3, layout.dim, generator=torch.Generator().manual_seed(seed))
    chunks = [by_chunk(layout, policy, size) for policy in ("chunk_within_layer", "layer", "flat")]
    for kinds in (by_neuron(layout, symmetry), *chunks):
        tokens = kinds.split(x_BD)
        assert kinds.join(tokens).equal(x_BD)
        assert Kinds.load(kinds.tables()).join(tokens).equal(x_BD)
    assert max(part.shape[2] for part in chunks[0].split(x_BD)) <= size
    assert len(chunks[1].kinds) == len(layout.entries)
    assert len(chunks[2].kinds) == -(-layout.dim // size)


@pytest.mark.parametrize(
    ("size", "outputs", "hidden", "chunk", "tokens"),
    [((1, 28, 28), 10, (10,), 1000, 11), ((4,), 1, (32, 32), 10**6, 6)],
)
def test_the_papers_tokens_are_as_many_as_its_table_says(size, outputs, hidden, chunk, tokens):
    """gpt_sane A3: MNIST 8 + 1 + 1 + 1; Cartpole has 7 with the log of the deviation, which our policy has not."""
    model = build_network(Mlp(hidden=hidden), tiny_splits(size, outputs), seed=0)
    assert len(by_chunk(Layout.of(model, list(model.state_dict())), "chunk_within_layer", chunk).kinds) == tokens


def test_a_hidden_unit_is_a_token_with_what_it_reads_and_what_reads_it():
    _, layout, symmetry = network_of(Mlp(hidden=(5,)))
    units, rest = by_neuron(layout, symmetry).kinds
    assert units.index_US.shape == (5, 2 + 1 + 3) and not units.placed
    assert rest.index_US.shape == (1, 3)
    marks_D = torch.arange(layout.dim)
    entries = layout.tensors(marks_D)
    third = torch.cat([entries["1.weight"][2], entries["1.bias"][2:3], entries["3.weight"][:, 2]])
    assert units.index_US[2].equal(third)


def test_units_that_other_hidden_units_tell_apart_have_positions():
    _, layout, symmetry = network_of(TwoConvolutions(channels=(4, 6)), (3, 8, 8))
    first, second, rest = by_neuron(layout, symmetry).kinds
    assert first.placed and first.index_US.shape == (4, 27)
    assert not second.placed and second.index_US.shape == (6, 4 * 9 + 3)
    assert rest.index_US.shape == (1, 3)


def small(kinds, joined=True):
    torch.manual_seed(0)
    return PromptedTransformer(kinds, width=16, depth=2, heads=2, waves=4, octaves=3.0, joined=joined).eval()


@pytest.mark.parametrize("joined", [True, False])
def test_a_new_network_returns_its_start(joined):
    _, layout, symmetry = network_of(Mlp(hidden=(5,)))
    kinds = by_neuron(layout, symmetry) if joined else by_chunk(layout, "chunk_within_layer", 4)
    x_BD, start_BD = torch.randn(2, 3, layout.dim)
    assert small(kinds, joined)(x_BD, start_BD, torch.randn(3, 4)).equal(start_BD)


def test_permuting_hidden_units_permutes_what_the_neuron_tokens_give():
    _, layout, symmetry = network_of(Mlp(hidden=(5,)))
    net = small(by_neuron(layout, symmetry))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x_BD, start_BD, scalars_B4 = torch.randn(2, layout.dim), torch.randn(2, layout.dim), torch.randn(2, 4)
    order = [torch.stack([torch.randperm(5) for _ in range(2)])]
    moved = [shuffled(part, layout, symmetry, order) for part in (x_BD, start_BD)]
    with torch.no_grad():
        given, after = net(x_BD, start_BD, scalars_B4), net(*moved, scalars_B4)
    assert (given - start_BD).abs().max() > 0.1
    torch.testing.assert_close(after, shuffled(given, layout, symmetry, order), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", [Mlp(hidden=(5, 4)), TwoConvolutions(channels=(4, 6))])
def test_shuffled_networks_are_other_points_and_the_same_functions(architecture):
    shape = (3, 8, 8)
    model, layout, symmetry = network_of(architecture, shape)
    theta_BD = torch.randn(3, layout.dim)
    order = [torch.rand(3, size).argsort(dim=1) for size in symmetry.sizes]
    moved_BD, inputs = shuffled(theta_BD, layout, symmetry, order), torch.randn(4, *shape)
    assert not torch.allclose(moved_BD, theta_BD)
    for before, after in zip(theta_BD, moved_BD, strict=True):
        own, other = (torch.func.functional_call(model, layout.tensors(x), inputs) for x in (before, after))
        torch.testing.assert_close(own, other, atol=1e-4, rtol=1e-4)


def test_waves_hold_the_scalar_and_its_sines():
    y = Waves(3, 2.0)(torch.tensor([0.5]))
    torch.testing.assert_close(y[0, :3], torch.tensor([0.5, 1.0, 2.0]).sin())
    assert y.shape == (1, 7) and y[0, -1] == 0.5


@settings(max_examples=20)
@given(counts=st.lists(st.integers(1, 6), min_size=1, max_size=5).filter(lambda counts: max(counts) > 1))
def test_pairs_stay_in_a_run_and_go_forward(counts):
    rows = [{"run": run, "step": 10 * step} for run, count in enumerate(counts) for step in range(count)]
    rows = [rows[index] for index in torch.randperm(len(rows)).tolist()]
    first_B, last_B = Pairs(rows).draw(200, torch.Generator().manual_seed(0))
    for first, last in zip(first_B.tolist(), last_B.tolist(), strict=True):
        assert rows[first]["run"] == rows[last]["run"] and rows[first]["step"] < rows[last]["step"]


def test_gaps_between_pairs_are_uniform():
    first_B, last_B = Pairs([{"run": 0, "step": step} for step in range(5)]).draw(
        8000, torch.Generator().manual_seed(0)
    )
    shares = torch.bincount(last_B - first_B, minlength=5)[1:] / 8000
    assert (shares - 0.25).abs().max() < 0.03


def test_presets_have_the_papers_sizes():
    """gpt_sane A3: 378 M, 639 M and 347 M parameters; 26, 26 and 18 tokens, our policies without a deviation."""
    paper = {"gpt_mnist": ((1, 28, 28), 10, Mlp(hidden=(10,)), 378, 26),
             "gpt_cifar10": ((3, 32, 32), 10, TwoConvolutions(), 639, 26),
             "gpt_cartpole": ((4,), 1, Mlp(hidden=(32, 32), activation="selu"), 347, 16)}  # fmt: skip
    for name, (shape, outputs, architecture, millions, tokens) in paper.items():
        method = Gpt.model_validate(Gpt.presets[name])
        model = build_network(architecture, tiny_splits(shape, outputs), seed=0)
        layout = Layout.of(model, list(model.state_dict()))
        with torch.device("meta"):
            kinds = by_chunk(layout, method.tokens, method.chunk)
        own = {key: getattr(method, key) for key in ("width", "depth", "heads", "waves", "octaves")}
        with torch.device("meta"):
            net = PromptedTransformer(kinds, **own, joined=False)
        assert len(net.place_T) == tokens
        assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)
