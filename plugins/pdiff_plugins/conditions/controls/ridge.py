"""Ridge regression from conditions to weights. See `controls`."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveFloat

from pdiff.components import Generator
from pdiff.errors import UserError
from pdiff_plugins.adapters.products.asked import Of
from pdiff_plugins.conditions.controls.control import Control, Weighted
from pdiff_plugins.conditions.controls.known import Known, affine

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.context import Context
    from pdiff.zoo import Zoo

FEATURES = 8192
"""Products that a regression may have."""


class Ridge(Control):
    """Ridge regression from conditions, and products of their entries, to weights.

    It has an intercept that is not penalised. Entries that are not bits are centred and brought to deviation 1 before
    they are multiplied, and count with their powers. The penalty is that of least leave-one-out error, in closed form.
    """

    name = "ridge"
    source: ClassVar[str] = (
        "Hastie, Tibshirani & Friedman 2009, The Elements of Statistical Learning, sections 3.4.1 and 7.10"
    )
    products: int = Field(1, ge=1, description="degree of products: 1 entries alone, 2 also pairs, 3 also triples...")
    penalties: tuple[PositiveFloat, ...] = Field(
        (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0), min_length=1,
        description="to choose from, in mean squared lengths of a task's features about their mean",
    )  # fmt: skip
    of: Of = "factors"

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.conditions.controls.regression import TASKS, choose

        known = Known.of(zoo, self.name, TASKS)
        features = Features(known, self.products)
        phi_TF = features(known.condition_TC)
        unit = float(phi_TF.square().sum(dim=1).mean())

        def kernel(_: float, some_S: Tensor) -> Tensor:
            phi_SF = phi_TF[some_S] - phi_TF[some_S].mean(dim=0)
            return phi_SF @ phi_SF.T / unit

        best = choose(zoo, known, kernel, (1.0,), self.penalties, ctx, self.of, centred=True)
        tensors = {"coefficients": phi_TF.T @ best.smoother.inverse(best.noise) / unit}
        facts = self.found(best.left, {"features": phi_TF.shape[1], "penalty": best.noise}, ctx)
        return self._generator(known, zoo, features, tensors, facts)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        known = Known.of(zoo, self.name)
        return self._generator(known, zoo, Features(known, self.products), tensors, {})

    def _generator(
        self, known: Known, zoo: Zoo, features: Features, tensors: dict[str, Tensor], facts: dict[str, Any]
    ) -> Generator:
        def weigh(condition_MC: Tensor) -> Tensor:
            return known.shares(affine(features(condition_MC) @ tensors["coefficients"]))

        return Weighted(zoo, weigh, tensors, facts, self.of)


class Features:
    """Products of a condition's entries, about their mean over the tasks; `[M, F]` in float64.

    Raises UserError where they are too many.
    """

    def __init__(self, known: Known, products: int):
        entry_TC = known.condition_TC
        entries, self.are_bits = entry_TC.shape[1], known.are_bits
        count = sum(self._count(entries, degree) for degree in range(1, products + 1))
        if count > FEATURES:
            raise UserError(
                f"method ridge: products = {products} gives {count:,} products of a condition's {entries} entries, "
                f"more than {FEATURES:,}; lower it"
            )
        self.degrees = range(1, min(products, entries) + 1) if self.are_bits else range(1, products + 1)
        std_C, same_C = entry_TC.std(dim=0, correction=0), (entry_TC == entry_TC[0]).all(dim=0)
        self.mean_C, self.std_C = entry_TC.mean(dim=0), std_C.masked_fill(same_C, 1)
        self.mean_F = self._products(entry_TC).mean(dim=0)

    def __call__(self, condition_MC: Tensor) -> Tensor:
        return self._products(condition_MC.double()) - self.mean_F

    def _count(self, entries: int, degree: int) -> int:
        return math.comb(entries, degree) if self.are_bits else math.comb(entries + degree - 1, degree)

    def _products(self, entry_MC: Tensor) -> Tensor:
        import torch

        entry_MC = entry_MC if self.are_bits else (entry_MC - self.mean_C) / self.std_C
        # A power of a bit is the bit.
        choose = itertools.combinations if self.are_bits else itertools.combinations_with_replacement
        columns = []
        for degree in self.degrees:
            index_FP = torch.tensor(list(choose(range(entry_MC.shape[1]), degree)))
            columns.append(entry_MC[:, index_FP].prod(dim=2))
        return torch.cat(columns, dim=1)
