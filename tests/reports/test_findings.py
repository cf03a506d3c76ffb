"""Findings: the headline, and frankness."""

from __future__ import annotations

from pdiff_plugins.reports.findings import findings


def scored(method: float, original: float, soup: float, **more) -> dict:
    """Return the scores of three sources, made up."""

    def own(mean, std, ratio, overlap):
        accuracy = {"mean": mean, "std": std, "best": mean, "values": [mean] * 3, "selection_values": [mean] * 3}
        return {"count": 3, "accuracy": accuracy, "distance": {"ratio": ratio}, "similarity": {"max": overlap}}

    networks = {
        "original": own(original, 0.01, 1.0, 0.8),
        "pdiff": own(method, 0.01, 0.05, 0.9),
        "soup": own(soup, 0.0, 2.0, 0.7),
    }
    return {"main": "accuracy", "method": "pdiff", "selection": "validation", "networks": networks} | more


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
    said = " | ".join(findings(scored(0.9, 0.9, 0.9)))
    assert "The score alone is no reason to prefer pdiff (90.00%)" in said
    assert "No worse than pdiff, and less like the originals: soup (overlap 0.700, 90.00%)" in said
    assert "0.05 times as far away" in said and "copies, or nearly" in said
    said = " | ".join(findings(scored(0.95, 0.9, 0.9)))
    assert "No baseline reaches pdiff's mean of 95.00%; the nearest is soup, the plain average" in said
    path = {"progress": [0.0, 1.0], "scores": [[0.9, 0.9]], "split": "validation"}
    facts = {"pdiff": {"codec": {"explained": -0.5}}}
    said = " | ".join(findings(scored(0.9, 0.9, 0.9, denoising=path, facts=facts)))
    assert "Pure noise, decoded, already scores 90.00% on the validation split" in said
    assert "The codec keeps none of the variance" in said
    path["scores"] = [[0.1, 0.9]]
    assert "Pure noise" not in " | ".join(findings(scored(0.9, 0.9, 0.9, denoising=path)))
