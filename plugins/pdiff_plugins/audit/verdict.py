"""The verdict on a method, in words with their numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdiff.view import ORIGINAL
from pdiff_plugins.maths.overlap import iou

if TYPE_CHECKING:
    from pdiff.view import View

AVERAGES = 0.02
"""Overlap among samples above that among the originals from which a generator is said to average."""
COPIES = 0.5
"""Median novelty below which it is said to copy."""
Scores = dict[str, dict[str, Tensor]]


def verdict(
    view: View, scores: Scores, novelty: dict[str, Tensor], resamples: int, generator: torch.Generator
) -> dict[str, Any]:
    """Return `verdict` (sentences), and the numbers that it rests on."""
    rival = _rival(view, scores[view.selection])
    judged: dict[str, Any] = {"rival": rival}
    lines = []
    if rival:
        judged["gain"] = _gain(view, rival, resamples, generator)
        lines.append(_compared(view, rival, judged["gain"]))
    judged["kind"], why = _kind(view, novelty[view.method])
    lines.append(f"{view.method} {judged['kind']}: {why}")
    return judged | {"verdict": lines}


def _rival(view: View, selected: dict[str, Tensor]) -> str:
    """Return the baseline with the best mean score on the selection split."""
    others = [source for source in view.theta if source not in (ORIGINAL, view.method)]
    return max(others, key=lambda source: float(selected[source].mean()), default="")


def _gain(view: View, rival: str, resamples: int, generator: torch.Generator) -> dict[str, float]:
    """Return the difference of mean scores on the test split, with a bootstrap interval over its examples."""
    task, targets = view.recipe.task, view.targets("test")
    rights = [
        1 - task.wrong(view.predictions(source, "test"), targets).double().mean(dim=0)
        for source in (view.method, rival)
    ]
    difference_E = rights[0] - rights[1]
    index_RE = torch.randint(len(difference_E), (resamples, len(difference_E)), generator=generator)
    means = torch.stack([difference_E[row].mean() for row in index_RE])
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return {"mean": float(difference_E.mean()), "low": low, "high": high}


def _compared(view: View, rival: str, gain: dict[str, float]) -> str:
    word = "better than" if gain["low"] > 0 else "worse than" if gain["high"] < 0 else "not distinguishable from"
    numbers = f"{100 * gain['mean']:+.2f} points of right answers, 95 % interval {_range(gain)}"
    if not _counts_right(view):
        numbers += f"; by right answers, which are not the {view.recipe.task.metric}"
    if view.selection == "test":
        word, numbers = f"({word})", f"{numbers}; no claim, because {rival} was chosen on the test split too"
    return f"{view.method} is {word} {rival}, the best of the baselines ({numbers})"


def _counts_right(view: View) -> bool:
    """True where the task's score is the share of right answers."""
    task, predictions, targets = view.recipe.task, view.predictions(view.method, "test")[:1], view.targets("test")
    right = 1 - task.wrong(predictions, targets).double().mean()
    return math.isclose(float(task.score(predictions, targets)[0]), float(right), abs_tol=1e-6)


def _range(gain: dict[str, float]) -> str:
    return f"{100 * gain['low']:+.2f} to {100 * gain['high']:+.2f}"


def _kind(view: View, novelty_M: Tensor) -> tuple[str, str]:
    """Return whether the method copies, averages or adds, and the numbers that say so."""
    far, within, others = float(novelty_M.median()), *(_overlap(view, source) for source in (view.method, ORIGINAL))
    if math.isnan(far):
        return "cannot be told from a copy", "all checkpoints are the same"
    away = f"its networks lie {far:.2g} times the checkpoints' own distance from the nearest checkpoint"
    if within is None or others is None:
        return ("copies" if far < COPIES else "gives one network, which cannot agree with others"), away
    agree = f"overlap of wrong answers {within:.3f} among its networks, {others:.3f} among checkpoints"
    if far < COPIES:
        return "copies", away
    if within > others + AVERAGES:
        return "averages", agree
    return "neither copies nor averages", f"{agree}; {away}"


def _overlap(view: View, source: str) -> float | None:
    """Return the mean overlap of wrong answers between two networks of a source, if it has two."""
    wrong = view.recipe.task.wrong(view.predictions(source, "test"), view.targets("test"))
    count = len(wrong)
    return (float(iou(wrong, wrong).sum()) - count) / (count * (count - 1)) if count > 1 else None
