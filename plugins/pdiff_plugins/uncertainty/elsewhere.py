"""Ensembles on other examples than the run's: foreign ones, and the test split's under corruption."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from pdiff.data import Batch, Split, TensorSplit, each, evaluation_batches, leaves, some
from pdiff_plugins.audit.probabilities import calibration_error
from pdiff_plugins.maths.tempering import tempered
from pdiff_plugins.uncertainty.foreign.corruptions import corrupted
from pdiff_plugins.uncertainty.foreign.detection import auroc, fpr
from pdiff_plugins.uncertainty.foreign.entries import STRENGTHS
from pdiff_plugins.uncertainty.foreign.sets import foreign
from pdiff_plugins.uncertainty.measures import entropy, likelihoods, right

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View
    from pdiff_plugins.uncertainty.evaluator import Uncertainty
    from pdiff_plugins.uncertainty.rows import Row

AT_HAND = 2**27
"""Numbers of a split that are made once for all rows; of a larger one they are made for each."""


def elsewhere(options: Uncertainty, view: View, rows: Mapping[str, Row], ctx: Context) -> dict[str, dict[str, Any]]:
    """Return by row how foreign sets are told from the test split, and what corruptions do."""
    told: dict[str, dict[str, Any]] = {source: {} for source in rows}
    for name, split in _foreign(options, view, ctx):
        for source, row in rows.items():
            told[source].setdefault("foreign", {})[name] = _told(row, split)
    for kind, split in _corrupted(options, view, ctx):
        for source, row in rows.items():
            told[source].setdefault("corrupted", {}).setdefault(kind, []).append(_harmed(row, split))
    for each_row in told.values():
        if known := each_row.get("foreign"):
            each_row["auroc"] = sum(one["auroc"] for one in known.values()) / len(known)
        if harmed := [
            one["calibrated_nll"] for strengths in each_row.get("corrupted", {}).values() for one in strengths
        ]:
            each_row["corrupted_nll"] = sum(harmed) / len(harmed)
    return told


def _foreign(options: Uncertainty, view: View, ctx: Context) -> Iterator[tuple[str, Split]]:
    if options.foreign:
        for name, split in foreign(view, options.foreign, ctx.scope("foreign"), options.examples).items():
            yield name, at_hand(split)


def _corrupted(options: Uncertainty, view: View, ctx: Context) -> Iterator[tuple[str, Split]]:
    for kind in options.corruptions:
        for strength in STRENGTHS:
            split = corrupted(view, kind, strength, ctx.scope("corrupted"))
            yield kind, at_hand(some(split, options.examples, ctx.generator("examples", "test")))


def at_hand(split: Split) -> Split:
    """Return a split of ready tensors, where it is small enough."""
    first = split.batch(torch.zeros(1, dtype=torch.int64), torch.device("cpu"))
    if sum(x.numel() for x in leaves(first.inputs)) * len(split) > AT_HAND:
        return split
    batches = [tuple(batch) for batch in evaluation_batches(split, 0, torch.device("cpu"))]
    return TensorSplit(*Batch(*each(lambda *parts: torch.cat(parts), *batches)))


def _told(row: Row, split: Split) -> dict[str, float]:
    other = row.panel.answers(split)
    scores = {"": (row.entropy_RE, entropy(other.logp_REK))}
    if row.panel.size > 1:
        scores["information_"] = (row.information_RE, other.information_RE)
    return {
        f"{prefix}{name}": sum(of(*pair) for pair in zip(*both, strict=True)) / row.panel.count
        for prefix, both in scores.items()
        for name, of in (("auroc", auroc), ("fpr", fpr))
    }


def _harmed(row: Row, split: Split) -> dict[str, float]:
    logp_REK, targets_E = row.panel.means(split), split.targets.long()
    calm_REK = tempered(logp_REK, row.temperature_RE)
    return {
        "accuracy": float(right(logp_REK, targets_E).double().mean()),
        "nll": -float(likelihoods(logp_REK, targets_E).mean()),
        "calibrated_nll": -float(likelihoods(calm_REK, targets_E).mean()),
        "calibrated_ece": float(calibration_error(calm_REK, targets_E).mean()),
    }
