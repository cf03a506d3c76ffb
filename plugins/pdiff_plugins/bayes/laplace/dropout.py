"""Dropout: the members of an ensemble are passes of one network in which dropout is on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pdiff.components import Generator, Method

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Zoo


class Dropout(Method):
    """The base network with dropout left on, Monte Carlo dropout: a pass is a member.

    For networks that have nn.Dropout modules and were trained with them. All else is in eval mode. `sample` gives the
    base network, without dropout.
    """

    name = "dropout"
    source: ClassVar[str] = "Gal and Ghahramani 2016, Dropout as a Bayesian Approximation, arXiv 1506.02142, eq. 6"
    p: float = Field(0.0, ge=0, lt=1, description="part of the values that is dropped; 0: as the network has it")

    def foresee(self, ahead: Ahead) -> None:
        task = ahead.recipe.task
        if not task.has_classes:
            ahead.lacks(
                f"{ahead.key}: passes of dropout answer by classes' probabilities, and task {task.name} has none; "
                "leave it out"
            )

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        """Raises UserError where the network drops nothing."""
        from pdiff_plugins.bayes.laplace.passes import Passes, dropping

        dropping(bench.objective.model, self.p)
        return Passes(self.p, zoo, {"begins": "one"})

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        from pdiff_plugins.bayes.laplace.passes import Passes

        return Passes(self.p, zoo, {})
