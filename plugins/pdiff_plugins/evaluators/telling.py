"""Whether a run can tell anything: not where originals are at chance, answer alike, or score as well emptied."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pdiff.view import ORIGINAL

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.results.scores import TaskScore
    from pdiff.view import View

MOST = 100
"""Networks of a source that are compared pair by pair."""


def nothing(view: View, scores: dict[str, TaskScore], constant: str | None) -> list[str]:
    """Return why the score can tell nothing about a generator; nothing where it can."""
    return [reason for reason in (_chance(view, scores), _alike(view), _constant(scores, constant)) if reason]


def answers(view: View, predictions_ME: Tensor, split: str = "test") -> Tensor:
    """Return what can agree or not: classes, else whether examples are wrong, as predictions never quite agree."""
    if classes(predictions_ME):
        return predictions_ME
    return view.recipe.task.wrong(predictions_ME, view.targets(split))


def classes(predictions_ME: Tensor) -> bool:
    """Return whether predictions are one class for each example."""
    return predictions_ME.ndim == 2 and not predictions_ME.is_floating_point() and not predictions_ME.is_complex()


def evenly(count: int, most: int = MOST) -> Tensor:
    """Return the numbers of at most `most` networks, evenly spaced: the first of a trajectory are its beginning."""
    import torch

    return torch.linspace(0, count - 1, min(count, most)).round().long()


def apart(answers_ME: Tensor) -> Tensor:
    """Return each network's mean share of examples on which another one answers otherwise, `[M]`; M is at least 2."""
    import torch

    differs_MM = torch.stack([(answers_ME != answers_E).double().mean(dim=1) for answers_E in answers_ME])
    return differs_MM.sum(dim=1) / (len(answers_ME) - 1)


def _chance(view: View, scores: dict[str, TaskScore]) -> str:
    """Compare originals with the answer that is right most often, where predictions are classes."""
    import torch

    targets_E = view.targets("test")
    if not classes(view.predictions(ORIGINAL, "test")) or targets_E.ndim != 1 or targets_E.is_floating_point():
        return ""
    share = float(torch.unique(targets_E, return_counts=True)[1].max()) / len(targets_E)
    mean = scores[ORIGINAL]["mean"]
    wrong = view.recipe.task.wrong(view.predictions(ORIGINAL, "test")[:1], targets_E)
    if not math.isclose(scores[ORIGINAL]["values"][0], 1 - float(wrong.double().mean()), abs_tol=1e-6):
        return ""  # the score is no share of right answers
    if mean > share + 2 * math.sqrt(share * (1 - share) / len(targets_E)):
        return ""
    return f"the originals are at chance ({mean:.2%}; always the most frequent class: {share:.2%})"


def _alike(view: View) -> str:
    answers_NE = answers(view, view.predictions(ORIGINAL, "test"))
    answers_NE = answers_NE[evenly(len(answers_NE))]
    if len(answers_NE) < 2:
        return ""
    differ = float(apart(answers_NE.flatten(1)).mean()) * answers_NE[0].numel()
    if differ >= 1:
        return ""
    few = "on none" if differ == 0 else f"on {differ:.2g}"
    return f"the checkpoints give the same answers: two of them differ {few} of {answers_NE[0].numel():,} test examples"


def _constant(scores: dict[str, TaskScore], constant: str | None) -> str:
    if not emptied(scores, constant):
        return ""
    return f"{constant}, which holds no information, scores as well as the originals"


def emptied(scores: Mapping[str, TaskScore], constant: str | None) -> bool:
    """Return whether networks without information score as well as the originals."""
    original = scores[ORIGINAL]
    return constant is not None and scores[constant]["mean"] >= original["mean"] - original["std"]
