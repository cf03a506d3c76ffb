"""What networks answer, each on a task of its own: scores, and which examples are right. T tasks, E examples."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pdiff.components import Family
from pdiff.data import some
from pdiff_plugins.maths.crossed import Difference, paired

if TYPE_CHECKING:
    from pdiff.bench import Bench
    from pdiff.components import Rival, Task
    from pdiff.data import Split

GROUPS = 100
"""Of examples, of which scores are kept."""
Predict = Callable[[int], Tensor]
"""Number of a task -> predictions `[1, E, ...]` for it."""
Asked = Callable[[int, int], Tensor]
"""(number of a network, number of a task) -> its predictions for the task, `[1, E, ...]`."""


@dataclass(frozen=True)
class Judged:
    """Networks, each on its own task."""

    score_T: Tensor
    """In float64."""
    right_TE: Tensor | None
    """bool; None where the score is no share of right answers."""
    example_TE: Tensor | None = None
    """Numbers of the examples, where tasks have examples of their own; else all have the same."""

    def of(self, rows: Sequence[int]) -> Judged:
        """Return the same of some tasks."""
        index = list(rows)
        right_TE, example_TE = (None if x is None else x[index] for x in (self.right_TE, self.example_TE))
        return Judged(self.score_T[index], right_TE, example_TE)

    def groups(self) -> list[float]:
        """Return mean scores of at most `GROUPS` groups of examples that tasks have in common; without any, [].

        Their mean is the mean score.
        """
        if self.right_TE is None or self.example_TE is not None:
            return []
        share_E = self.right_TE.double().mean(dim=0)
        count = min(GROUPS, len(share_E))
        group_E = torch.arange(len(share_E)) % count
        sums_G = torch.zeros(count, dtype=torch.float64).index_add_(0, group_E, share_E)
        return (sums_G * count / len(share_E)).tolist()

    def less(self, other: Judged) -> Difference:
        """Return the difference, by tasks and examples; by tasks alone where examples are not right or wrong."""
        if self.right_TE is None or other.right_TE is None:
            return paired((self.score_T - other.score_T)[:, None])
        return paired(self.right_TE.float() - other.right_TE.float(), self.example_TE)


class Judge:
    """Asks networks on one split, each about the task of its number."""

    def __init__(
        self, task: Task, bench: Bench, about: Sequence[dict[str, Any]], split: str, most: int = 0,
        generator: torch.Generator | None = None,
    ):  # fmt: skip
        """`most`: examples of the split that are drawn; 0: all."""
        self.task, self.bench, self.about, self.split = task, bench, about, split
        self.drawn = some(bench.examples(split), most, generator or torch.Generator())
        self._targets: dict[int, Tensor] = {}

    @property
    def by_task(self) -> bool:
        """Whether scores depend on the task; else all networks are scored alike."""
        return isinstance(self.task, Family)

    @property
    def together(self) -> bool:
        """Whether all networks can be run at once."""
        return not isinstance(self.task, Family) or self.task.together(self.drawn)

    @property
    def whole(self) -> bool:
        """Whether all examples of the split are asked about."""
        return len(self.drawn) == len(self.bench.examples(self.split))

    def examples(self, number: int) -> Split:
        """Return the examples as the task of that number has them."""
        return self.as_asked(self.drawn, number)

    def as_asked(self, split: Split, number: int) -> Split:
        """Return a split as the task of that number has it."""
        return self.task.asked(split, self.about[number]) if isinstance(self.task, Family) else split

    @property
    def digest(self) -> str:
        """What tells the examples: a digest of their targets, as the dataset has them."""
        targets = self.drawn.targets.contiguous()
        return hashlib.sha256(targets.view(torch.uint8).numpy().tobytes()).hexdigest()

    def targets(self, number: int) -> Tensor:
        if number not in self._targets:
            self._targets[number] = self.examples(number).targets
        return self._targets[number]

    def asked(self, theta_MD: Tensor) -> Asked:
        """Return what tells the predictions of network m for a task; where they can be, all are computed at once."""
        whole = self.bench.predict(theta_MD, self.split if self.whole else self.drawn) if self.together else None

        def predict(network: int, number: int) -> Tensor:
            if whole is not None:
                return whole[network : network + 1]
            return self.bench.predict(theta_MD[network : network + 1], self.examples(number))

        return predict

    def networks(self, theta_MD: Tensor, rows: Sequence[int] | None = None) -> Judged:
        """Judge network m on the task rows[m] (by default m); one network is judged on each of them."""
        rows = range(len(self.about)) if rows is None else rows
        return self.of(self.asked(theta_MD), [0] * len(rows) if len(theta_MD) == 1 else range(len(rows)), rows)

    def of(self, asked: Asked, networks: Sequence[int], rows: Sequence[int]) -> Judged:
        """Judge these networks of those that were asked, each on the task at its place of `rows`."""
        place = dict(zip(rows, networks, strict=True))
        return self.answers(lambda number: asked(place[number], number), rows)

    def answers(self, predict: Predict, rows: Sequence[int]) -> Judged:
        """Judge predictions for the tasks `rows`."""
        scores, rights = [], []
        for number in rows:
            predictions, targets = predict(number), self.targets(number)
            scores.append(float(self.task.score(predictions, targets)[0]))
            rights.append(~self.task.wrong(predictions, targets)[0].flatten())
        shares = (float(right_E.double().mean()) for right_E in rights)
        counted = len({len(right_E) for right_E in rights}) == 1 and all(
            math.isclose(score, share, abs_tol=1e-6) for score, share in zip(scores, shares, strict=True)
        )
        score_T = torch.tensor(scores, dtype=torch.float64)
        return Judged(score_T, torch.stack(rights), self._numbers(rows)) if counted else Judged(score_T, None)

    def _numbers(self, rows: Sequence[int]) -> Tensor | None:
        """Return the numbers `[T, E]` of the examples that tasks have; None where all have all, in their order."""
        numbers = [getattr(self.examples(number), "chosen_E", None) for number in rows if self.by_task]
        known = [number_E for number_E in numbers if number_E is not None]
        return torch.stack(known) if known and len(known) == len(rows) else None

    def rival(self, rival: Rival) -> Judged:
        """Judge what answers all tasks without a network for each."""
        wrong_TE = rival(self.about, self.drawn)
        return Judged(1 - wrong_TE.double().mean(dim=1), ~wrong_TE, self._numbers(range(len(self.about))))
