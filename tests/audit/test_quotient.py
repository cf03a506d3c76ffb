"""Distances of the audit: neither scale nor order of hidden units buys any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pdiff.testing import tiny_run
from pdiff_plugins.audit.novelty import distances
from pdiff_plugins.maths.median import median
from pdiff_plugins.symmetry.graph import Graph
from pdiff_plugins.symmetry.permutations import Symmetry
from pdiff_plugins.symmetry.scaling import Scaling


def test_novelty_is_not_bought_by_scale_or_order(tmp_path: Path) -> None:
    pipeline = tiny_run(tmp_path)
    zoo, bench = pipeline.zoo, pipeline.bench
    graph = Graph.of(bench.build(0), torch.zeros(2, *bench.input_shape))
    symmetry, scaling = Symmetry.in_graph(graph), Scaling.in_graph(graph, zoo.layout.keys)
    generator = torch.Generator().manual_seed(0)
    scaled_MD = scaling.rescaled(zoo.theta_ND[:8], zoo.layout, scaling.random(8, 1.0, generator))
    copies = [symmetry.permuted(zoo.layout.tensors(theta_D), symmetry.random(generator)) for theta_D in scaled_MD]
    copies_MD = torch.stack([zoo.layout.vector(state) for state in copies])
    noise_MD = zoo.theta_ND + torch.randn(zoo.theta_ND.shape, generator=generator)
    view = replace(pipeline.view(), theta={"original": zoo.theta_ND, "copies": copies_MD, "noise": noise_MD})
    far = distances(view, 6)
    assert far.quotient and far.raw["copies"].min() > 3
    assert far.ratios["copies"].shape == (6,) and not far.ratios["copies"].any()  # copies are set to 0
    assert far.ratios["original"].shape == far.raw["original"].shape
    assert median(far.ratios["original"]) == pytest.approx(1, rel=1e-12)
    assert far.ratios["noise"].shape == (6,) and far.ratios["noise"].min() > 1
    same = distances(replace(view, zoo=replace(zoo, theta_ND=copies_MD[:1].expand_as(zoo.theta_ND))), 6)
    assert same.quotient and same.unit != same.unit and same.ratios["copies"].isnan().all()
    raw = distances(view, 0)
    assert not raw.quotient and raw.ratios is raw.raw and raw.zoo_ND is zoo.theta_ND
