"""Networks each of a task of its own: what they answer, task by task."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pdiff.components.family import Family
    from pdiff.data import About, Split

Predict = Callable[[Tensor, "Split"], Tensor]
"""(theta_MD, split) -> the task's predictions `[M, E, ...]`."""


def answers(
    family: Family, theta_MD: Tensor, about: Sequence[About], split: Split, predict: Predict
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Yield (rows, their predictions `[R, E, ...]`, targets `[E, ...]`) of networks, each on its own task, by task.

    Nothing of those for what examples cannot be asked for (`Family.asks`). Where tasks differ in their targets alone,
    all networks are run at once.
    """
    rows_of: dict[str, list[int]] = {}
    for row, task in enumerate(about):
        if family.asks(task):
            rows_of.setdefault(json.dumps(task, sort_keys=True), []).append(row)
    whole = predict(theta_MD, split) if family.together(split) else None
    for rows in rows_of.values():
        asked = family.asked(split, about[rows[0]])
        yield rows, predict(theta_MD[rows], asked) if whole is None else whole[rows], asked.targets


def scores(family: Family, theta_MD: Tensor, about: Sequence[About], split: Split, predict: Predict) -> Tensor:
    """Return each network's score on its own task, `[M]` in float64; NaN where nobody can ask for that."""
    score_M = torch.full((len(theta_MD),), torch.nan, dtype=torch.float64)
    for rows, predictions, targets in answers(family, theta_MD, about, split, predict):
        score_M[rows] = family.score(predictions, targets)
    return score_M


def scores_on_all(family: Family, theta_MD: Tensor, tasks: Sequence[About], split: Split, predict: Predict) -> Tensor:
    """Return each network's mean score over tasks, `[M]` in float64: of networks that are of none."""
    asked = [family.asked(split, task) for task in tasks]
    whole = predict(theta_MD, split) if family.together(split) else None
    each = [family.score(predict(theta_MD, one) if whole is None else whole, one.targets) for one in asked]
    return torch.stack(each).mean(dim=0)
