"""Gaussian process on the condition. See `controls`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat

from pdiff.components import Generator
from pdiff_plugins.adapters.products.asked import Of
from pdiff_plugins.conditions.controls.control import Control, Weighted
from pdiff_plugins.conditions.controls.known import Distance, Known, affine, distances

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.zoo import Zoo


class Kernel(Control):
    """Gaussian process from conditions to weights; its mean is the average network.

    The kernel's option and the noise are those of least leave-one-out error, in closed form. Weights share them.
    """

    name = "kernel"
    source: ClassVar[str] = "Rasmussen & Williams 2006, Gaussian Processes for Machine Learning, eq. 2.25, 5.10-5.12"
    kernel: Literal["auto", "hamming", "rbf"] = Field(
        "auto", description="hamming: rho^(entries that differ); rbf: exp(-d^2 / (2 length^2)); auto: hamming for bits"
    )
    rhos: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95), min_length=1, description="of hamming, to choose from"
    )
    lengths: tuple[PositiveFloat, ...] = Field(
        (0.1, 0.2, 0.5, 1.0, 2.0, 5.0), min_length=1,
        description="of rbf, to choose from, in median distances between tasks",
    )  # fmt: skip
    noises: tuple[PositiveFloat, ...] = Field(
        (1e-6, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 10.0), min_length=1,
        description="variances of noise to choose from, in variances of the process",
    )  # fmt: skip
    of: Of = "factors"

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        import torch

        from pdiff_plugins.conditions.controls.regression import TASKS, choose
        from pdiff_plugins.maths.median import median

        known = Known.of(zoo, self.name, TASKS)
        is_hamming = self._is_hamming(known)
        distance_TT = distances(known.condition_TC, known.condition_TC, _distance(is_hamming))
        unit = 1.0 if is_hamming else median(distance_TT[distance_TT > 0])

        def kernel(number: float, some_S: Tensor) -> Tensor:
            return _covariance(distance_TT[some_S][:, some_S], number * unit, is_hamming)

        best = choose(zoo, known, kernel, self.rhos if is_hamming else self.lengths, self.noises, ctx, self.of)
        chosen = {"kernel": "hamming", "rho": best.number} if is_hamming else {"kernel": "rbf", "length": best.number}
        tensors = {
            "inverse": best.smoother.inverse(best.noise),
            "number": torch.tensor(best.number * unit, dtype=torch.float64),
        }
        facts = self.found(best.left, chosen | {"noise": best.noise}, ctx)
        return self._generator(known, zoo, tensors, facts)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        return self._generator(Known.of(zoo, self.name), zoo, tensors, {})

    def _is_hamming(self, known: Known) -> bool:
        return self.kernel == "hamming" or (self.kernel == "auto" and known.are_bits)

    def _generator(self, known: Known, zoo: Zoo, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Generator:
        is_hamming = self._is_hamming(known)

        def weigh(condition_MC: Tensor) -> Tensor:
            distance_MT = distances(condition_MC, known.condition_TC, _distance(is_hamming))
            kernel_MT = _covariance(distance_MT, float(tensors["number"]), is_hamming)
            return known.shares(affine(kernel_MT @ tensors["inverse"]))

        return Weighted(zoo, weigh, tensors, facts, self.of)


def _distance(is_hamming: bool) -> Distance:
    return "hamming" if is_hamming else "euclidean"


def _covariance(distance_MT: Tensor, number: float, is_hamming: bool) -> Tensor:
    return number**distance_MT if is_hamming else (-0.5 * (distance_MT / number) ** 2).exp()
