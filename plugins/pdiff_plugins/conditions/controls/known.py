"""The tasks that a zoo has learnt, told apart by their conditions, and how near they are.

N networks of T tasks, M networks asked for, C numbers of a condition, W columns of a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.zoo import Zoo

Distance = Literal["euclidean", "cosine", "hamming"]
TIE = 1e-6
"""Relative difference up to which distances are the same: what rounding of conditions, in float32, makes of equal ones,
such as those of an angle to both of its neighbours."""


@dataclass(frozen=True)
class Known:
    """The different conditions of a zoo, in the order of their first networks; networks of one are one task's."""

    condition_TC: Tensor
    """float64."""
    task_N: Tensor
    count_T: Tensor
    first_T: Tensor
    """The number of each task's first network."""

    @classmethod
    def of(cls, zoo: Zoo, method: str, most: int | None = None) -> Known:
        """Raises UserError where the zoo has no conditions, a single one, or more than `most`."""
        import torch

        if zoo.condition_NC is None:
            raise UserError(needs(method))
        sorted_TC, task_N, count_T = zoo.condition_NC.double().unique(dim=0, return_inverse=True, return_counts=True)
        if len(sorted_TC) < 2:
            raise UserError(f"method {method}: all {len(zoo)} networks have the same condition; it takes two or more")
        if most is not None and len(sorted_TC) > most:
            raise UserError(
                f"method {method}: {len(sorted_TC):,} tasks are more than the {most:,} that it can solve for; take "
                "'neighbours', or fewer networks"
            )
        number_N = torch.arange(len(zoo))
        first_T = torch.full_like(count_T, len(zoo)).scatter_reduce(0, task_N, number_N, "amin")
        order_T = first_T.argsort()
        return cls(sorted_TC[order_T], order_T.argsort()[task_N], count_T[order_T], first_T[order_T])

    def __len__(self) -> int:
        return len(self.count_T)

    @property
    def are_bits(self) -> bool:
        """Whether conditions are of 0 and 1 alone."""
        return bool(((self.condition_TC == 0) | (self.condition_TC == 1)).all())

    def averages(self, x_NW: Tensor) -> Tensor:
        """Return the average of each task's networks, `[T, W]`."""
        sum_TW = x_NW.new_zeros(len(self), x_NW.shape[1]).index_add_(0, self.task_N, x_NW)
        return sum_TW / self.count_T[:, None]

    def shares(self, weight_MT: Tensor) -> Tensor:
        """Return weights of networks, `[M, N]`, from weights of tasks' averages."""
        return (weight_MT / self.count_T)[:, self.task_N]


def needs(method: str) -> str:
    """Return what a method says that has no conditions."""
    return f"method {method}: needs conditions; write an [encoder] table, such as name = 'bits'"


def distances(a_MC: Tensor, b_TC: Tensor, how: Distance) -> Tensor:
    """Return the distances of all pairs, `[M, T]` in float64.

    euclidean; cosine: 1 - cos of the angle, 1 from a vector of zeros; hamming: how many entries differ.
    """
    import torch

    a_MC, b_TC = a_MC.double(), b_TC.double()
    if how == "cosine":
        a_MC, b_TC = (torch.nn.functional.normalize(x_MC, dim=1) for x_MC in (a_MC, b_TC))
        return 1 - a_MC @ b_TC.T
    power = 0.0 if how == "hamming" else 2.0
    return torch.cdist(a_MC, b_TC, power, compute_mode="donot_use_mm_for_euclid_dist")


def nearest(distance_MT: Tensor, count: int = 1) -> Tensor:
    """Return which are among the `count` nearest or as near as the last of these, `[M, T]`."""
    last_M1 = distance_MT.topk(min(count, distance_MT.shape[1]), dim=1, largest=False).values[:, -1:]
    return distance_MT <= last_M1 + TIE * last_M1.clamp_min(1)


def affine(weight_MT: Tensor) -> Tensor:
    """Return weights of vectors, of sum 1: those of deviations from the mean, and the mean."""
    return weight_MT - weight_MT.mean(dim=1, keepdim=True) + 1 / weight_MT.shape[1]
