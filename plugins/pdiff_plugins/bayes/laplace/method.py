"""Laplace: a Gaussian around a trained network, as wide as the loss is flat."""

from __future__ import annotations

import importlib.util
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PositiveFloat

from pdiff.components import Family, Generator, Method
from pdiff.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Zoo

SEVERAL = BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
Weights = Literal["last_layer", "all"]
Structure = Literal["kron", "diag", "full"]
Predictive = Literal["networks", "linearised"]
GRID = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 1e4, 3e4, 1e5)
MISSING = (
    "laplace: needs the library laplace-torch, which is missing; pip install 'neural-pdiff[laplace]', or leave the "
    "method out"
)


class Laplace(Method):
    """Laplace approximation around a trained network, its curvature by laplace-torch.

    theta ~ N(theta*, (H + prior I)^-1), with H the generalised Gauss-Newton matrix of the loss over all training
    examples, as they are evaluated: Kronecker-factored, its diagonal, or whole. Only selected parameters are random;
    Kronecker factors are known of linear layers and convolutions alone, so that norms stay as they are.

    The precision of the prior is that of the grid whose ensemble has the best likelihood on the selection split, or, as
    the library does unless told otherwise, the best marginal likelihood. Both likelihoods, with and without, are in the
    facts, and where the plain network has the better one, that is told.

    `linearised` answers by f(theta*) + J (theta - theta*), the model whose curvature is taken; in a last layer
    networks are linear, and both are the same. `sample` draws networks with either.
    """

    name = "laplace"
    source: ClassVar[str] = (
        "MacKay 1992; Daxberger et al. 2021, Laplace Redux, arXiv 2106.14806, section 2; laplace-torch; linearised: "
        "Immer et al. 2021, arXiv 2008.08402, eq. 8"
    )
    weights: Annotated[tuple[Weights, ...], SEVERAL] = Field(
        ("all",), min_length=1, description="which selected parameters are random: last_layer, all; each in turn"
    )
    structure: Annotated[tuple[Structure, ...], SEVERAL] = Field(
        ("kron",), min_length=1, description="of the curvature: kron, diag, or, of few parameters, full; each in turn"
    )
    predictive: Annotated[tuple[Predictive, ...], SEVERAL] = Field(
        ("networks",), min_length=1, description="who answers: the networks drawn, or linearised; each in turn"
    )
    begin: Literal["base", "soup"] = Field("base", description="around the base network, or the checkpoints' average")
    prior: Literal["selection", "marglik"] = Field(
        "selection", description="by which likelihood its precision is chosen: of the selection split, or marginal"
    )
    grid: tuple[PositiveFloat, ...] = Field(GRID, min_length=1, description="precisions of the prior that are tried")
    calibrated: bool = Field(
        True, description="likelihoods of the selection split are compared after one temperature, fitted there"
    )
    members: int = Field(16, gt=0, description="of the ensembles that are compared")
    examples: int = Field(2000, ge=0, description="of the selection split that they answer, drawn at random; 0: all")

    def foresee(self, ahead: Ahead) -> None:
        if importlib.util.find_spec("laplace") is None:
            ahead.lacks(f"{ahead.key}: {MISSING}")
        task = ahead.recipe.task
        if isinstance(task, Family):
            ahead.lacks(
                f"{ahead.key}: laplace takes the curvature of one loss, and of task {task.name} each network has its "
                "own; leave it out"
            )
        if not task.has_classes:
            ahead.lacks(f"{ahead.key}: laplace needs classes' likelihood, and task {task.name} has none; leave it out")

    def variants(self) -> dict[str, Method]:
        """Return one method for each setting listed; a last layer's predictives are one."""
        settings: dict[str, Method] = {}
        for weights, structure, predictive in product(self.weights, self.structure, self.predictive):
            own: dict[str, Any] = {"weights": (weights,), "structure": (structure,), "predictive": (predictive,)}
            words = ["laplace", weights.replace("_", " "), structure * (structure != "kron")]
            words += [predictive * (predictive != "networks" and weights == "all")]
            words += [self.begin * (self.begin != "base"), self.prior * (self.prior != "selection")]
            settings.setdefault(" ".join(filter(None, words)), self.model_copy(update=own))
        return settings

    @property
    def linearised(self) -> bool:
        """Whether answers are of the linearised network, not of the networks drawn; in a last layer both are one."""
        return self.predictive == ("linearised",) and self.weights != ("last_layer",)

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        """Raises UserError where the library, classes or such parameters are missing."""
        if importlib.util.find_spec("laplace") is None:
            raise UserError(MISSING)
        from pdiff_plugins.bayes.laplace.fitting import fit

        return fit(self, zoo, bench, ctx)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        if importlib.util.find_spec("laplace") is None:
            raise UserError(MISSING)
        from pdiff_plugins.bayes.laplace.fitting import load

        return load(self, tensors, zoo)
