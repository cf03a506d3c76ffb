"""What the audit says below the table; reads JSON only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pdiff.components import Finding
from pdiff.results.scores import given_by, nothing

PASSES = 0.5
"""Share of noisy checkpoints above which novelty at their distance tells nothing."""


def findings(scores: Mapping[str, Any]) -> Iterator[Finding]:
    """Return the verdict in plain words, which sums the run up, and what a reader of the table must know."""
    if not nothing(scores) and "plain" in scores["audit"]:  # scores of an earlier version have none
        yield Finding(scores["audit"]["plain"], headline=True)
    yield from (Finding(note, note=True) for note in _notes(scores))


def _notes(scores: Mapping[str, Any]) -> Iterator[str]:
    """Return the verdict with its numbers, and what takes the meaning from a column."""
    audit, method = scores["audit"], scores["method"]
    if audit.get("matters") is False:
        ours, noise = given_by(scores, "audit")[method]["spread"], audit["noise"]
        likelihood = ""
        if "nll_std" in ours:
            likelihood = f"; deviation of the NLL: {ours['nll_std']:.4f}, noise {noise['nll_std']:.4f}"
        yield (
            f"{method}'s networks differ from one another no more than plain noise as long as the checkpoints' spread "
            f"does (answers: {ours['apart']:.2%} of test examples, noise {noise['apart']:.2%}{likelihood}): their "
            "overlaps, N&P and ensembles tell nothing of a distribution that was learnt"
        )
    passed = [
        (multiple, share)
        for multiple, share in zip(audit["multiples"], audit.get("np_noise", ()), strict=False)
        if share >= PASSES and multiple in (1, 3)
    ]
    if passed:
        columns = " and ".join(f"N&P {multiple:g}x ({share:.0%})" for multiple, share in passed)
        yield f"plain noise at that distance from a checkpoint passes {columns}: it tells nothing here"
    mark = "no claim, as the run can tell nothing: " if nothing(scores) else ""
    yield f"audit: {mark}{'; '.join(audit['verdict'])}"
