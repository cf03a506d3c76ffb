"""What is trained to be set beside generated networks: one network of all classes, and what training on adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pdiff_plugins.conditions.evaluation.judging import Judged

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff_plugins.conditions.evaluation.asking import Asker
    from pdiff_plugins.conditions.evaluation.evaluator import Conditions
    from pdiff_plugins.conditions.evaluation.scores import Adapted


@dataclass(frozen=True)
class Whole:
    """A network of all classes, its answers read as the tasks'."""

    judged: Judged
    gain: float
    """What twice the steps add to its accuracy on all classes."""


def of_all_classes(asker: Asker, steps: int, lr: float) -> Whole | None:
    return None


def adapted(asker: Asker, options: Conditions, starts: Mapping[str, Tensor]) -> Adapted | None:
    return None
