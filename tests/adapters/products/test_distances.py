"""Distances of the audit and of `distance`: other factors buy none, and noise is as far as it is said to be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pdiff.testing import TinyNet, tiny_run
from pdiff_plugins.adapters.selector import Lora
from pdiff_plugins.audit import noise
from pdiff_plugins.audit.novelty import distances, manifold
from pdiff_plugins.audit.outside import outside
from pdiff_plugins.evaluators.distance import Distance
from pdiff_plugins.evaluators.findings import PRODUCTS
from pdiff_plugins.maths.median import median
from tests.adapters.products.helpers import all_products, regauged


@pytest.fixture
def view(tmp_path: Path):
    """A run of adapters, and beside the method's networks the checkpoints in other factors."""
    pipeline = tiny_run(tmp_path, selector=Lora(rank=2, alpha=6.0), architecture=TinyNet(), evaluate=[Distance()])
    generator, zoo = torch.Generator().manual_seed(0), pipeline.zoo
    theta_ND = zoo.theta_ND + torch.randn(zoo.theta_ND.shape, generator=generator)
    zoo = replace(zoo, theta_ND=theta_ND)
    copies_MD = regauged(theta_ND[:8], zoo.layout, generator)
    theta = {"original": theta_ND, "copies": copies_MD, "noise": theta_ND + 1}
    return replace(pipeline.view(), theta=theta, zoo=zoo)


def test_other_factors_are_no_novelty(view) -> None:
    far = distances(view, 6)
    assert far.products and not far.quotient and far.ratios is far.raw
    assert not far.raw["copies"].any() and far.near["copies"].tolist() == list(range(8))
    assert far.raw["noise"].min() > 0.1 and median(far.raw["original"]) == pytest.approx(1)
    assert (view.theta["copies"] - view.zoo.theta_ND[:8]).norm(dim=1).min() > 0.3
    written_NP = 3 * all_products(view.zoo.theta_ND, view.zoo.layout)
    apart_NN = torch.cdist(written_NP, written_NP).fill_diagonal_(torch.inf)
    assert far.unit == pytest.approx(median(apart_NN.amin(dim=1)), rel=1e-5)


def test_the_evaluator_says_so_in_words(view) -> None:
    scores = Distance().evaluate(view, view.bench.contexts("distance"))
    assert scores["products"] is True and scores["networks"]["copies"]["max"] < 1e-4 * scores["leave_one_out"]
    given = {source: {"distance": row} for source, row in scores.pop("networks").items()}
    told = Distance().findings({"distance": scores, "networks": given, "method": "noise"})
    assert PRODUCTS in [finding.text for finding in told]


def test_precision_and_recall_are_of_products(view) -> None:
    held = replace(view.zoo, theta_ND=regauged(view.zoo.theta_ND, view.zoo.layout, torch.Generator()))
    view.zoo.holdout = held
    assert manifold(view, "original") == {"precision": 1.0, "recall": 1.0}


def test_what_other_factors_have_lies_within_the_span_of_products(view) -> None:
    scores, _ = outside(view, view.bench.contexts("outside"))
    assert scores["copies"] == {"outside": pytest.approx(0, abs=1e-3)}
    assert scores["noise"].keys() == {"outside"} and scores["noise"]["outside"] > 0.3


def test_noise_is_put_at_distances_of_products(view, monkeypatch: pytest.MonkeyPatch) -> None:
    far, seen = distances(view, 0), []
    monkeypatch.setattr(view.bench.__class__, "predict", lambda self, theta_MD, split: seen.append(theta_MD) or
                        torch.zeros(len(theta_MD), 60, dtype=torch.long))  # fmt: skip
    noise.passing(view, far, 0.5, (1.0, 5.0), view.bench.contexts("noise"))
    z_MZ, zoo_NZ = (view.bench.coordinates(theta_MD) for theta_MD in (seen[0], view.zoo.theta_ND))
    apart_MN = torch.cdist(z_MZ.double(), zoo_NZ.double()) / far.unit
    for wanted, part_MN in zip((1.1, 5.5), apart_MN.split(noise.NETWORKS), strict=True):
        assert ((part_MN - wanted).abs().amin(dim=1) < 0.02 * wanted).all()
