"""What the audit says below the table; reads JSON only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pdiff.components import Finding
from pdiff.results.scores import given_by, nothing, unit_of

PASSES = 0.5
"""Share of noisy checkpoints above which novelty at their distance tells nothing."""
NONE = 1e-3
"""Share outside the span that is none."""
CLEARLY = 1.96
"""Standard errors by which a gain must differ from none."""


def findings(scores: Mapping[str, Any]) -> Iterator[Finding]:
    """Return the verdict in plain words, which sums the run up, and what a reader of the table must know."""
    if not nothing(scores) and "plain" in scores["audit"]:  # scores of an earlier version have none
        yield Finding(scores["audit"]["plain"], headline=True)
    yield from (Finding(note, note=True) for note in _notes(scores))
    if said := _outside(scores):
        yield Finding(said)


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


def _outside(scores: Mapping[str, Any]) -> str:
    """Say how much of the method's networks no mixture of checkpoints gives, and what it does to the score."""
    given = given_by(scores, "audit")
    ours, method = given[scores["method"]], scores["method"]
    if "outside" not in ours:
        return ""
    others = {"of a checkpoint's": given.get("original", {}).get("outside")}
    others["of a held-out one's"] = scores["audit"].get("outside_holdout")
    beside = ", ".join(f"{whose} {share:.1%}" for whose, share in others.items() if share is not None)
    said = f"{ours['outside']:.1%} of the deviation of {method}'s networks lies outside what the checkpoints span"
    if ours["outside"] < NONE:
        said = f"{method}'s networks are mixtures of checkpoints: hardly any of their deviation lies outside their span"
    if beside:
        said += f" ({beside} outside that of the others)"
    gain, error, unit = ours.get("outside_gain"), ours.get("outside_error"), unit_of(scores)
    if gain is None or nothing(scores):
        return said
    if error is None or abs(gain) <= CLEARLY * error:
        return f"{said}; that part changes their score by {unit.difference(gain, '+')}, which may be chance"
    return f"{said}; that part {'adds' if gain > 0 else 'costs'} {unit.difference(abs(gain))}"
