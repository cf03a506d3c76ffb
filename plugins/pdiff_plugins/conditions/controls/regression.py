"""What `ridge` and `kernel` share: the choice of options by leave-one-out error, and its report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.context import Context
    from pdiff.zoo import Zoo
    from pdiff_plugins.conditions.controls.known import Known
    from pdiff_plugins.conditions.controls.left_out import Smoother

TASKS = 10_000
"""Tasks up to which a kernel matrix is held and decomposed."""


@dataclass(frozen=True)
class Chosen:
    """The kernel and the noise of least leave-one-out error."""

    number: float
    noise: float
    smoother: Smoother
    left: float


def choose(
    zoo: Zoo, known: Known, kernel: Callable[[float, Tensor], Tensor], numbers: Sequence[float],
    noises: Sequence[float], ctx: Context, of: str, centred: bool = False,
) -> Chosen:  # fmt: skip
    """Return the best of all pairs, told by at most `MOST` tasks, fitted to all.

    Args:
        kernel: from one of `numbers` to the kernel matrix `[S, S]` of some tasks.
        of: `factors` or `products`, see `left_out.centred`.
        centred: see `Smoother`.
    """
    import torch

    from pdiff_plugins.conditions.controls.left_out import Smoother, gram, left, some_of

    some_S = some_of(known, ctx)
    gram_SS, all_T = gram(zoo, known, some_S, of), torch.arange(len(known))
    square = dict[tuple[float, float], float]()
    for number in numbers:
        smoother = Smoother(kernel(number, some_S), centred)
        square |= {(number, noise): smoother.square(noise, gram_SS) for noise in noises}
    number, noise = min(square, key=lambda pair: square[pair])
    smoother = Smoother(kernel(number, all_T), centred)
    errors_TT = smoother.errors(noise)

    def errors(_: Any, average_TW: Tensor) -> Tensor:
        return errors_TT @ (average_TW - average_TW.mean(dim=0))

    return Chosen(number, noise, smoother, left(zoo, known, all_T, errors, of))
