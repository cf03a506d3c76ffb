"""What tasks hold: their classes, and the examples of these. C classes, E examples, Q of each class, W ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from pdiff.data import Batch, Split
from pdiff.errors import UserError
from pdiff.running.device import sent
from pdiff_plugins.conditions.shots.orders import DRAWS


def tasks(
    counts: Mapping[str, int], ways: int, seen: Sequence[int], unseen: Sequence[int], generator: torch.Generator
) -> dict[str, list[dict[str, Any]]]:
    """Return so many tasks of each part, no two of the same classes in the same order."""
    known = set[tuple[int, ...]]()

    def drawn(hard: bool) -> tuple[int, ...]:
        held = list(unseen) if hard else []
        others = torch.tensor(seen)[torch.randperm(len(seen), generator=generator)[: ways - len(held)]].tolist()
        mixed = torch.tensor(held + others)[torch.randperm(ways, generator=generator)]
        return tuple(mixed.tolist())

    def of_part(part: str) -> list[dict[str, Any]]:
        found = list[dict[str, Any]]()
        while len(found) < counts[part]:
            classes = drawn(part == "hard")
            if classes not in known:
                known.add(classes)
                draw = int(torch.randint(DRAWS, (), generator=generator))
                found.append({"classes": list(classes), "draw": draw})
        return found

    return {part: of_part(part) for part in counts}


@dataclass(frozen=True)
class OfClasses:
    """The examples of some classes, class after class, with their places among them as targets."""

    of: Split
    classes_W: Tensor
    example_CQ: Tensor
    """Numbers of each class's first examples."""

    @property
    def chosen_E(self) -> Tensor:
        """Numbers of the examples in the split."""
        return self.example_CQ[self.classes_W].flatten()

    @property
    def targets(self) -> Tensor:
        return torch.arange(len(self)) // self.example_CQ.shape[1]

    def __len__(self) -> int:
        return len(self.classes_W) * self.example_CQ.shape[1]

    def batch(self, index: Tensor, device: torch.device, augment: torch.Generator | None = None) -> Batch:
        """Return the examples `index`; see `pdiff.data.Split`."""
        each = self.example_CQ.shape[1]
        place_B = index // each
        batch = self.of.batch(self.example_CQ[self.classes_W[place_B], index % each], device, augment)
        return batch._replace(targets=sent(place_B, device))


def of_classes(split: Split, classes: Sequence[int]) -> OfClasses:
    """Return the examples of some classes. Raises UserError for a class that has none."""
    targets_E = split.targets
    if targets_E not in _by_class:
        _by_class[targets_E] = _first(targets_E)
    example_CQ, count_C = _by_class[targets_E]
    for number in classes:
        if number >= len(count_C) or not count_C[number]:
            raise UserError(f"a task holds class {number}, and the split has no example of it; choose other classes")
    return OfClasses(split, torch.tensor(classes), example_CQ)


def _first(targets_E: Tensor) -> tuple[Tensor, Tensor]:
    """Return the numbers of each class's first examples `[C, Q]`, as many as the rarest has, and all counts `[C]`."""
    count_C = targets_E.bincount()
    least, start_C = int(count_C[count_C > 0].min()), count_C.cumsum(0) - count_C
    order_E = targets_E.argsort(stable=True)
    place_CQ = (start_C[:, None] + torch.arange(least)).clamp_max(len(order_E) - 1)
    return order_E[place_CQ], count_C


_by_class: Any = WeakTensorKeyDictionary()
"""Of the targets of a split, what `_first` gives: hundreds of tasks have it in common."""
