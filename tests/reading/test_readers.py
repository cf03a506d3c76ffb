"""Readers: the order and the scales of hidden units tell them nothing; other widths are read, other layers refused."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from pdiff.context import Context
from pdiff.data import TensorSplit
from pdiff.errors import UserError
from pdiff_plugins.reading.readers.probing import input_shape
from pdiff_plugins.symmetry.align import example
from pdiff_plugins.symmetry.graph import Graph
from pdiff_plugins.symmetry.permutations import Symmetry
from pdiff_plugins.symmetry.scaling import Scaling
from tests.reading.helpers import fitted, networks, reader

READERS = ("neuron_transformer", "equivariant", "probes")
SCALED = {"mlp": {"hidden": (6, 5)}, "strided_cnn": {"channels": (3, 4), "hidden": (5,)}}
RESIDUAL = {"vit_mini": {"side": 16, "dim": 8, "depth": 1, "heads": 2, "head_dim": 4, "mlp_dim": 6}}
"""With attention, and LayerNorm, whose eps is not rescaled."""
CASES = [(name, case) for name in READERS for case in (SCALED if name == "probes" else SCALED | RESIDUAL)]


@functools.cache
def learnt(name, architecture):
    """Return a fitted reader, the networks, their bench, permutations and scales."""
    theta_ND, bench = networks(architecture, **(SCALED | RESIDUAL)[architecture])
    layout, graph = bench.objective.layout, Graph.of(bench.build(0), example(bench))
    symmetry = Symmetry.in_graph(graph).within(layout.keys)
    scaling = Scaling.in_graph(graph, layout.keys, norms=False)
    return fitted(name, theta_ND, bench), theta_ND, bench, symmetry, scaling


@pytest.mark.parametrize(("name", "architecture"), CASES)
@settings(max_examples=4)
@given(seed=st.integers(0, 2**31))
def test_a_reordered_and_rescaled_network_reads_the_same(name, architecture, seed):
    readout, theta_ND, bench, symmetry, scaling = learnt(name, architecture)
    layout, generator = bench.objective.layout, torch.Generator().manual_seed(seed)
    theta_D = theta_ND[seed % len(theta_ND)]
    if architecture in SCALED:
        assert scaling.units
        theta_D = scaling.rescaled(theta_D[None], layout, scaling.random(1, 1.0, generator))[0]
    same_D = layout.vector(symmetry.permuted(layout.tensors(theta_D), symmetry.random(generator)))
    ours, theirs = readout.read(torch.stack([theta_ND[seed % len(theta_ND)], same_D]), bench)
    spread = readout.read(theta_ND, bench).std()
    assert not torch.equal(same_D, theta_D)
    assert abs(ours - theirs) < 1e-3 * spread + 1e-5


@pytest.mark.parametrize("name", READERS)
def test_what_is_read_follows_the_networks(name):
    readout, theta_ND, bench, *_ = learnt(name, "mlp")
    value_N = readout.read(theta_ND, bench)
    assert value_N.unique().numel() == len(theta_ND)
    assert torch.allclose(readout.read(theta_ND.flip(0), bench).flip(0), value_N, atol=1e-6)
    assert readout.read(theta_ND[:0], bench).shape == (0,)


@pytest.mark.parametrize("name", READERS)
def test_a_property_of_the_function_is_learnt(name):
    """What a network says of one input, of which readers are not told."""
    theta_ND, bench = networks("mlp", side=2, count=160, hidden=(4,))
    value_N = bench.objective.outputs(theta_ND, torch.ones(1, 1, 2, 2))[:, 0, 0].double()
    options = {"steps": 150, "batch_size": 40, "lr": 0.005} | ({} if name == "probes" else {"noise": 0.0})
    readout = reader(name, **options).fit(theta_ND[:120], value_N[:120], bench, Context(seed=0))
    assert kendalltau(readout.read(theta_ND[120:], bench), value_N[120:]).statistic > 0.5


@pytest.mark.parametrize("name", READERS)
def test_networks_of_other_widths_are_read(name):
    readout, *_ = learnt(name, "strided_cnn")
    theta_MD, bench = networks("strided_cnn", channels=(5, 2), hidden=(7,))
    value_M = readout.read(theta_MD, bench)
    assert value_M.isfinite().all() and value_M.unique().numel() == len(theta_MD)


def test_canonical_scales_are_an_option():
    theta_ND, bench = networks("mlp", **SCALED["mlp"])
    scaling = Scaling.in_graph(Graph.of(bench.build(0), example(bench)), bench.objective.layout.keys)
    readout = fitted("equivariant", theta_ND, bench, balance=False)
    rescaled_ND = scaling.scaled(theta_ND, torch.full((len(theta_ND), scaling.units), 0.5), bench.objective.layout)
    assert not torch.allclose(readout.read(rescaled_ND, bench), readout.read(theta_ND, bench), rtol=1e-3)


@pytest.mark.parametrize("name", READERS[:2])
@pytest.mark.parametrize(
    ("options", "key"),
    [({"hidden": (6, 5, 4)}, "5.weight"), ({"hidden": (6, 5), "side": 4}, "1.weight"),
     ({"hidden": (6, 5), "outputs": 4}, "5.weight")],
)  # fmt: skip
def test_networks_that_differ_in_more_are_refused(name, options, key):
    readout, *_ = learnt(name, "mlp")
    theta_MD, bench = networks("mlp", **options)
    with pytest.raises(UserError, match=rf"reader {name}: .*their '{key}' differs in more"):
        readout.read(theta_MD, bench)


def test_probes_read_other_layers_of_the_same_inputs_and_outputs():
    readout, *_ = learnt("probes", "mlp")
    assert readout.read(*networks("strided_cnn", **SCALED["strided_cnn"])).isfinite().all()
    with pytest.raises(UserError, match="probes are inputs of 1x8x8, and these networks read 1x4x4"):
        readout.read(*networks("mlp", side=4, hidden=(6, 5)))
    with pytest.raises(UserError, match="say 3 numbers of an input, and these say 4"):
        readout.read(*networks("mlp", outputs=4, hidden=(6, 5)))


def test_probes_can_begin_as_examples():
    theta_ND, bench = networks("mlp", **SCALED["mlp"])
    options = {"steps": 1, "lr": 1e-9}
    start, other = (fitted("probes", theta_ND, bench, start=kind, **options) for kind in ("examples", "generated"))
    examples = bench.objective.split.batch(torch.arange(20), torch.device("cpu")).inputs.flatten(1)
    far = [torch.cdist(it.told.members[0].probes().detach().flatten(1), examples).amin(dim=1) for it in (start, other)]
    assert far[0].max() < 0.1 < far[1].min()


@pytest.mark.parametrize("name", READERS[:2])
def test_a_network_without_hidden_units_is_refused(name):
    theta_ND, bench = networks("mlp", hidden=())
    with pytest.raises(UserError, match=rf"reader {name}: no hidden units can be reordered.*'statistics'"):
        fitted(name, theta_ND, bench)


def test_probes_need_real_inputs():
    counted = TensorSplit(torch.zeros(3, 5, dtype=torch.int64), torch.zeros(3))
    with pytest.raises(UserError, match="do not read one tensor of real numbers"):
        input_shape(SimpleNamespace(objective=SimpleNamespace(split=counted)))
