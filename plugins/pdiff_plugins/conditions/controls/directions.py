"""Directions of attributes in the principal components of a zoo. See `controls`.

N networks, K components, C numbers of a condition, M networks asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveInt

from pdiff.components import Generator
from pdiff_plugins.adapters.products.asked import Of
from pdiff_plugins.conditions.controls.control import HARDLY, Control, Weighted
from pdiff_plugins.conditions.controls.known import Known, distances, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.zoo import Zoo

FAINT = 1e-3
"""Of the strongest direction: those of less are none."""


class AttributeDirections(Control):
    """The network nearest in condition, moved along directions of its attributes.

    In the principal components of the zoo each number of a condition is scored by linear regression, whose slope is its
    direction. The nearest task's first network is moved the shortest way that changes every score by as much as the
    conditions differ; where they do not, it is a copy. The number of components is the one of least leave-one-out error
    of the scores, in closed form.
    """

    name = "attribute_directions"
    version = 2
    source: ClassVar[str] = (
        "Dravid et al. 2024, weights2weights, arXiv 2406.09413 (linear directions of attributes in the components of a "
        "zoo; there classifiers, and one direction at a time)"
    )
    components: tuple[PositiveInt, ...] = Field(
        (4, 8, 16, 32, 64, 128), min_length=1, description="numbers of components to choose from"
    )
    of: Of = "factors"

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        import torch

        from pdiff_plugins.conditions.controls.left_out import centred

        known = Known.of(zoo, self.name)
        gram_NN = torch.zeros(len(zoo), len(zoo), dtype=torch.float64)
        for x_NW in centred(zoo, self.of):
            gram_NN.addmm_(x_NW, x_NW.T)
        assert zoo.condition_NC is not None
        left, count, move_CN = _moves(gram_NN, zoo.condition_NC.double(), self.components)
        if left >= HARDLY:
            ctx.warn(
                f"method {self.name}: of networks left out in turn, {left:.2f} of the variance of conditions is left "
                "by their scores (1 where weights tell nothing): directions of attributes can hardly be told"
            )
        facts = {"leave_one_out": left, "chosen": {"components": count}}
        return self._generator(known, zoo, {"move": move_CN}, facts)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        return self._generator(Known.of(zoo, self.name), zoo, tensors, {})

    def _generator(self, known: Known, zoo: Zoo, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Generator:
        def weigh(condition_MC: Tensor) -> Tensor:
            near_MT = nearest(distances(condition_MC, known.condition_TC, "euclidean"))
            near_M = near_MT.int().argmax(dim=1)
            weight_MN = (condition_MC.double() - known.condition_TC[near_M]) @ tensors["move"]
            weight_MN[range(len(near_M)), known.first_T[near_M]] += 1
            return weight_MN

        return Weighted(zoo, weigh, tensors, facts, self.of)


def _moves(gram_NN: Tensor, condition_NC: Tensor, counts: tuple[int, ...]) -> tuple[float, int, Tensor]:
    """Return (what is left of conditions, components, weights of networks that change each score by one, `[C, N]`).

    With X = U S V^T the networks' deviations, K scores of regression on U have the slopes W = S^-1 U^T c, a network
    moved by z changes them by z W, and z stands for the weights z S^-1 U^T of deviations.
    """
    import torch

    square_N, vector_NN = torch.linalg.eigh(gram_NN)
    square_N, vector_NN = square_N.flip(0).clamp_min(0), vector_NN.flip(1)
    rank = max(1, min(int((square_N > 1e-12 * square_N[0]).sum()), len(gram_NN) - 2))
    c_NC = condition_NC - condition_NC.mean(dim=0)
    tried = []
    for count in sorted({min(count, rank) for count in counts}):
        u_NK = vector_NN[:, :count]
        free_N1 = (1 - u_NK.square().sum(dim=1, keepdim=True) - 1 / len(c_NC)).clamp_min(1e-9)
        error = float(((c_NC - u_NK @ (u_NK.T @ c_NC)) / free_N1).square().sum() / c_NC.square().sum())
        tried.append((error, count))
    left, count = min(tried)
    u_NK, inverse_K1 = vector_NN[:, :count], square_N[:count, None].clamp_min(1e-300).rsqrt()
    slope_KC = inverse_K1 * (u_NK.T @ c_NC)
    return left, count, torch.linalg.pinv(slope_KC, rtol=FAINT) @ (inverse_K1 * u_NK.T)
