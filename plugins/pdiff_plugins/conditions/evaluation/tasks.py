"""The tasks that are asked for: some that methods have learnt from, and all that were kept back.

T tasks, C numbers of a condition, D parameters.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdiff.components import PARTS
from pdiff.errors import UserError
from pdiff.mapped import take
from pdiff.zoo import about as about_of

if TYPE_CHECKING:
    from pdiff.context import Context
    from pdiff.view import View
    from pdiff.zoo import Zoo

LEARNT, HELD_OUT, HARD = PARTS


@dataclass(frozen=True)
class Tasks:
    """Tasks, each once, by part: learnt, held out, hard."""

    about: list[dict[str, Any]]
    part: list[str]
    condition_TC: Tensor
    own_TD: Tensor
    """Of each, a network that was trained for it."""
    learnt_NC: Tensor
    """Conditions of all tasks learnt, also of those that are not asked for."""
    known: int
    """Checkpoints held out whose task is among those learnt: they are no unseen task."""

    def __len__(self) -> int:
        return len(self.about)

    def of(self, part: str) -> list[int]:
        """Return the numbers of a part's tasks."""
        return [number for number, each in enumerate(self.part) if each == part]

    @property
    def judged(self) -> str:
        """The part that the verdict is about: tasks held out, where there are any."""
        return next((part for part in (HELD_OUT, HARD) if self.of(part)), LEARNT)

    @property
    def counts(self) -> dict[str, int]:
        return {part: len(self.of(part)) for part in PARTS}

    @property
    def bits(self) -> bool:
        """Whether conditions are zeros and ones."""
        return bool(((self.learnt_NC == 0) | (self.learnt_NC == 1)).all())

    @functools.cached_property
    def distance_T(self) -> Tensor:
        """From the nearest task learnt: how many bits differ, where conditions are bits, else Euclidean."""
        distance_TN = torch.cdist(self.condition_TC.double(), self.learnt_NC.double())
        distance_T = distance_TN.amin(dim=1)
        return distance_T.square().round() if self.bits else distance_T


def tasks_of(view: View, most: int, ctx: Context) -> Tasks:
    """Return the tasks of a run, at most so many of those learnt, drawn. UserError where it has no conditions."""
    zoo = view.zoo
    if zoo.condition_NC is None:
        raise UserError("evaluate conditions: checkpoints have no conditions; write an [encoder], or leave it out")
    learnt = _last(zoo, range(len(zoo)))
    rows = list(learnt.values())
    drawn = sorted(torch.randperm(len(rows), generator=ctx.generator("tasks"))[:most].tolist())
    parts = [(zoo, [rows[number] for number in drawn], [LEARNT] * len(drawn))]
    known = 0
    if zoo.holdout is not None and zoo.holdout.condition_NC is not None:
        unseen = {key: row for key, row in _last(zoo.holdout, range(len(zoo.holdout))).items() if key not in learnt}
        known = sum(_key(row) in learnt for row in zoo.holdout.rows)
        kept = sorted(unseen.values())
        parts.append((zoo.holdout, kept, [_kept(zoo.holdout.rows[row]) for row in kept]))
    return Tasks(
        about=[about_of(each.rows[row]) for each, rows, _ in parts for row in rows],
        part=[part for *_, named in parts for part in named],
        condition_TC=torch.cat([_conditions(each)[rows] for each, rows, _ in parts]),
        own_TD=torch.cat([take(each.theta_ND, rows, ctx.snapshot.folder) for each, rows, _ in parts]),
        learnt_NC=_conditions(zoo)[rows], known=known,
    )  # fmt: skip


def _kept(row: Mapping[str, Any]) -> str:
    """Return the part of a task of the holdout; a step that holds checkpoints out leaves them called learnt."""
    return HARD if row.get("part") == HARD else HELD_OUT


def _conditions(zoo: Zoo) -> Tensor:
    assert zoo.condition_NC is not None
    return zoo.condition_NC


def _last(zoo: Zoo, rows: range) -> dict[str, int]:
    """Return by task the number of its last checkpoint."""
    return {_key(zoo.rows[row]): row for row in rows}


def _key(row: Mapping[str, Any]) -> str:
    return json.dumps(about_of(row), sort_keys=True)


def deranged(kind_T: Tensor, generator: torch.Generator) -> Tensor:
    """Return for each task another one of another kind, `[T]`, each taken once; kinds are numbered from 0.

    Of a kind that more than half of the tasks are, some are given one of their own.
    """
    name_K = torch.randperm(int(kind_T.max()) + 1, generator=generator)
    order = torch.randperm(len(kind_T), generator=generator)
    order = order[name_K[kind_T[order]].argsort(stable=True)]
    other = torch.empty_like(order)
    other[order] = order.roll(int(kind_T.bincount().max()))
    return other


def named(about: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a task is, in words of its own."""
    for key, value in about.items():
        yield f"{key} {','.join(map(str, value)) if isinstance(value, list) else value}"
