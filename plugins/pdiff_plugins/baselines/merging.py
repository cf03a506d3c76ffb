"""Baselines that merge networks by their task vectors: what each differs by from the base network. See `baselines`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat

from pdiff import hookimpl
from pdiff.components import Generator, Method
from pdiff_plugins.adapters.products.asked import Of, foresee_of
from pdiff_plugins.baselines.plain import One

if TYPE_CHECKING:
    from torch import Tensor

    from pdiff.bench import Bench
    from pdiff.components import Ahead
    from pdiff.context import Context
    from pdiff.zoo import Zoo
    from pdiff_plugins.baselines.merging_rules import Rule

TRIM = Field(0.2, gt=0, le=1, description="share of each tensor's entries, the largest, that a task vector keeps")


class Merging(Method):
    """A base network plus what task vectors are merged to (one network).

    Scores that choose a scale are those of the selection split, so under `protocol = "paper"` it is fitted to the test
    split. Variances are merged as logarithms.
    """

    scales: tuple[PositiveFloat, ...] = Field(
        (0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0), min_length=1,
        description="factors on what task vectors are merged to, of which the best on the selection split is taken",
    )  # fmt: skip
    of: Of = "factors"

    def foresee(self, ahead: Ahead) -> None:
        foresee_of(ahead, self.of)

    def rule(self, ctx: Context) -> Rule:
        """Return what merges the task vectors `[N, P]` of one tensor."""
        raise TypeError(f"{self.name} has no rule()")

    def fit(self, zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        """Raises UserError where products are asked for and networks are no adapters."""
        from pdiff_plugins.baselines.merging_rules import of_products, of_vectors

        merge = of_products if self.of == "products" else of_vectors
        theta_SD, lost_S = merge(zoo, self.rule(ctx), self.scales, ctx)
        best = 0
        if len(self.scales) > 1:
            best = int(bench.score(theta_SD).nan_to_num(float("-inf")).argmax())
        facts: dict[str, Any] = {"scale": self.scales[best]} | ({"cut": float(lost_S[best])} if len(lost_S) else {})
        return One(theta_SD[best : best + 1].clone(), facts)

    def load(self, tensors: dict[str, Tensor], zoo: Zoo, bench: Bench, ctx: Context) -> Generator:
        return One(tensors["theta"], {})


class TaskArithmetic(Merging):
    """The base network plus lambda times the sum of all task vectors (one network).

    A task vector is what a checkpoint differs by from the base. A scale is a factor on their mean: of N checkpoints
    lambda is scale / N.
    """

    name = "task_arithmetic"
    source: ClassVar[str] = "Ilharco et al. 2022, Editing Models with Task Arithmetic, arXiv 2212.04089, section 2"

    def rule(self, ctx: Context) -> Rule:
        from pdiff_plugins.baselines.merging_rules import mean

        return mean


class Ties(Merging):
    """TIES: task vectors trimmed, signs elected, what agrees averaged (one network).

    Each tensor is trimmed by itself, as the library peft does; the authors' code trims whole task vectors.
    """

    name = "ties"
    source: ClassVar[str] = "Yadav et al. 2023, TIES-Merging, arXiv 2306.01708, algorithm 1"
    density: float = TRIM

    def rule(self, ctx: Context) -> Rule:
        from pdiff_plugins.baselines.merging_rules import ties

        return ties(self.density)


class Dare(Merging):
    """DARE: entries of task vectors dropped at random, then merged (one network).

    What is left of them is divided by its share, so that their mean stays what it was.
    """

    name = "dare"
    source: ClassVar[str] = "Yu et al. 2023, Language Models are Super Mario, arXiv 2311.03099, section 3.2"
    drop: float = Field(0.9, ge=0, lt=1, description="share of entries that is dropped; others are divided by the rest")
    then: Literal["sum", "ties"] = Field("sum", description="how they are merged then, as task_arithmetic or as ties")
    density: float = TRIM

    def rule(self, ctx: Context) -> Rule:
        from pdiff_plugins.baselines.merging_rules import dare, mean, ties

        return dare(self.drop, ties(self.density) if self.then == "ties" else mean, ctx.generator("dare"))


@hookimpl
def register_methods(register: Any) -> None:
    for method in (TaskArithmetic, Ties, Dare):
        register(method)
