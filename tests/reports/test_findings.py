"""Findings: the headline, and frankness."""

from __future__ import annotations

from pdiff.results.scores import TaskScore
from pdiff_plugins.evaluators.accuracy import Accuracy
from pdiff_plugins.evaluators.denoising import Denoising
from pdiff_plugins.evaluators.distance import Distance
from pdiff_plugins.evaluators.similarity import Similarity
from tests.reports.helpers import said

EVALUATORS = (Accuracy(), Similarity(), Distance())


def findings(scores: dict) -> list[str]:
    return said(scores, [*EVALUATORS, *([Denoising()] if "denoising" in scores else [])])


def scored(method: float, original: float, soup: float, **more) -> dict:
    """Return the scores of three sources, made up."""

    def own(mean, std, ratio, overlap):
        accuracy = TaskScore(
            mean=mean, std=std, median=mean, min=mean, max=mean, best=mean, best_index=0, values=[mean] * 3,
            selection_values=[mean] * 3,
        )  # fmt: skip
        return {"count": 3, "accuracy": accuracy, "distance": {"ratio": ratio}, "similarity": {"max": overlap}}

    networks = {
        "original": own(original, 0.01, 1.0, 0.8),
        "pdiff": own(method, 0.01, 0.05, 0.9),
        "soup": own(soup, 0.0, 2.0, 0.7),
    }
    overlaps = {"oo": 0.7, "gg": 0.7, "og": 0.7, "oo_max": 0.8, "og_max": 0.9}
    return {
        "main": "accuracy", "scored_by": "accuracy", "method": "pdiff", "selection": "validation", "facts": {},
        "networks": networks, "accuracy": {}, "similarity": overlaps, "distance": {},
    } | more  # fmt: skip


def test_headline_compares_with_originals_and_the_average():
    def first(*means):
        return findings(scored(*means))[0]

    assert first(0.905, 0.9, 0.905) == (
        "Networks drawn by pdiff are as good as the originals (mean accuracy 90.50% against 90.00%); "
        "a plain average of the checkpoints is no worse (90.50%)"
    )
    for mean, how, average in ((0.5, "worse", "better"), (0.95, "better", "worse")):
        said = first(mean, 0.9, 0.9)
        assert f"are {how} than the originals" in said and said.endswith(f"is {average} (90.00%)")


def test_findings_are_frank():
    every = " | ".join(findings(scored(0.9, 0.9, 0.9)))
    assert "The score alone is no reason to prefer pdiff (90.00%)" in every
    assert "No worse than pdiff, and less like the originals: soup (overlap 0.700, 90.00%)" in every
    assert "0.05 times as far away" in every and "copies, or nearly" in every
    every = " | ".join(findings(scored(0.95, 0.9, 0.9)))
    assert "No baseline reaches pdiff's mean of 95.00%; the nearest is soup, the plain average" in every
    path = {"progress": [0.0, 1.0], "scores": [[0.9, 0.9]], "split": "validation"}
    facts = {"pdiff": {"codec": {"explained": -0.5}}}
    every = " | ".join(findings(scored(0.9, 0.9, 0.9, denoising=path, facts=facts)))
    assert "Pure noise, decoded, already scores 90.00% on the validation split" in every
    assert "The codec keeps none of the variance" in every
    path["scores"] = [[0.1, 0.9]]
    assert "Pure noise" not in " | ".join(findings(scored(0.9, 0.9, 0.9, denoising=path)))
